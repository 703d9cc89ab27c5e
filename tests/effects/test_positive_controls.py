"""What positive controls did, in its place, and effects as shares of what prompting does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phase7.effects.positive_controls import (
    PositiveControls,
    controls_dataset,
    gather_controls,
    prompting_shares,
)
from phase7.effects.scores import Scores, StageScores
from phase7.experiment.positive_controls import prompting_stage, shift_stage
from phase7.experiment.stages import Stage
from phase7.experiment.statistics import Statistics
from phase7.statistics import paired_summary
from phase7.statistics.ratio import ratio_of_means
from tests import stages
from tests.stages import GRATITUDE, changed

METRICS = ("politeness", "logodds_words", "kl_path")
STATS = Statistics(resamples=300)
PROFILE = replace(changed("confirm", modes=("result",)), sweep=None)
#: Of seven recipients, the first four have an emotion prompt of their index.
CONFIRM = stages.confirm(PROFILE)


def measured(stage: Stage, seed: int, shift: float = 0.0) -> StageScores:
    """Random scores of a stage."""
    rng, n = np.random.default_rng(seed), len(stage.recipients)
    patched = {r: rng.normal(shift, 1.0, (len(stage.cells), len(METRICS), n)) for r in stage.roles}
    baseline = rng.normal(shift, 1.0, (len(METRICS), n))
    one = Scores(baseline=baseline, patched=patched, changed={}, metrics=METRICS)
    return StageScores(stage=stage, by_length={8: one}, kl_first_token_nats={})


def shift_of(confirm: Stage) -> Stage:
    stage = shift_stage(confirm)
    assert stage is not None
    return stage


MEASURED = measured(CONFIRM, 1)
PROMPTING, SHIFT = measured(prompting_stage(CONFIRM), 2, 3.0), measured(shift_of(CONFIRM), 3)


@pytest.fixture
def controls() -> PositiveControls:
    found = gather_controls(MEASURED, [PROMPTING, SHIFT])
    assert found is not None
    return found


def test_prompting_is_the_unpatched_score_of_the_emotion_prompt_of_the_same_index(controls):
    assert controls.names == ("prompting", "shift 1", "shift 2")
    got = controls.scores.patched["emotion"]
    assert got.shape == (3, 3, 7)
    assert PROMPTING.stage.recipients == (0, 1, 2, 3)
    np.testing.assert_array_equal(got[0, :2, :4], PROMPTING.full.baseline[:2])
    np.testing.assert_array_equal(
        controls.differences[0, :2, :4], PROMPTING.full.baseline[:2] - MEASURED.full.baseline[:2, :4]
    )
    assert np.isnan(got[0, :, 4:]).all()  # no emotion prompt of their index


def test_prompts_are_matched_by_index_and_not_by_place():
    """The odd half: recipients 1, 3 and 5, of which prompting has the first two."""
    confirm = stages.confirm(changed("confirm", modes=("result",)))
    assert confirm.recipients == (1, 3, 5)
    two = replace(GRATITUDE, prompts=("a", "b"))  # of which the odd half has one
    for emotion, has in ((GRATITUDE, [True, True, False]), (two, [True, False, False])):
        one = replace(confirm, emotion=emotion)
        prompting = measured(prompting_stage(one), 2)
        found = gather_controls(measured(one, 1), [prompting])
        got = found.scores.patched["emotion"][0, 0]
        assert np.isfinite(got).tolist() == has
        np.testing.assert_array_equal(got[has], prompting.full.baseline[0])
    # One whose recipients stand in another order keeps each with its own.
    turned = replace(prompting_stage(confirm), recipients=(3, 1))
    prompting = measured(turned, 2)
    got = gather_controls(measured(confirm, 1), [prompting]).scores.patched["emotion"][0, 0]
    np.testing.assert_array_equal(got[:2], prompting.full.baseline[0, ::-1])


def test_another_prompt_has_no_divergence(controls):
    got = controls.scores.patched["emotion"]
    assert np.isnan(got[0, 2]).all()
    assert np.isfinite(got[1:, 2]).all()  # a shift of the same prompt has


def test_the_shifts_are_the_emotions_rows_in_order(controls):
    np.testing.assert_array_equal(controls.scores.patched["emotion"][1:], SHIFT.full.patched["emotion"])


def test_the_statistics_are_those_of_the_differences(controls):
    found = controls.statistics(STATS, 5)
    expected = paired_summary(
        PROMPTING.full.baseline[0] - MEASURED.full.baseline[0, :4], seed=5, n_resamples=300
    )
    for name in ("p_value", "ci_low", "ci_high", "effect_size"):
        assert found.column(name)[0, 0] == getattr(expected, name)
    assert found.column("delta")[0, 0] == pytest.approx(float(expected.mean), rel=1e-12)
    assert np.isnan(found.column("p_value")[:, 2]).all()


def test_without_controls_there_is_nothing():
    assert gather_controls(MEASURED, []) is None
    shares = prompting_shares(None, np.ones((2, 3, 7)), STATS, 5)
    assert all(np.isnan(one).all() and one.shape == (2, 3) for one in shares.values())
    shift = gather_controls(MEASURED, [SHIFT])
    assert all(
        np.isnan(one).all() for one in prompting_shares(shift, np.ones((2, 3, 7)), STATS, 5).values()
    )


def test_the_dataset_has_every_prompt_of_the_group(controls):
    """Of a group that has other prompts too, between the confirmation's."""
    prompts = [0, 1, 2, 3, 4, 5, 6, 8, 9]
    recipients = (1, 2, 3, 4, 5, 6, 9)
    made = controls_dataset(controls, prompts, recipients, controls.statistics(STATS, 5))
    assert made.patched.dims == ("positive_control", "metric", "prompt")
    places = [prompts.index(p) for p in recipients]
    np.testing.assert_array_equal(made.patched.values[..., places], controls.scores.patched["emotion"])
    others = sorted(set(range(9)) - set(places))
    assert others == [0, 7] and np.isnan(made.patched.values[..., others]).all()
    assert made.delta.dims == ("positive_control", "metric")
    np.testing.assert_array_equal(made.delta, controls.statistics(STATS, 5).column("delta"))
    assert list(made.positive_control.values) == list(controls.names)


