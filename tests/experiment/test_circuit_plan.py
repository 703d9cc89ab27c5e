"""The plan of a circuit: whose heads, on which prompts, and what the keys of its entries hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from phase7.experiment.chosen_heads import n_ranked
from phase7.experiment.circuits import CircuitPlan, circuit_plan
from phase7.experiment.declared import Circuit, Readouts
from phase7.experiment.profile import Profile
from phase7.experiment.readouts import ReadoutPlan, WordSet
from phase7.store import canonical
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.heads import Head
from tests import stages
from tests.stages import BY_READOUTS, GRATITUDE, NEUTRAL, changed

ROOT = Path(__file__).parents[2]
WORDS = WordSet(name="words", words=("thank", "the"), is_strict=True)
HEADS = (Head(0, 1), Head(1, 2))
PROFILE = replace(
    BY_READOUTS,
    readouts=Readouts(emotions=("gratitude",), words=("the",), max_new_tokens=4),
    circuit=Circuit(heads=2, n_prompts=2, max_new_tokens=3),
)


def plan(profile: Profile = PROFILE, *, heads=HEADS, words=WORDS, **others) -> CircuitPlan:
    readouts = ReadoutPlan(stage=stages.confirm(profile, **others), sets=(WORDS,))
    return CircuitPlan(readouts=readouts, heads=heads, words=words)


def key(one: CircuitPlan) -> str:
    return canonical("circuit", one.key(one.recipients[0]))


OTHERS = {
    "heads": plan(heads=HEADS[:1]),
    "words": plan(words=replace(WORDS, words=("thank",))),
    "steps": plan(changed("circuit", PROFILE, max_new_tokens=2)),
    "mode": plan(changed("patching", PROFILE, primary_mode="v_only")),
    "positions": plan(changed("patching", PROFILE, positions="all")),
    "emotion donor": plan(changed("patching", PROFILE, donor="paired")),
    "control donor": plan(changed("patching", PROFILE, control="shuffled")),
    "no control": plan(changed("patching", PROFILE, control="none")),
    "emotion prompts": plan(emotion=replace(GRATITUDE, prompts=("a", *GRATITUDE.prompts[1:]))),
    "seed": plan(changed("sampling", PROFILE, seed=6)),
    "format": plan(changed("prompts", PROFILE, format="raw")),
    "device": plan(changed("engine", PROFILE, device="cuda")),
    "dtype": plan(changed("engine", PROFILE, dtype="bfloat16")),
}


@pytest.mark.parametrize("name", OTHERS)
def test_whatever_determines_the_paths_is_in_the_key(name):
    assert key(OTHERS[name]) != key(plan())


def test_what_does_not_is_not():
    assert key(plan(changed("statistics", PROFILE, alpha=0.01))) == key(plan())
    assert key(plan(changed("circuit", PROFILE, n_prompts=1))) == key(plan())
    keys = {canonical("circuit", plan().key(index)) for index in plan().recipients}
    assert len(keys) == len(plan().recipients) == 2


def test_what_is_read_has_a_key_of_its_own():
    def reads(one: CircuitPlan) -> str:
        return canonical("reads", one.reads_key)

    for name in ("heads", "emotion prompts", "format", "device", "dtype"):
        assert reads(OTHERS[name]) != reads(plan())
    assert reads(plan(changed("circuit", PROFILE, n_prompts=1))) != reads(plan())
    assert reads(OTHERS["mode"]) == reads(plan())
    assert plan().donor_prompts(NEUTRAL) == NEUTRAL.prompts[:2]
    assert plan(changed("circuit", PROFILE, n_prompts=0)).donor_prompts(NEUTRAL) == NEUTRAL.prompts


def test_the_first_heads_of_the_search_are_taken_by_place_with_the_words_of_the_emotion():
    stage = stages.confirm(PROFILE)
    found = circuit_plan(stage, [Head(2, 0), Head(0, 3), Head(1, 1)], ROOT)
    assert found is not None
    assert found.heads == (Head(0, 3), Head(2, 0))
    assert found.words.name == "gratitude" and found.n_steps == 3
    own = replace(PROFILE, readouts=Readouts(words=("the",), max_new_tokens=2))
    found = circuit_plan(stages.confirm(own), HEADS, ROOT)
    assert found is not None and found.words.name == "words" and found.n_steps == 2


def test_there_is_no_plan_without_a_circuit_heads_or_words_of_the_emotion():
    assert circuit_plan(stages.confirm(replace(PROFILE, circuit=None)), HEADS, ROOT) is None
    assert circuit_plan(stages.confirm(PROFILE), (), ROOT) is None
    other = replace(
        PROFILE, readouts=Readouts(emotions=("anger",)), statistics=stages.PROFILE.statistics
    )
    assert circuit_plan(stages.confirm(other), HEADS, ROOT) is None


def test_the_search_gives_as_many_heads_as_the_circuit_wants():
    assert n_ranked(replace(PROFILE, circuit=None)) == 0
    assert n_ranked(PROFILE) == 2


@pytest.mark.parametrize(
    ("base", "message"),
    [
        (replace(stages.PROFILE, sweep=None), "whose words its read-out is made of"),
        (changed("patching", BY_READOUTS, donor="zero"), "a donor made of prompts"),
    ],
)
def test_a_profile_that_can_have_no_circuit_is_refused(base, message):
    with pytest.raises(UserError, match=message):
        replace(base, circuit=Circuit())


@pytest.mark.parametrize("wrong", [{"heads": 0}, {"n_prompts": -1}, {"max_new_tokens": 0}])
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(UserError):
        Circuit(**wrong)
