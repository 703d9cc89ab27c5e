"""From batches to arrays: every text and number ends up at its own cell, prompt, role and length."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from phase7.effects.scores import StageScores, gather_texts, score_stage
from phase7.experiment.stages import Stage
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.metrics import METRICS
from tests import stages
from tests.stages import PROFILE, Numbers, changed, gather

CONTROL_OFF = changed("patching", control="none")
STAGES = {
    "sweep": stages.sweep(),
    "confirm": stages.confirm(),
    "small batches": stages.confirm(changed("engine", max_rows=16)),
    "no control": stages.confirm(CONTROL_OFF),
    "cut": stages.confirm(changed("confirm", n_prompts=1)),
    "no sweep": stages.confirm(replace(PROFILE, sweep=None)),
}


@pytest.fixture(params=STAGES.values(), ids=STAGES.keys())
def stage(request) -> Stage:
    return request.param


def scored(stage: Stage) -> tuple[StageScores, Numbers]:
    numbers = Numbers()
    return score_stage(gather(stage), numbers), numbers


def test_every_text_is_kept_under_its_own_name(stage):
    texts = gather(stage)
    samples = range(stage.sampling.samples)
    lengths = (1, 5, 8) if stage.name == "confirm" else (8,)
    assert texts.lengths == lengths
    assert set(texts.baseline) == set(lengths)
    assert set(texts.patched) == {(role, length) for role in stage.roles for length in lengths}
    for length in lengths:
        assert texts.baseline[length] == {
            p: [stages.text("baseline", None, p, s, length) for s in samples] for p in stage.recipients
        }
        for role in stage.roles:
            assert texts.patched[role, length] == {
                (cell, p): [stages.text(role, cell, p, s, length) for s in samples]
                for cell in stage.cells
                for p in stage.recipients
            }


def test_all_texts_are_those_of_baseline_and_patches_at_every_length(stage):
    texts = gather(stage)
    n_of_each = len(stage.recipients) * stage.sampling.samples * len(texts.lengths)
    every = list(texts.all_texts())
    assert len(every) == n_of_each * (1 + len(stage.cells) * len(stage.roles))
    assert len(set(every)) == len(every)


def test_batches_and_self_checks_are_counted(stage):
    texts, batches = gather(stage), list(stage.batches())
    assert texts.n_batches == len(batches)
    entries = [stages.entry(stage, batch) for batch in batches]
    assert texts.n_self_rows == sum(entry["n_self_rows"] for entry in entries) > 0
    assert texts.max_self_logit_gap == 0.0


def test_the_largest_gap_of_all_batches_is_kept():
    stage = STAGES["small batches"]
    gaps = [0.0, 3e-6, 1e-6] + [0.0] * 100
    batches = list(stage.batches())
    texts = gather_texts(
        stage,
        [
            (batch, stages.entry(stage, batch) | {"max_self_logit_gap": gap})
            for batch, gap in zip(batches, gaps, strict=False)
        ],
    )
    assert len(batches) > 3 and texts.max_self_logit_gap == 3e-6


def test_scores_are_means_over_samples_in_the_order_of_cells_and_prompts(stage):
    scores, numbers = scored(stage)
    samples = range(stage.sampling.samples)
    assert set(scores.by_length) == {*stage.lengths, 8}
    for length, one in scores.by_length.items():
        assert one.baseline.shape == (len(METRICS), len(stage.recipients))
        assert set(one.patched) == set(one.changed) == set(stage.roles)
        for p, prompt in enumerate(stage.recipients):
            texts = [stages.text("baseline", None, prompt, s, length) for s in samples]
            expected = sum(numbers[text] for text in texts) / len(texts)
            np.testing.assert_allclose(one.baseline[:, p], expected, rtol=1e-12)
            for role in stage.roles:
                assert one.patched[role].shape == (
                    len(stage.cells), len(METRICS), len(stage.recipients),
                )  # fmt: skip
                for c, cell in enumerate(stage.cells):
                    texts = [stages.text(role, cell, prompt, s, length) for s in samples]
                    expected = sum(numbers[text] for text in texts) / len(texts)
                    np.testing.assert_allclose(one.patched[role][c, :, p], expected, rtol=1e-12)
    assert scores.full is scores.by_length[8]
    assert scores.stage is stage


def test_kl_is_found_by_role_cell_and_prompt(stage):
    scores, _ = scored(stage)
    assert set(scores.kl_first_token_nats) == set(stage.roles)
    for role, table in scores.kl_first_token_nats.items():
        assert table.tolist() == [
            [stages.kl_nats(role, cell, prompt) for prompt in stage.recipients] for cell in stage.cells
        ]
    tables = [table.ravel() for table in scores.kl_first_token_nats.values()]
    assert len(np.unique(np.concatenate(tables))) == sum(map(len, tables))  # none stands for another


def test_the_order_in_which_batches_come_does_not_matter(stage):
    pairs = [(batch, stages.entry(stage, batch)) for batch in stage.batches()]
    one, other = (
        score_stage(gather_texts(stage, order), Numbers()) for order in (pairs, list(reversed(pairs)))
    )
    for role in stage.roles:
        np.testing.assert_array_equal(one.kl_first_token_nats[role], other.kl_first_token_nats[role])
        for length in one.by_length:
            np.testing.assert_array_equal(
                one.by_length[length].patched[role], other.by_length[length].patched[role]
            )
            np.testing.assert_array_equal(
                one.by_length[length].baseline, other.by_length[length].baseline
            )


def tokens_of(texts: dict[str, Any]) -> dict[str, np.ndarray]:
    """Tokens that spell texts of one letter."""
    patched = [[[ord(text)] * 8 for text in samples] for samples in texts["patched"]]
    baseline = [[ord(text)] * 8 for text in texts["baseline"]]
    return {"patched_tokens": np.array(patched), "baseline_tokens": np.array(baseline)}


def test_texts_of_other_tokens_have_changed_even_where_they_read_alike():
    """At each length by the tokens up to it: a tokenizer can spell one text in several ways."""
    stage = stages.confirm(changed("confirm", modes=("result",), target_heads="0:1", lengths=(1, 5)))
    entries = []
    for batch in stage.batches():
        entry = stages.entry(stage, batch)
        same = {"baseline": ["a", "b"], "patched": [["a", "b"] for _ in batch.patches]}
        entry |= {"texts": dict.fromkeys(entry["texts"], same)}
        patched = np.zeros_like(entry["patched_tokens"])
        patched[:, 1, 3] = 7  # of the second sample, the fourth token
        entries.append((batch, entry | {"patched_tokens": patched}))
    scores = score_stage(gather_texts(stage, entries), Numbers())
    for length, share in ((1, 0.0), (5, 0.5), (8, 0.5)):
        for found in scores.by_length[length].changed.values():
            assert found.tolist() == [[share] * len(stage.recipients)]


def test_a_nul_character_is_replaced_in_every_text():
    stage = STAGES["small batches"]
    pairs = [(batch, stages.entry(stage, batch)) for batch in stage.batches()]
    for _, entry in pairs:
        for texts in entry["texts"].values():
            texts["baseline"] = [f"\0{text}\0" for text in texts["baseline"]]
            texts["patched"] = [[f"{text}\0" for text in samples] for samples in texts["patched"]]
    found, plain = gather_texts(stage, pairs), gather(stage)
    every = sorted(found.all_texts())
    assert every == sorted(
        [f"\ufffd{t}\ufffd" for by in plain.baseline.values() for s in by.values() for t in s]
        + [f"{t}\ufffd" for by in plain.patched.values() for s in by.values() for t in s]
    )


def test_the_changed_share_counts_samples_that_differ_from_their_own_baseline():
    profile = changed("sampling", samples=4)
    stage = stages.confirm(
        changed("confirm", profile, modes=("result",), target_heads="0:1", lengths=())
    )
    baseline = {1: ["a", "b", "c", "d"], 3: ["e", "f", "g", "h"], 5: ["d", "c", "b", "a"]}
    patched = {
        "emotion": {1: ["a", "b", "c", "d"], 3: ["f", "e", "h", "g"], 5: ["d", "c", "b", "x"]},
        "control": {1: ["x", "b", "c", "y"], 3: ["e", "f", "g", "h"], 5: ["d", "x", "x", "x"]},
    }
    entries = []
    for batch in stage.batches():
        texts = {
            "baseline": baseline[batch.prompt_index],
            "patched": [patched[role][batch.prompt_index] for role, _ in batch.patches],
        }
        entries.append((batch, stages.entry(stage, batch) | {"texts": {8: texts}}))
        entries[-1][1].update(tokens_of(texts))
    scores = score_stage(gather_texts(stage, entries), Numbers())
    assert scores.full.changed["emotion"].tolist() == [[0.0, 1.0, 0.25]]
    assert scores.full.changed["control"].tolist() == [[0.5, 0.0, 0.75]]


def test_a_metric_that_is_not_measured_stays_nan_and_the_others_stay_numbers():
    stage, column = STAGES["confirm"], METRICS.index("politeness")
    numbers = Numbers()
    for text in gather(stage).all_texts():
        numbers[text][column] = np.nan
    scores = score_stage(gather(stage), numbers)
    for array in (scores.full.baseline, *scores.full.patched.values()):
        missing = np.isnan(np.moveaxis(array, -2, 0))
        assert missing[column].all() and not np.delete(missing, column, axis=0).any()


@pytest.mark.parametrize("length", [1, 8])
def test_batches_that_disagree_on_a_prompts_baseline_are_refused(length):
    stage = STAGES["small batches"]
    pairs = [(batch, stages.entry(stage, batch)) for batch in stage.batches()]
    same = [pair for pair in pairs if pair[0].prompt_index == 3]
    assert len(same) > 1
    same[-1][1]["texts"][length]["baseline"][1] += "!"
    with pytest.raises(
        UserError, match="expected one baseline text for a prompt in all its batches"
    ) as e:
        gather_texts(stage, pairs)
    assert "neutral 3" in e.value.where
    assert "phase7 store prune --stage generation" in e.value.remedy


def test_prompts_may_have_baselines_of_their_own():
    """Liveness of the refusal: other prompts' texts do differ, and that is no disagreement."""
    texts = gather(STAGES["small batches"])
    assert len({tuple(samples) for samples in texts.baseline[8].values()}) == 3


def test_an_entry_with_too_few_patches_is_no_entry_of_its_batch():
    stage = STAGES["confirm"]
    batch = next(iter(stage.batches()))
    short = stages.entry(stage, batch)
    short["texts"][8]["patched"].pop()
    with pytest.raises(ValueError, match="zip"):
        gather_texts(stage, [(batch, short)])
    short = stages.entry(stage, batch)
    short["kl_first_token_nats"].pop()
    with pytest.raises(ValueError, match="zip"):
        gather_texts(stage, [(batch, short)])


def test_a_text_without_scores_is_an_error_and_not_a_zero():
    with pytest.raises(KeyError):
        score_stage(gather(STAGES["confirm"]), {})
