"""The plan: who is patched where, in which batches, and what a batch's key says."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phase7.experiment.chosen_heads import random_heads
from phase7.experiment.profile import Confirm, Sampling, Sweep
from phase7.experiment.splits import confirmation_half, discovery_half
from phase7.experiment.stages import (
    ENGINE_VERSION,
    Cell,
    resolve_format,
)
from phase7.experiment.tested import sweep_stage
from phase7.store import canonical
from phase7.vocabulary.donors import CONTROL_KINDS, DONOR_KINDS
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.heads import Head, format_heads
from phase7.vocabulary.modes import MODES
from tests import stages
from tests.stages import ANGER, FILES, GRATITUDE, NEUTRAL, PROFILE, changed, shuffled_prompts

LAW = settings(max_examples=60, deadline=None, derandomize=True)
ALL_HEADS = tuple(Head(layer, head) for layer in range(FILES.n_layers) for head in range(FILES.n_heads))


def keys(stage) -> list[str]:
    """The store's strings of all batches."""
    return [canonical("generation", batch.key) for batch in stage.batches()]


# --- halves --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", range(2, 12))
def test_the_halves_share_no_prompt_and_leave_none_out(n):
    neutral = stages.prompts("neutral", n)
    discovery, confirmation = discovery_half(neutral), confirmation_half(neutral)
    assert sorted((*discovery, *confirmation)) == list(range(n))
    assert 0 <= len(discovery) - len(confirmation) <= 1
    assert list(discovery) == sorted(discovery) and list(confirmation) == sorted(confirmation)


def test_the_halves_are_the_even_and_the_odd_places():
    assert discovery_half(NEUTRAL) == (0, 2, 4, 6)
    assert confirmation_half(NEUTRAL) == (1, 3, 5)


def test_a_single_prompt_serves_both_halves():
    alone = stages.prompts("neutral", 1)
    assert discovery_half(alone) == confirmation_half(alone) == (0,)


@pytest.mark.parametrize("n", [2, 3, 7])
def test_no_prompt_of_the_sweep_is_confirmed(n):
    neutral = stages.prompts("neutral", n)
    found = stages.sweep(neutral=neutral).recipients
    tested = stages.confirm(neutral=neutral).recipients
    assert found and tested and not set(found) & set(tested)
    prompts = {batch.prompt for batch in stages.sweep(neutral=neutral).batches()}
    assert not prompts & {batch.prompt for batch in stages.confirm(neutral=neutral).batches()}


def test_without_a_sweep_every_prompt_is_confirmed():
    assert stages.confirm(replace(PROFILE, sweep=None)).recipients == tuple(range(7))


@pytest.mark.parametrize(
    ("n", "expected"), [(0, (0, 2, 4, 6)), (1, (0,)), (3, (0, 2, 4)), (9, (0, 2, 4, 6))]
)
def test_a_number_of_prompts_cuts_the_sweeps_half(n, expected):
    assert stages.sweep(changed("sweep", n_prompts=n)).recipients == expected


@pytest.mark.parametrize(("n", "expected"), [(0, (1, 3, 5)), (1, (1,)), (2, (1, 3)), (9, (1, 3, 5))])
def test_a_number_of_prompts_cuts_the_confirmations_half(n, expected):
    assert stages.confirm(changed("confirm", n_prompts=n)).recipients == expected


def test_a_number_of_prompts_cuts_a_confirmation_without_sweep():
    profile = replace(changed("confirm", n_prompts=3), sweep=None)
    assert stages.confirm(profile).recipients == (0, 1, 2)


# --- the sweep -----------------------------------------------------------------------------------


def test_a_profile_without_a_sweep_has_none():
    assert sweep_stage(replace(PROFILE, sweep=None), FILES, NEUTRAL, GRATITUDE) is None


def test_the_sweep_patches_every_head_alone_in_every_mode_of_it():
    cells = stages.sweep().cells
    assert set(cells) == {Cell((head,), mode) for head in ALL_HEADS for mode in ("result", "v_only")}
    assert len(cells) == len(set(cells)) and list(cells) == sorted(cells)


def test_the_sweep_can_be_kept_to_some_heads():
    cells = stages.sweep(changed("sweep", heads="1:*", modes=("pattern_v",))).cells
    assert cells == tuple(Cell((Head(1, head),), "pattern_v") for head in range(4))


