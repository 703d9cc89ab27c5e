"""The plan of attributions: what it predicts, and what the key of an entry holds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from phase7.experiment.attribution import AttributionPlan
from phase7.experiment.declared import Readouts, Screen
from phase7.experiment.profile import Profile
from phase7.experiment.readouts import ReadoutPlan, WordSet
from phase7.experiment.screening import screen_stage
from phase7.store import canonical
from phase7.vocabulary.donors import CONTROL_KINDS, DONOR_KINDS
from phase7.vocabulary.modes import MODES
from tests import stages
from tests.stages import FILES, GRATITUDE, NEUTRAL, changed

SETS = (
    WordSet(name="gratitude", words=("thank", "thanks"), is_strict=False),
    WordSet(name="words", words=("the",), is_strict=True),
)
PROFILE = replace(
    stages.PROFILE, readouts=Readouts(emotions=("gratitude",), words=("the",), max_new_tokens=4)
)


def plan(profile: Profile = PROFILE, *, make=stages.sweep, sets=SETS, **others) -> AttributionPlan:
    return AttributionPlan(readouts=ReadoutPlan(stage=make(profile, **others), sets=sets))


def keys(one: AttributionPlan) -> list[str]:
    return [canonical("attribution", one.key(index)) for index in one.stage.recipients]


#: Of every prompt, what stands for its tokens' digest.
DIGESTS = {prompt: f"of {prompt}" for prompt in (*NEUTRAL.prompts, *GRATITUDE.prompts, "a")}

OTHERS = {
    "emotion donor": plan(changed("patching", PROFILE, donor="paired")),
    "control donor": plan(changed("patching", PROFILE, control="shuffled")),
    "no control": plan(changed("patching", PROFILE, control="none")),
    "emotion prompts": plan(emotion=replace(GRATITUDE, prompts=("a", *GRATITUDE.prompts[1:]))),
    "pairs": plan(emotion=replace(GRATITUDE, prompts=GRATITUDE.prompts[::-1])),
    "neutral prompts": plan(
        neutral=replace(NEUTRAL, prompts=(NEUTRAL.prompts[0], "a", *NEUTRAL.prompts[2:]))
    ),
    "positions": plan(changed("patching", PROFILE, positions="all")),
    "modes": plan(changed("sweep", PROFILE, modes=("result",))),
    "words": plan(sets=(SETS[0], replace(SETS[1], words=("and",)))),
    "sets": plan(sets=SETS[:1]),
    "set names": plan(sets=(replace(SETS[0], name="joy"), SETS[1])),
    "order of sets": plan(sets=SETS[::-1]),
    "length of the path": plan(changed("readouts", PROFILE, max_new_tokens=5)),
    "seed": plan(changed("sampling", PROFILE, seed=6)),
    "temperature": plan(changed("sampling", PROFILE, temperature=0.0)),
    "top_p": plan(changed("sampling", PROFILE, top_p=0.5)),
    "format": plan(changed("prompts", PROFILE, format="raw")),
    "device": plan(changed("engine", PROFILE, device="cuda")),
    "dtype": plan(changed("engine", PROFILE, dtype="bfloat16")),
    "tokens": plan(files=replace(FILES, tokens=DIGESTS)),
    "tokens of a donor": plan(files=replace(FILES, tokens=DIGESTS | {"gratitude 3": "other"})),
    "tokens of a neutral donor": plan(files=replace(FILES, tokens=DIGESTS | {"neutral 5": "other"})),
    "model": plan(files=replace(FILES, fingerprint="e" * 64)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_an_attribution_is_another_where_its_value_may_be(name):
    assert not set(keys(OTHERS[name])) & set(keys(plan()))


def test_any_two_of_these_have_no_entry_in_common():
    found = [keys(one) for one in (plan(), *OTHERS.values())]
    assert len({key for one in found for key in one}) == sum(map(len, found))


def test_each_recipient_has_an_entry_of_its_own():
    assert len(set(keys(plan()))) == len(plan().stage.recipients) == 4


def test_what_changes_no_prediction_changes_no_key():
    """Where the path is not a text of the stage, but an entry of its own."""
    longer = changed("readouts", PROFILE, max_new_tokens=64)
    for profile in (
        changed("sampling", longer, max_new_tokens=9, samples=1),
        changed("sweep", longer, heads="0:*"),
        changed("engine", longer, max_rows=32),
        changed("statistics", longer, resamples=500),
    ):
        assert keys(plan(profile)) == keys(plan(longer))
    renamed = replace(GRATITUDE, name="joy", path="elsewhere.json")
    assert keys(plan(emotion=renamed)) == keys(plan())


def screening(**values) -> AttributionPlan:
    """The plan of a screen."""
    statistics = replace(PROFILE.statistics, selection_metrics=("logodds_words",))
    stage = screen_stage(stages.sweep(replace(PROFILE, statistics=statistics, screen=Screen(**values))))
    assert stage is not None
    return AttributionPlan(readouts=ReadoutPlan(stage=stage, sets=SETS))


def test_each_kind_of_gradient_has_its_own_entries():
    found = [
        keys(screening(**values))
        for values in (
            {},
            {"gradient": "dropped"},
            {"gradient": "integrated"},
            {"gradient": "integrated", "steps": 7},
        )
    ]
    assert len({key for one in found for key in one}) == sum(map(len, found))
    for values in ({"heads": 3}, {"steps": 7}, {"checked_heads": 0}, {"confidence": 0.5}, {"group": 4}):
        assert keys(screening(**values)) == found[0]
    assert not screening().pairs and plan().pairs  # a screen tests nothing
    swept = AttributionPlan(readouts=replace(screening().readouts, stage=stages.sweep(PROFILE)))
    assert swept.gradient == ("plain", 0)


def test_an_attribution_is_no_path_and_no_readout():
    one = plan()
    paths = [one.readouts.path_key(index) for index in one.stage.recipients]
    readouts = [batch.key for batch in one.readouts.batches()]
    for index in one.stage.recipients:
        assert one.key(index) not in [*paths, *readouts]


def test_a_reading_of_the_same_sets_in_another_order_has_another_key():
    """Its entry lists the metrics in the order of the sets."""
    one, two = (
        [canonical("readout", batch.key) for batch in plan(sets=sets).readouts.batches()]
        for sets in (SETS, SETS[::-1])
    )
    assert not set(one) & set(two)


@pytest.mark.parametrize("donor", DONOR_KINDS)
@pytest.mark.parametrize("control", CONTROL_KINDS)
def test_there_are_pairs_where_the_donors_are_means_over_matched_prompts(donor, control):
    one = plan(changed("patching", PROFILE, donor=donor, control=control))
    assert bool(one.pairs) == ((donor, control) == ("mean", "neutral"))
    assert (one.key(0)["pairs"] is None) == (not one.pairs)


@pytest.mark.parametrize(("n_emotion", "n_neutral"), [(4, 7), (7, 7), (9, 5)])
def test_pairs_are_as_many_as_both_have(n_emotion, n_neutral):
    one = plan(
        emotion=stages.prompts("gratitude", n_emotion), neutral=stages.prompts("neutral", n_neutral)
    )
    assert one.pairs == tuple(range(min(n_emotion, n_neutral)))


def test_metrics_are_the_readouts_with_a_direction():
    assert plan().metrics == (
        "logodds_gratitude", "logodds_words", "logodds_gratitude_first", "logodds_words_first",
    )  # fmt: skip


def test_modes_are_the_stages_in_the_vocabularys_order():
    assert plan().modes == ("result", "v_only")
    assert plan(make=stages.confirm).modes == MODES
    turned = changed("confirm", PROFILE, modes=MODES[::-1])
    assert plan(turned, make=stages.confirm).modes == MODES
