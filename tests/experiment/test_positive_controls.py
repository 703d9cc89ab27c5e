"""The stages of positive controls: which prompts and heads they have, and keys of their own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from phase7.experiment.positive_controls import (
    SHIFTS,
    control_stages,
    prompting_stage,
    shift_stage,
)
from phase7.experiment.readouts import ReadoutPlan, WordSet
from phase7.experiment.stages import Stage
from phase7.store import canonical
from phase7.vocabulary.donors import CONTROL_KINDS, DONOR_KINDS
from phase7.vocabulary.heads import Head
from tests import stages
from tests.stages import FILES, GRATITUDE, NEUTRAL, PROFILE, changed

WORDS = (WordSet(name="words", words=("the",), is_strict=True),)


def keys(stage: Stage) -> list[str]:
    return [canonical("generation", batch.key) for batch in stage.batches()]


def readout_keys(stage: Stage, along=None) -> list[str]:
    plan = ReadoutPlan(stage=stage, sets=WORDS, along=along)
    return [canonical("readout", batch.key) for batch in plan.batches()]


def shift(confirm: Stage) -> Stage:
    stage = shift_stage(confirm)
    assert stage is not None
    return stage


def test_prompting_is_matched_by_index():
    confirm = stages.confirm()
    stage = prompting_stage(confirm)
    assert stage.recipients == (1, 3) == tuple(i for i in confirm.recipients if i < 4)
    batches = list(stage.batches())
    assert [batch.prompt for batch in batches] == ["gratitude 1", "gratitude 3"]
    assert [batch.prompt_index for batch in batches] == [1, 3]
    assert all(batch.patches == () for batch in batches)
    assert stage.roles == () and stage.sampling == confirm.sampling


def test_prompting_follows_the_neutral_prompts_path():
    stage = prompting_stage(stages.confirm())
    plan = ReadoutPlan(stage=stage, sets=WORDS, along=stages.confirm())
    own = ReadoutPlan(stage=stage, sets=WORDS)
    confirm = ReadoutPlan(stage=stages.confirm(), sets=WORDS)
    for index, batch in zip(stage.recipients, plan.batches(), strict=True):
        assert plan.path_prompt(index) == f"neutral {index}"
        assert plan.path_key(index) == confirm.path_key(index) != own.path_key(index)
        assert batch.prompt == f"gratitude {index}"


def test_a_reading_of_another_prompt_along_the_same_path_has_another_key():
    other = replace(GRATITUDE, prompts=("gratitude 0", "something else", *GRATITUDE.prompts[2:]))
    one, two = (
        readout_keys(prompting_stage(stages.confirm(emotion=emotion)), along=stages.confirm())
        for emotion in (GRATITUDE, other)
    )
    assert [a == b for a, b in zip(one, two, strict=True)] == [False, True]
    (unpatched, _) = readout_keys(prompting_stage(stages.confirm()))
    assert unpatched not in one


def test_the_tokens_of_path_and_recipient_are_in_the_key_where_files_say_them():
    digests = {prompt: f"of {prompt}" for prompt in (*NEUTRAL.prompts, *GRATITUDE.prompts)}

    def found(**changes: str) -> list:
        files = replace(FILES, tokens=digests | changes)
        confirm = stages.confirm(files=files)
        return readout_keys(prompting_stage(confirm), along=confirm)

    for prompt in ("neutral 3", "gratitude 3"):  # of the second of the recipients 1 and 3
        same = [a == b for a, b in zip(found(), found(**{prompt: "other"}), strict=True)]
        assert same == [True, False]
    before, after = (
        stages.confirm(files=replace(FILES, tokens=digests | c)) for c in ({}, {"neutral 3": "x"})
    )
    paths = [
        [ReadoutPlan(stage=stage, sets=WORDS).path_key(i) for i in stage.recipients]
        for stage in (before, after)
    ]
    assert [a == b for a, b in zip(*paths, strict=True)] == [True, False, True]


def test_the_shift_adds_emotion_minus_control_at_every_head():
    confirm = stages.confirm()
    stage = shift(confirm)
    every = tuple(Head(i, j) for i in range(FILES.n_layers) for j in range(FILES.n_heads))
    assert [(c.heads, c.mode, c.write, c.strength) for c in stage.cells] == [
        (every, "result", "add", strength) for strength in SHIFTS
    ]
    assert SHIFTS == (1.0, 2.0)
    assert stage.recipients == confirm.recipients and stage.neutral == confirm.neutral
    for batch in stage.batches():
        assert batch.patches == tuple(("emotion", cell) for cell in stage.cells)
        assert set(batch.key["donors"]) == {"emotion", "control"}  # what is added depends on both


@pytest.mark.parametrize("donor", DONOR_KINDS)
@pytest.mark.parametrize("control", CONTROL_KINDS)
def test_there_is_no_shift_where_a_donor_captures_nothing(donor, control):
    confirm = stages.confirm(changed("patching", donor=donor, control=control))
    has_both = donor not in ("self", "zero") and control != "none"
    assert (shift_stage(confirm) is not None) == has_both
    names = [stage.name for stage in control_stages(confirm)]
    assert names == ["prompting"] + ["shift"] * has_both


def test_no_controls_unless_they_are_asked_for():
    assert control_stages(stages.confirm(changed("confirm", positive_controls=False))) == []


def test_no_prompting_where_no_recipient_has_a_match():
    confirm = stages.confirm(emotion=replace(GRATITUDE, prompts=("gratitude 0",)))
    assert confirm.recipients == (1, 3, 5)
    assert [stage.name for stage in control_stages(confirm)] == ["shift"]


def test_every_stage_and_every_strength_has_keys_of_its_own():
    """The confirmation tests all heads as one set, in the shift's mode, too."""
    confirm = stages.confirm(changed("confirm", target_heads="all"))
    strengths = [replace(shift(confirm), cells=(cell,)) for cell in shift(confirm).cells]
    all_heads = [c for c in confirm.cells if len(c.heads) == 12 and c.mode == "result"]
    same_heads = replace(confirm, name="shift", cells=tuple(all_heads))
    every = [confirm, prompting_stage(confirm), shift(confirm), *strengths, same_heads]
    for found in ([keys(s) for s in every], [readout_keys(s) for s in every]):
        assert all(found)
        assert len({key for one in found for key in one}) == sum(map(len, found))


def test_the_shift_follows_the_controls_donor():
    other = replace(NEUTRAL, prompts=(*NEUTRAL.prompts[:6], "something else"))
    one, two = (keys(shift(stages.confirm(neutral=neutral))) for neutral in (NEUTRAL, other))
    assert not set(one) & set(two)
    assert keys(shift(stages.confirm(PROFILE))) == one