def test_the_sweep_keeps_no_shorter_texts():
    assert stages.sweep().lengths == ()


OTHER_SAMPLING = {
    "max_new_tokens": 9, "temperature": 0.7, "top_p": 0.6, "samples": 3, "seed": 6,
}  # fmt: skip


@pytest.mark.parametrize("name", [field.name for field in fields(Sampling)])
def test_the_sweep_decodes_as_the_sampling_section_says_but_for_its_length(name):
    profile = changed("sampling", **{name: OTHER_SAMPLING[name]})
    assert profile.sampling != PROFILE.sampling
    assert stages.sweep(profile).sampling == profile.sampling
    shorter = replace(profile, sweep=Sweep(max_new_tokens=3))
    assert stages.sweep(shorter).sampling == replace(profile.sampling, max_new_tokens=3)
    assert stages.confirm(shorter).sampling == profile.sampling


# --- the confirmation ----------------------------------------------------------------------------


def labels(stage, mode: str = "result") -> list[str]:
    return [cell.label for cell in stage.cells if cell.mode == mode]


def test_targets_are_confirmed_alone_and_together():
    assert labels(stages.confirm()) == ["0:1", "0:1,2:3", "2:3"]


def test_a_single_target_is_confirmed_once():
    assert labels(stages.confirm(changed("confirm", target_heads="2:3"))) == ["2:3"]


def test_the_heads_of_further_sets_are_confirmed_alone_too():
    stage = stages.confirm(changed("confirm", head_sets=("1:0-1", "0:1,1:0", "2:2")))
    together = {"0:1,2:3", "1:0,1:1", "0:1,1:0"}
    assert set(labels(stage)) == together | {"0:1", "2:3", "1:0", "1:1", "2:2"}


def test_the_strongest_and_the_random_heads_are_confirmed_alone():
    profile = changed("confirm", random_heads=3)
    stage = stages.confirm(profile, strongest=[Head(1, 2), Head(0, 1)])
    drawn = {format_heads((head,)) for head in random_heads(profile, FILES)}
    assert len(drawn) == 3
    assert set(labels(stage)) == {"0:1", "2:3", "0:1,2:3", "1:2"} | drawn


def test_every_cell_is_confirmed_in_every_mode_of_the_confirmation_and_once():
    stage = stages.confirm(strongest=[Head(0, 1), Head(0, 1)])
    assert len(stage.cells) == len(set(stage.cells)) == 3 * len(MODES)
    assert list(stage.cells) == sorted(stage.cells)
    for mode in MODES:
        assert labels(stage, mode) == ["0:1", "0:1,2:3", "2:3"]
    assert {c.mode for c in stages.confirm(changed("confirm", modes=("v_only",))).cells} == {"v_only"}


@pytest.mark.parametrize(
    ("lengths", "expected"), [((), ()), ((5, 1, 5), (1, 5)), ((7, 8, 9), (7,)), ((8,), ())]
)
def test_lengths_are_those_below_the_full_one_in_order(lengths, expected):
    assert stages.confirm(changed("confirm", lengths=lengths)).lengths == expected


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("sweep", "heads", "3:0"),
        ("confirm", "target_heads", "0:4"),
        ("confirm", "head_sets", ("0:1", "9:9")),
    ],
)
def test_a_head_that_the_model_does_not_have_is_refused_with_its_place(section, name, value):
    make = stages.sweep if section == "sweep" else stages.confirm
    with pytest.raises(UserError, match=rf"{section}\.{name}") as caught:
        make(changed(section, **{name: value}))
    assert "layers 0-2 and heads 0-3" in caught.value.expected


# --- heads at random, and the shuffled control ---------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_random_heads_are_distinct_and_never_targets(seed):
    profile = changed("confirm", changed("sampling", seed=seed), random_heads=10)
    drawn = random_heads(profile, FILES)
    assert len(drawn) == 10  # every head that is no target
    assert set(drawn) == set(ALL_HEADS) - {Head(0, 1), Head(2, 3)}
    assert random_heads(changed("confirm", profile, random_heads=99), FILES) == drawn


