"""Which of the sweep's heads are confirmed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phase7.effects.inference import CellStatistics as Result
from phase7.effects.scores import Scores, StageScores
from phase7.effects.selection import is_signed, selection_metrics, selection_rule, strongest_heads
from phase7.experiment.profile import Profile
from phase7.experiment.stages import Stage
from phase7.vocabulary.metrics import METRICS
from tests import stages
from tests.stages import PROFILE, changed

LAW = settings(max_examples=60, deadline=None, derandomize=True)
FIRST, SECOND, THIRD = "sentiment_positive", "politeness", "goemotions_gratitude"
ONE_MODE = stages.sweep(changed("sweep", modes=("result",)))
EVERY_HEAD = [(cell.heads[0].layer, cell.heads[0].head) for cell in ONE_MODE.cells]


def strongest(
    effects: dict[str, list[float]],
    n: int = 12,
    *,
    stage: Stage = ONE_MODE,
    metrics: tuple[str, ...] = (FIRST, SECOND, THIRD),
    without_control: bool = False,
    **others: list[float],
) -> list[tuple[int, int]]:
    """The strongest heads where `effects` are the cells' net Δ by metric; NaN for other metrics.

    Δ of every cell is the same unless the control did not run: then net Δ is NaN, and these are Δ.
    """
    table = np.full((len(stage.cells), len(METRICS)), np.nan)
    for metric, values in effects.items():
        table[:, METRICS.index(metric)] = values
    nothing = np.full_like(table, np.nan if without_control else 1.0)
    named = ("delta", "net_delta") if without_control else ("net_delta", "delta")
    tested = Result(values=dict(zip(named, (table, nothing), strict=True)))
    empty = Scores(baseline=np.empty((0, 0)), patched={}, changed={}, metrics=METRICS)
    scores = StageScores(stage=stage, by_length={8: empty}, kl_first_token_nats={})
    return strongest_heads(scores, tested, metrics, n)


def effects_of(**by_head: float) -> list[float]:
    """One number for each head in the order of the cells, 0 but for those named as `h_1_2`."""
    named = {tuple(map(int, name[2:].split("_"))): value for name, value in by_head.items()}
    return [named.get(head, 0.0) for head in EVERY_HEAD]


def test_the_strongest_come_first():
    values = effects_of(h_0_3=0.1, h_1_0=0.4, h_1_2=0.2, h_2_1=0.3)
    assert strongest({FIRST: values}, 3) == [(1, 0), (2, 1), (1, 2)]
    assert strongest({FIRST: values}, 1) == [(1, 0)]
    assert strongest({FIRST: values}, 0) == []


def test_a_head_that_lowers_a_metric_is_as_strong_as_one_that_raises_it():
    values = effects_of(h_0_0=0.2, h_2_3=-0.5, h_1_1=0.4, h_1_2=-0.3)
    assert strongest({FIRST: values}, 4) == [(2, 3), (1, 1), (1, 2), (0, 0)]


def test_every_head_is_named_once_however_many_are_asked_for():
    random = np.random.default_rng(1).normal(size=12)
    found = strongest({FIRST: list(random)}, 99)
    assert len(found) == 12 and set(found) == set(EVERY_HEAD)
    assert found == [EVERY_HEAD[i] for i in np.argsort(-np.abs(random))]


def test_ties_go_to_the_lower_layer_then_to_the_lower_head():
    values = effects_of(h_2_0=0.5, h_0_2=0.5, h_0_1=-0.5, h_1_3=0.5)
    assert strongest({FIRST: values}, 6) == [(0, 1), (0, 2), (1, 3), (2, 0), (0, 0), (0, 3)]


def test_a_head_is_as_strong_as_its_strongest_mode():
    stage = stages.sweep(changed("sweep", modes=("result", "v_only", "pattern_v")))
    order = {mode: {} for mode in ("result", "v_only", "pattern_v")}
    order["result"] = {(0, 0): 0.5, (1, 1): 0.5, (2, 2): 0.1}
    order["v_only"] = {(0, 0): 0.5, (1, 1): -0.9, (2, 2): 0.1}
    order["pattern_v"] = {(0, 0): 0.5, (1, 1): 0.0, (2, 2): 0.8}
    values = [order[c.mode].get((c.heads[0].layer, c.heads[0].head), 0.0) for c in stage.cells]
    assert strongest({FIRST: values}, 3, stage=stage) == [(1, 1), (2, 2), (0, 0)]


def test_each_metric_counts_in_units_of_its_own_spread():
    """A metric of large numbers does not outvote two of small ones."""
    small = effects_of(h_0_0=0.01, h_0_1=-0.004)
    large = effects_of(h_1_0=50.0, h_1_1=-50.0)
    assert strongest({FIRST: small, SECOND: large, THIRD: small}, 1) == [(0, 0)]
    assert strongest({FIRST: small, SECOND: large}, 2, metrics=(SECOND,)) == [(1, 0), (1, 1)]


def test_the_unit_is_the_spread_and_not_the_size():
    """A shift of all heads alike says nothing about the unit of a metric."""
    values = effects_of(h_0_0=0.3, h_1_1=0.1)
    shifted = [value + 5.0 for value in effects_of(h_1_1=0.001)]
    found = strongest({FIRST: values, SECOND: shifted}, 1)
    assert found == [(1, 1)]  # 5 is many standard deviations of the second metric


def test_metrics_that_are_not_asked_for_do_not_count():
    values, loud = effects_of(h_0_0=0.1), effects_of(h_2_2=100.0)
    assert strongest({FIRST: values, "goemotions_joy": loud}, 1) == [(0, 0)]
    assert strongest({FIRST: values, SECOND: loud}, 1, metrics=(FIRST,)) == [(0, 0)]


def test_a_metric_that_no_scorer_measures_is_as_if_it_were_not_asked_for():
    random = np.random.default_rng(2)
    first, second = list(random.normal(size=12)), list(random.normal(size=12))
    both = strongest({FIRST: first, SECOND: second}, metrics=(FIRST, SECOND))
    assert strongest({FIRST: first, SECOND: second}) == both
    assert both != strongest({FIRST: first})


def test_without_any_measured_metric_heads_go_by_their_place():
    assert strongest({}, 3) == [(0, 0), (0, 1), (0, 2)]


def test_a_metric_that_is_the_same_for_all_heads_chooses_none():
    with np.errstate(all="raise"):
        assert strongest({FIRST: [2.0] * 12, SECOND: effects_of(h_1_1=0.1)}, 1) == [(1, 1)]
        assert strongest({FIRST: [2.0] * 12}, 2) == [(0, 0), (0, 1)]


def test_the_net_effect_counts_and_the_effect_itself_where_no_control_ran():
    values = effects_of(h_1_2=0.7)
    assert strongest({FIRST: values}, 1) == [(1, 2)]
    assert strongest({FIRST: values}, 1, without_control=True) == [(1, 2)]
    alike = np.full((12, len(METRICS)), 1.0)
    net, plain = alike.copy(), alike.copy()
    net[EVERY_HEAD.index((2, 3)), 0], plain[EVERY_HEAD.index((0, 1)), 0] = 9.0, 9.0
    empty = Scores(baseline=np.empty((0, 0)), patched={}, changed={}, metrics=METRICS)
    scores = StageScores(stage=ONE_MODE, by_length={8: empty}, kl_first_token_nats={})
    for other in (plain, np.full_like(plain, np.nan)):
        tested = Result(values={"net_delta": net, "delta": other})
        assert strongest_heads(scores, tested, METRICS[:1], 1) == [(2, 3)]


@LAW
@given(
    seed=st.integers(0, 10_000),
    n_metrics=st.integers(1, 3),
    n=st.integers(1, 12),
    modes=st.sampled_from([("result",), ("result", "v_only")]),
)
def test_strength_is_the_root_mean_square_of_scaled_effects(seed, n_metrics, n, modes):
    """Against the definition in plain Python, one head at a time."""
    stage = stages.sweep(changed("sweep", modes=modes))
    random, metrics = np.random.default_rng(seed), (FIRST, SECOND, THIRD)[:n_metrics]
    effects = {m: list(random.normal(size=len(stage.cells)) * 10.0**i) for i, m in enumerate(metrics)}

    def spread(values: list[float]) -> float:
        mean = sum(values) / len(values)
        return math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))

    strength: dict[tuple[int, int], float] = {}
    for c, cell in enumerate(stage.cells):
        scaled = [effects[m][c] / spread(effects[m]) for m in metrics]
        own = math.sqrt(sum(one**2 for one in scaled) / len(scaled))
        head = (cell.heads[0].layer, cell.heads[0].head)
        strength[head] = max(strength.get(head, 0.0), own)
    expected = sorted(strength, key=lambda head: -strength[head])[:n]
    assert strongest(effects, n, stage=stage, metrics=metrics) == expected


READOUTS = ("logodds_joy", "kl_path", "logodds_joy_first", "kl_path_first")


def by_readouts(effects: dict[str, list[float]], metrics: tuple[str, ...], n: int = 12, modes=1):
    """The strongest heads by read-outs, beside texts that would choose others."""
    names = (*METRICS, *READOUTS)
    stage = stages.sweep(changed("sweep", modes=("result", "v_only")[:modes]))
    table = np.full((len(stage.cells), len(names)), np.nan)
    for metric, values in effects.items():
        table[:, names.index(metric)] = values
    empty = Scores(baseline=np.empty((0, 0)), patched={}, changed={}, metrics=names)
    scores = StageScores(stage=stage, by_length={8: empty}, kl_first_token_nats={})
    tested = Result(values={"net_delta": table, "delta": np.ones_like(table)})
    return strongest_heads(scores, tested, metrics, n)


def test_by_readouts_the_heads_that_raise_them_come_first():
    values = effects_of(h_0_0=0.2, h_2_3=-0.9, h_1_1=0.4, h_1_2=-0.3)
    found = by_readouts({"logodds_joy": values}, ("logodds_joy",))
    assert found[:2] == [(1, 1), (0, 0)] and found[-2:] == [(1, 2), (2, 3)]


def test_a_divergence_or_a_text_beside_them_makes_all_count_by_size():
    down, rest = effects_of(h_2_3=-0.9, h_1_1=0.4), effects_of(h_0_2=0.01)
    for other in ("kl_path", "kl_path_first", FIRST):
        assert by_readouts({"logodds_joy": down, other: rest}, ("logodds_joy", other), 3)[1:] == [
            (2, 3), (1, 1),
        ]  # fmt: skip


def test_signed_strength_is_the_mean_of_scaled_effects():
    """Against the definition, with two read-outs of other units that disagree, and two modes."""
    random = np.random.default_rng(4)
    one, two = random.normal(size=24), 100 * random.normal(size=24)
    metrics = ("logodds_joy", "logodds_joy_first")
    found = by_readouts(dict(zip(metrics, (one, two), strict=True)), metrics, modes=2)
    strength = (one / one.std() + two / two.std()) / 2
    cells = stages.sweep(changed("sweep", modes=("result", "v_only"))).cells
    best: dict[tuple[int, int], float] = {}
    for cell, value in zip(cells, strength, strict=True):
        head = (cell.heads[0].layer, cell.heads[0].head)
        best[head] = max(best.get(head, -math.inf), value)
    assert min(best.values()) < 0
    assert found == sorted(best, key=lambda head: -best[head])


@pytest.mark.parametrize(
    ("metrics", "how"),
    [
        (("logodds_joy",), "mean"),
        (("logodds_joy", "logodds_words_first"), "mean"),
        (("logodds_joy", "kl_path"), "root mean square"),
        (("logodds_joy", "politeness"), "root mean square"),
        (("politeness",), "root mean square"),
    ],
)
def test_the_rule_says_how_heads_are_ordered(metrics, how):
    assert is_signed(metrics) == (how == "mean")
    assert selection_rule(metrics) == (
        f"{how} over {', '.join(metrics)} of the mean net Δ, each divided by its standard deviation over"
        " the swept heads"
    )


def test_the_emotion_in_a_metrics_name_is_each_groups_own():
    profile = changed("readouts", emotions=("gratitude", "anger"))
    profile = replace(profile, emotions=("gratitude", "anger"))
    profile = changed("statistics", profile, selection_metrics=("logodds_{emotion}", "politeness"))
    for emotion in profile.emotions:
        assert selection_metrics(profile, emotion) == (f"logodds_{emotion}", "politeness")


# --- what ranks them -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("emotion", "label"),
    [("gratitude", "gratitude"), ("anger", "anger"), ("apology", "remorse"), ("joy", "joy")],
)
def test_heads_are_ranked_by_sentiment_politeness_and_the_emotions_label(emotion, label):
    expected = ("sentiment_positive", "politeness", f"goemotions_{label}")
    assert selection_metrics(PROFILE, emotion) == expected


def test_an_emotion_without_a_label_is_ranked_by_the_rest():
    assert selection_metrics(PROFILE, "homesickness") == ("sentiment_positive", "politeness")


def test_the_profiles_own_metrics_come_first():
    own = ("apology_keywords", "goemotions_fear")
    profile: Profile = changed("statistics", selection_metrics=own)
    assert selection_metrics(profile, "gratitude") == own
    assert selection_metrics(replace(profile, name="other"), "apology") == own