def of_prompting(*by_metric: list[float]) -> PositiveControls:
    """Prompting that changed each metric by these numbers, against a baseline that is not 0."""
    changes = np.array(by_metric)
    baseline = np.arange(changes.size, dtype=float).reshape(changes.shape)
    names = METRICS[: len(changes)]
    scores = Scores(
        baseline=baseline, patched={"emotion": (baseline + changes)[None]}, changed={}, metrics=names
    )
    return PositiveControls(names=("prompting",), scores=scores)


MOVED = [2.0, 3.0, 2.5, 2.0, 2.0, 1.5, np.nan]
EFFECT = [0.5, 1.0, 0.25, 0.3, 0.5, 0.75, 7.0]  # the last has no match


def test_a_share_is_the_ratio_of_the_means_over_matched_prompts():
    prompting = of_prompting(MOVED, [-one for one in MOVED])
    effects = np.array([[EFFECT, EFFECT], [[-e for e in EFFECT], EFFECT]])
    got = prompting_shares(prompting, effects, STATS, 5)
    share = (0.5 + 1.0 + 0.25 + 0.3 + 0.5 + 0.75) / (2.0 + 3.0 + 2.5 + 2.0 + 2.0 + 1.5)
    np.testing.assert_allclose(got["prompting_share"], [[share, -share], [-share, -share]], rtol=1e-12)
    ratio = ratio_of_means(np.array(EFFECT), np.array(MOVED), seed=5, n_resamples=300)
    assert got["prompting_share_low"][0, 0] == ratio.low < share
    assert got["prompting_share_high"][0, 0] == ratio.high > share


def test_there_is_no_share_of_what_prompting_may_not_move():
    unsure = [2.0, -3.0, 2.5, 2.0, 2.0, 1.5, np.nan]
    prompting = of_prompting(MOVED, unsure)
    found = prompting.statistics(STATS, 5)
    assert found.column("ci_low")[0, 1] < 0 < found.column("delta")[0, 1] < found.column("ci_high")[0, 1]
    got = prompting_shares(prompting, np.array([[EFFECT, EFFECT]]), STATS, 5)
    for values in got.values():
        assert np.isfinite(values[0, 0]) and np.isnan(values[0, 1])


def test_five_prompts_are_too_few_to_say_that_prompting_moves_anything():
    """The interval of a sign-flip test holds every value then."""
    few = [[*values[:5], np.nan] for values in (MOVED, EFFECT)]
    got = prompting_shares(of_prompting(few[0]), np.array([[few[1]]]), STATS, 5)
    assert all(np.isnan(values).all() for values in got.values())


def test_an_effect_that_was_not_measured_has_no_share():
    effects = np.array([[EFFECT], [[np.nan] * len(EFFECT)]])
    got = prompting_shares(of_prompting(MOVED), effects, STATS, 5)["prompting_share"]
    assert np.isfinite(got[0, 0]) and np.isnan(got[1, 0])