def test_random_heads_follow_the_seed_alone():
    def draw(seed: int, **sampling) -> tuple[Head, ...]:
        profile = changed("sampling", seed=seed, **sampling)
        return random_heads(changed("confirm", profile, random_heads=3), FILES)

    draws = [draw(seed) for seed in range(40)]
    assert all(len(one) == 3 and list(one) == sorted(one) for one in draws)
    assert [draw(seed, temperature=0.0, samples=1) for seed in range(40)] == draws
    assert len(set(draws)) > 20
    assert {head for one in draws for head in one} == set(ALL_HEADS) - {Head(0, 1), Head(2, 3)}
    assert format_heads(draws[5]) == "1:3,2:1,2:2"  # as in stores of earlier versions


def test_no_random_heads_unless_they_are_asked_for():
    assert random_heads(PROFILE, FILES) == ()


def test_the_shuffled_control_draws_from_emotion_and_neutral_prompts_alike():
    """Every prompt of the two files is as likely as any other: 4 of 11 in 400 draws."""
    n, union = 400, {*GRATITUDE.prompts, *NEUTRAL.prompts}
    counts: Counter[str] = Counter()
    for seed in range(n):
        drawn = shuffled_prompts(GRATITUDE, NEUTRAL, seed).prompts
        assert len(drawn) == len(set(drawn)) == len(GRATITUDE.prompts)
        counts.update(drawn)
    assert set(counts) == union
    expected = n * len(GRATITUDE.prompts) / len(union)
    assert all(abs(count - expected) < 5 * expected**0.5 for count in counts.values())


def test_the_shuffled_control_follows_the_seed_and_both_files():
    def draw(seed=5, emotion=GRATITUDE, neutral=NEUTRAL):
        return shuffled_prompts(emotion, neutral, seed)

    assert draw() == draw()
    assert len({draw(seed).digest for seed in range(20)}) > 15
    assert set(draw(emotion=ANGER).prompts) <= {*ANGER.prompts, *NEUTRAL.prompts}
    assert set(draw(neutral=stages.prompts("other", 7)).prompts) - {*NEUTRAL.prompts}
    as_ever = ("gratitude 0", "gratitude 2", "neutral 3", "gratitude 1")
    assert draw().prompts == as_ever  # as in stores of earlier versions


def test_a_prompt_in_both_files_is_drawn_once_at_most():
    both = replace(NEUTRAL, prompts=(*GRATITUDE.prompts, "neutral 0"))
    for seed in range(20):
        drawn = shuffled_prompts(GRATITUDE, both, seed).prompts
        assert len(set(drawn)) == len(drawn) == 4


# --- donors --------------------------------------------------------------------------------------


def test_the_control_runs_where_the_profile_has_one():
    assert stages.confirm().roles == ("emotion", "control")
    assert stages.confirm(changed("patching", control="none")).roles == ("emotion",)


def test_each_role_has_the_donor_of_its_own_setting():
    stage = stages.confirm(changed("patching", donor="paired", control="shuffled"))
    assert stage.donor_kind("emotion") == "paired"
    assert stage.donor_kind("control") == "shuffled"


def test_a_mean_is_over_the_prompts_that_its_kind_names():
    stage = stages.confirm()
    assert stage.donor_prompts("emotion", 0) == GRATITUDE
    assert stage.donor_prompts("control", 0) == NEUTRAL
    assert stages.confirm(changed("patching", donor="neutral")).donor_prompts("emotion", 0) == NEUTRAL
    shuffled = stages.confirm(changed("patching", control="shuffled"))
    assert shuffled.donor_prompts("control", 0) == shuffled_prompts(GRATITUDE, NEUTRAL, 5)
    assert shuffled.donor_prompts("emotion", 0) == GRATITUDE
    other_seed = stages.confirm(changed("sampling", shuffled.profile, seed=6))
    assert other_seed.donor_prompts("control", 0) == shuffled_prompts(GRATITUDE, NEUTRAL, 6)


@pytest.mark.parametrize(
    ("wanted", "has_template", "expected"),
    [("auto", True, "chat"), ("auto", False, "raw"), ("chat", True, "chat"), ("raw", True, "raw"),
     ("raw", False, "raw")],
)  # fmt: skip
def test_the_prompt_format_follows_the_tokenizer_where_it_may(wanted, has_template, expected):
    files = replace(FILES, has_chat_template=has_template)
    profile = changed("prompts", format=wanted)
    assert resolve_format(files, profile) == expected
    assert stages.confirm(profile, files=files).prompt_format == expected


def test_a_chat_without_a_template_is_refused():
    with pytest.raises(UserError, match="expected a model with a chat template, got made-up"):
        resolve_format(replace(FILES, has_chat_template=False), changed("prompts", format="chat"))


# --- batches -------------------------------------------------------------------------------------


@LAW
@given(
    max_rows=st.integers(8, 200),
    samples=st.integers(1, 4),
    heads=st.sampled_from(["0:0", "0:0-2", "1:*", "0:*,2:1", "all"]),
    modes=st.sampled_from([("result",), ("v_only", "result"), MODES]),
    control=st.sampled_from(["neutral", "none"]),
    is_sweep=st.booleans(),
)
def test_batches_cover_every_patch_once_in_order_and_are_of_equal_size(
    max_rows, samples, heads, modes, control, is_sweep
):
    profile = changed("sampling", changed("patching", control=control), samples=samples)
    profile = changed("engine", profile, max_rows=max_rows)
    profile = replace(
        profile,
        sweep=Sweep(heads=heads, modes=modes),
        confirm=Confirm(target_heads=heads, modes=modes),
    )
    stage = stages.sweep(profile) if is_sweep else stages.confirm(profile)
    rows_without_patches = samples * (1 + len(modes))  # baseline and a self-check for each mode
    if max_rows < rows_without_patches + samples:
        with pytest.raises(UserError, match=f"at least {rows_without_patches + samples} rows"):
            list(stage.batches())
        return
    batches = list(stage.batches())
    groups = [[role] for role in stage.roles] if is_sweep else [list(stage.roles)]
    most = (max_rows - rows_without_patches) // samples
    assert [b.prompt_index for b in batches] == sorted(b.prompt_index for b in batches)
    for index in stage.recipients:
        own = [batch for batch in batches if batch.prompt_index == index]
        assert all(batch.prompt == NEUTRAL.prompts[index] for batch in own)
        for group in groups:
            wanted = [(role, cell) for role in group for cell in stage.cells]
            pieces = [b.patches for b in own if set(b.patches) & set(wanted)]
            assert [patch for piece in pieces for patch in piece] == wanted
            sizes = [len(piece) for piece in pieces]
            assert max(sizes) - min(sizes) <= 1 and max(sizes) <= most
            assert len(pieces) == -(-len(wanted) // most)
    assert len(batches) == len(stage.recipients) * sum(
        -(-len(group) * len(stage.cells) // most) for group in groups
    )
    for batch in batches:
        assert batch.n_rows == rows_without_patches + samples * len(batch.patches) <= max_rows
        assert batch.n_tokens == batch.n_rows * stage.sampling.max_new_tokens


def test_a_sweeps_batches_have_one_role_and_a_confirmations_both():
    profile = changed("engine", max_rows=1000)
    assert {len({role for role, _ in b.patches}) for b in stages.sweep(profile).batches()} == {1}
    assert {len({role for role, _ in b.patches}) for b in stages.confirm(profile).batches()} == {2}


def test_the_number_of_rows_that_is_asked_for_is_enough():
    profile = changed("engine", max_rows=4)
    with pytest.raises(UserError) as caught:
        list(stages.confirm(profile).batches())
    assert caught.value.expected.startswith("at least 10 rows")  # 2 samples of 1 + 3 + 1 rows
    with pytest.raises(UserError):
        list(stages.confirm(changed("engine", max_rows=9)).batches())
    enough = list(stages.confirm(changed("engine", max_rows=10)).batches())
    assert {len(batch.patches) for batch in enough} == {1}


# --- keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", [stages.sweep(), stages.confirm()], ids=["sweep", "confirm"])
def test_keys_are_json_and_no_two_batches_have_the_same(stage):
    for batch in stage.batches():
        assert json.loads(json.dumps(batch.key)) == batch.key
        backwards = dict(reversed(batch.key.items()))
        assert canonical("generation", backwards) == canonical("generation", batch.key)
    assert len(set(keys(stage))) == len(keys(stage))
    assert keys(stage) == keys(stage)


def test_a_sweeps_control_entries_serve_every_emotion_and_the_others_serve_one():
    one, other = (list(stages.sweep(emotion=e).batches()) for e in (GRATITUDE, ANGER))
    assert {b.patches[0][0] for b in one} == {"emotion", "control"}
    for mine, yours in zip(one, other, strict=True):
        assert mine.patches == yours.patches
        assert (mine.key == yours.key) == (mine.patches[0][0] == "control")


def test_a_shuffled_control_is_another_for_every_emotion():
    profile = changed("patching", control="shuffled")
    mine, yours = (keys(stages.sweep(profile, emotion=e)) for e in (GRATITUDE, ANGER))
    assert not set(mine) & set(yours)


def test_a_key_does_not_depend_on_names_and_paths():
    renamed = replace(GRATITUDE, name="joy", path="elsewhere/joy.json")
    moved = replace(FILES, name="other", folder=FILES.folder / "x", source="y", revision="z")
    profile = replace(PROFILE, name="other", models=("x",), emotions=("joy",))
    assert keys(stages.confirm(profile, files=moved, emotion=renamed)) == keys(stages.confirm())


@pytest.mark.parametrize("make", [stages.sweep, stages.confirm])
def test_other_weights_give_other_keys(make):
    assert not set(keys(make(files=replace(FILES, fingerprint="e" * 64)))) & set(keys(make()))


def test_other_prompts_of_the_emotion_give_other_keys():
    fewer = replace(GRATITUDE, prompts=GRATITUDE.prompts[:-1])
    turned = replace(GRATITUDE, prompts=GRATITUDE.prompts[::-1])
    for emotion in (fewer, turned):
        assert not set(keys(stages.confirm(emotion=emotion))) & set(keys(stages.confirm()))


def test_another_neutral_prompt_changes_its_own_entries_and_every_control():
    """The control's mean is over all neutral prompts; the emotion's donor knows none of them."""
    other = replace(NEUTRAL, prompts=("something else", *NEUTRAL.prompts[1:]))
    one, two = list(stages.sweep().batches()), list(stages.sweep(neutral=other).batches())
    for before, after in zip(one, two, strict=True):
        kept = before.patches[0][0] == "emotion" and before.prompt_index != 0
        assert (before.key == after.key) == kept


def test_a_paired_donors_entry_depends_on_its_own_emotion_prompt_alone():
    profile = changed("patching", donor="paired", control="none")
    other = replace(GRATITUDE, prompts=(*GRATITUDE.prompts[:3], "something else"))
    one, two = (
        list(stages.confirm(replace(profile, sweep=None), emotion=e).batches())
        for e in (GRATITUDE, other)
    )
    partners = {b.prompt_index: b.key["donors"]["emotion"]["prompt"] for b in one}
    assert partners == {i: f"gratitude {i % 4}" for i in range(7)}
    for before, after in zip(one, two, strict=True):
        assert (before.key == after.key) == (before.prompt_index != 3)


OVERLAPPING = replace(GRATITUDE, prompts=("neutral 1", *GRATITUDE.prompts[1:]))


def test_an_emotion_mean_that_leaves_out_its_recipient_has_a_key_of_its_own():
    """Entries of earlier versions held the recipient; those of all other recipients stay as they were."""
    stage = stages.confirm(changed("confirm", modes=("result",)), emotion=OVERLAPPING)
    for batch in stage.batches():
        identity = batch.key["donors"]["emotion"]
        plain = {"kind": "mean", "prompts": OVERLAPPING.digest}
        assert identity == (plain | {"without": "recipient"} if batch.prompt_index == 1 else plain)


def test_a_paired_donor_is_never_the_recipient_itself():
    profile = replace(changed("patching", donor="paired", control="none"), sweep=None)
    stage = stages.confirm(profile, emotion=OVERLAPPING, neutral=NEUTRAL)
    partners = {b.prompt_index: b.key["donors"]["emotion"]["prompt"] for b in stage.batches()}
    # Recipient i takes emotion prompt i mod 4; of those, number 0 is the text of recipient 1.
    assert partners == {
        0: "neutral 1", 1: "gratitude 1", 2: "gratitude 2", 3: "gratitude 3", 4: "neutral 1",
        5: "gratitude 1", 6: "gratitude 2",
    }  # fmt: skip
    turned = replace(GRATITUDE, prompts=("gratitude 0", "neutral 1", "gratitude 2", "gratitude 3"))
    stage = stages.confirm(profile, emotion=turned)
    partners = {b.prompt_index: b.key["donors"]["emotion"]["prompt"] for b in stage.batches()}
    assert partners[1] == "gratitude 2" and partners[5] == "neutral 1"


@pytest.mark.parametrize("donor", ["paired"])
def test_a_donor_that_is_the_recipient_alone_is_refused(donor):
    profile = replace(changed("patching", donor=donor, control="none"), sweep=None)
    with pytest.raises(UserError, match="expected a donor prompt that is not the recipient itself"):
        list(stages.confirm(profile, emotion=replace(GRATITUDE, prompts=("neutral 3",))).batches())


#: Of every prompt, what stands for its tokens' digest.
DIGESTS = {prompt: f"of {prompt}" for prompt in (*NEUTRAL.prompts, *GRATITUDE.prompts)}


@pytest.mark.parametrize("name", ["sweep", "confirm"])
@pytest.mark.parametrize("donor", ["mean", "paired", "self"])
def test_keys_know_the_tokens_of_recipient_and_donors_where_files_say_them(name, donor):
    """Each prompt's tokens change the entries that read it, and no others; without digests none is there."""
    make = getattr(stages, name)
    profile = changed("patching", donor=donor, control="none")

    def found(**changes: str) -> dict[int, dict]:
        files = replace(FILES, tokens=DIGESTS | changes)
        return {batch.prompt_index: batch.key for batch in make(profile, files=files).batches()}

    plain = {batch.prompt_index: batch.key for batch in make(profile).batches()}
    before = found()
    assert all(before[i]["tokens"] == f"of neutral {i}" for i in before)
    assert all("tokens" not in key and plain.keys() == before.keys() for key in plain.values())
    after = found(**{"neutral 2": "other"})
    assert {i for i in before if before[i] != after[i]} == {2} & set(before)
    after = found(**{"gratitude 1": "other"})
    readers = {"mean": set(before), "paired": {i for i in before if i % 4 == 1}, "self": set()}
    assert {i for i in before if before[i] != after[i]} == readers[donor]


def test_every_kind_of_donor_has_keys_of_its_own():
    found = [keys(stages.confirm(changed("patching", donor=kind))) for kind in DONOR_KINDS]
    found += [
        keys(stages.confirm(changed("patching", donor="self", control=kind)))
        for kind in set(CONTROL_KINDS) - {PROFILE.patching.control}
    ]
    assert len({key for one in found for key in one}) == sum(map(len, found))


def test_an_entry_of_an_older_store_is_found_again():
    """The key spelled out: a change here makes everybody compute everything again."""
    profile = changed("engine", changed("confirm", modes=("result",), lengths=(1,)), max_rows=64)
    batch = next(iter(stages.confirm(profile).batches()))
    assert batch.key == {
        "engine": ENGINE_VERSION,
        "model": "f" * 64,
        "format": "chat",
        "prompt": "neutral 1",
        "donors": {
            "emotion": {"kind": "mean", "prompts": GRATITUDE.digest},
            "control": {"kind": "neutral", "prompts": NEUTRAL.digest},
        },
        "patches": [
            ["emotion", "0:1", "result"],
            ["emotion", "0:1,2:3", "result"],
            ["emotion", "2:3", "result"],
            ["control", "0:1", "result"],
            ["control", "0:1,2:3", "result"],
            ["control", "2:3", "result"],
        ],
        "positions": "generated",
        "use_attn_result": False,
        "max_new_tokens": 8,
        "temperature": 0.8,
        "top_p": 0.9,
        "samples": 2,
        "seed": 5,
        "lengths": [1],
        "device": "cpu",
        "dtype": "float32",
    }
    control = changed("patching", profile, donor="zero", control="shuffled")
    donors = next(iter(stages.confirm(control).batches())).key["donors"]
    assert donors == {
        "emotion": {"kind": "zero"},
        "control": {"kind": "shuffled", "prompts": shuffled_prompts(GRATITUDE, NEUTRAL, 5).digest},
    }
