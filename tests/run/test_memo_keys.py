"""What the keys of stored entries know: every setting that can change an entry, and none that cannot.

All tests go through the fields of the settings' records, so a field that somebody adds needs a value in
`stages.OTHER_VALUES` and, where it may leave an entry alone, a reason here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest

from phase7.experiment.directions import LENS_VERSION
from phase7.experiment.profile import Profile
from phase7.experiment.stages import ENGINE_VERSION, Stage
from phase7.run.executor import Executor
from phase7.store import canonical
from phase7.vocabulary.heads import Head
from tests import stages
from tests.stages import (
    ANGER,
    BY_READOUTS,
    FILES,
    GRATITUDE,
    NEED_READOUTS,
    NEUTRAL,
    OTHER_VALUES,
    PROFILE,
    NotedStore,
    changed,
)

SECTIONS = {
    field.name: type(getattr(PROFILE, field.name))
    for field in fields(Profile)
    if is_dataclass(getattr(PROFILE, field.name))
}
SETTINGS = [
    f"{section}.{field.name}" for section, record in SECTIONS.items() for field in fields(record)
]
#: The settings of which a key must know each, or have a reason not to.
ENGINE_SETTINGS = [s for s in SETTINGS if s.partition(".")[0] in ("sampling", "patching", "engine")]
STAGES = {"sweep": stages.sweep, "confirm": stages.confirm}


def variants(setting: str) -> Iterator[Profile]:
    """The profile with each of the other values of a setting."""
    section, _, name = setting.partition(".")
    base = BY_READOUTS if setting in NEED_READOUTS else PROFILE
    if setting == "confirm.write":  # of no use without a strength
        base = changed("confirm", base, strengths=(1.0,))
    if setting == "sweep.halving":  # of read-outs alone
        base = changed("sweep", base, text=False)
    for value in OTHER_VALUES[section][name]:
        yield changed(section, base, **{name: value})


def test_every_setting_has_other_values():
    """A new setting fails here until it has some, and then stands in all tests below."""
    assert set(SECTIONS) == {
        "prompts", "sampling", "patching", "sweep", "confirm", "readouts", "statistics", "engine",
    }  # fmt: skip
    for section, record in SECTIONS.items():
        assert set(OTHER_VALUES[section]) == {field.name for field in fields(record)}
        for name, values in OTHER_VALUES[section].items():
            assert values
            assert getattr(getattr(PROFILE, section), name) not in values
            assert len(set(values)) == len(values)


# --- generations ---------------------------------------------------------------------------------

#: Settings that no generation's key knows, and why that is right.
NOT_IN_A_GENERATION = {
    "patching.primary_mode": "says which mode is reported; the modes that run are in the patches",
    "engine.max_rows": "says how patches are cut into batches; the patches of each are in its key",
    "prompts.neutral": "a path; the prompt is in the key",
    "prompts.emotion": "a path; the prompts' digest is in the key",
    "prompts.system": "the tokens' digest is in the key, of every prompt that is not known by its text",
    "prompts.template": "as prompts.system",
    "prompts.date": "as prompts.system",
    "prompts.column": "says where prompts are read; the prompts are in the key",
    "prompts.scenarios": "says in which order prompts are read; the prompts are in the key",
    "confirm.strongest": "a number of heads that the sweep names; they are in the patches",
    "confirm.strongest_sets": "as confirm.strongest",
    "confirm.random_sets": "a number of sets that are drawn beside the sweep's; they are in the patches",
    "patching.against": "emotions whose stages run beside; each has its donor in its own keys",
    "confirm.against_text": "says whether the stages of other emotions generate texts",
    "confirm.strengths": "strengths of a stage of its own, whose patches hold them",
    "confirm.write": "as confirm.strengths",
    "confirm.guard_samples": "how many texts are looked at; their guards have entries of their own",
    "confirm.curve": "sizes of sets of a stage of its own, which generates no text",
    "confirm.curve_random_sets": "as confirm.curve",
    "confirm.curve_prompts": "as confirm.curve",
    "confirm.positive_controls": "says whether the stages of the positive controls run",
    "sweep.text": "says whether the sweep's texts are generated, not which",
    "sweep.readouts": "read-outs have entries of their own",
    "sweep.checked_heads": "read-outs have entries of their own",
    "sweep.halving": "read-outs have entries of their own",
    "readouts.emotions": "read-outs have entries of their own",
    "readouts.words": "read-outs have entries of their own",
    "readouts.continuations": "contrasts have entries of their own",
    "readouts.pairs": "contrasts have entries of their own",
    "readouts.max_new_tokens": "read-outs have entries of their own",
    "statistics.alpha": "read after generating",
    "statistics.resamples": "read after generating",
    "statistics.selection_metrics": "read after generating",
    "statistics.primary_metrics": "read after generating",
    "statistics.primary_modes": "read after generating",
    "statistics.looks": "says after how many prompts the run may stop, not what is generated of them",
    "statistics.spending": "as statistics.looks",
}
#: Settings that change who is patched where: batches come, go and are cut in another way.
OTHER_BATCHES = {
    "sweep": {"sweep.heads", "sweep.modes", "sweep.n_prompts", "sweep.max_new_tokens"},
    "confirm": {
        "confirm.target_heads", "confirm.head_sets", "confirm.random_heads", "confirm.modes",
        "confirm.n_prompts", "confirm.lengths", "confirm.alone",
    },
}  # fmt: skip
#: The role whose donor a setting chooses: the other role's patches stay the same.
DONOR_OF = {"patching.donor": "emotion", "patching.control": "control"}


def generations(stage: Stage, role: str | None = None) -> set[str]:
    """The keys of a stage's batches, of those with a patch of a role where one is given."""
    return {
        canonical("generation", batch.key)
        for batch in stage.batches()
        if role is None or role in {one for one, _ in batch.patches}
    }


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize(
    "setting", [s for s in [*ENGINE_SETTINGS, "prompts.format"] if s not in NOT_IN_A_GENERATION]
)
def test_a_generation_is_another_for_each_value_of_a_setting(name, setting):
    """`raw` and `chat` are compared with `auto`, which is `chat` for the made-up model."""
    make, role = STAGES[name], DONOR_OF.get(setting)
    sides = [PROFILE, *variants(setting)]
    if setting == "prompts.format":
        sides = [PROFILE, changed("prompts", format="raw")]
    found = [generations(make(profile), role) for profile in sides]
    if setting == "patching.control":  # without a control there is none of these
        assert found.pop() == set() and sides.pop().patching.control == "none"
    assert all(found)
    assert len(set().union(*found)) == sum(map(len, found))  # no key twice


def test_a_sweep_keeps_the_entries_of_the_other_donor():
    """Liveness of `DONOR_OF`: the batches of one role alone do not depend on the other's donor."""
    for setting, role in DONOR_OF.items():
        (other,) = set(DONOR_OF.values()) - {role}
        for profile in variants(setting):
            if profile.patching.control != "none":
                before, after = (generations(stages.sweep(p), other) for p in (PROFILE, profile))
                assert before == after != set()


def test_chat_is_the_same_generation_as_auto_where_auto_means_chat():
    chat = changed("prompts", format="chat")
    assert generations(stages.confirm(chat)) == generations(stages.confirm())


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("setting", [s for s in NOT_IN_A_GENERATION if s != "engine.max_rows"])
def test_a_setting_that_changes_no_generation_changes_no_key(name, setting):
    for profile in variants(setting):
        assert generations(STAGES[name](profile)) == generations(STAGES[name]())


@pytest.mark.parametrize("name", STAGES)
def test_the_bound_of_rows_cuts_the_same_patches_in_other_places(name):
    def patches_and_rest(rows: int) -> tuple[list[Any], set[str], set[str]]:
        stage = STAGES[name](changed("engine", max_rows=rows))
        batches = list(stage.batches())
        patches = [[b.prompt, *patch] for b in batches for patch in b.key["patches"]]
        rests = {json.dumps({**b.key, "patches": 0, "donors": 0}, sort_keys=True) for b in batches}
        return sorted(patches), rests, generations(stage)

    wide, wider, narrow = (patches_and_rest(rows) for rows in (1000, 2000, 16))
    assert wide == wider  # all in one batch: the number itself is in no key
    assert wide[:2] == narrow[:2]
    assert not wide[2] & narrow[2]


@pytest.mark.parametrize("name", STAGES)
def test_a_setting_of_the_plan_changes_the_batches_of_its_own_stage(name):
    (other,) = set(STAGES) - {name}
    for setting in OTHER_BATCHES[name]:
        found = [generations(STAGES[name](p)) for p in (PROFILE, *variants(setting))]
        assert all(found[i] != found[j] for i in range(len(found)) for j in range(i))
        for profile in variants(setting):
            assert generations(STAGES[other](profile)) == generations(STAGES[other]())


def test_every_setting_is_judged_above():
    judged = {*ENGINE_SETTINGS, "prompts.format", *NOT_IN_A_GENERATION}
    assert judged.union(*OTHER_BATCHES.values()) == set(SETTINGS)


# --- captures ------------------------------------------------------------------------------------

#: Settings of sampling, patching and engine that change what a run captures. All others say what is
#: done with a capture, or how tokens are drawn.
IN_A_CAPTURE = {
    "patching.donor",
    "patching.control",
    "patching.positions",
    "engine.device",
    "engine.dtype",
}


def captures(stage: Stage, tmp_path) -> dict[str, dict[str, Any]]:
    """The keys of what a run with workers captures for a stage whose generations are all missing."""
    found: dict[str, dict[str, Any]] = {}

    def fan_out(units):
        for unit in units:
            if unit.kind == "capture":
                assert canonical("capture", unit.key) not in found  # none is recorded twice
                found[canonical("capture", unit.key)] = unit.key
            yield unit

    store = NotedStore(tmp_path, lambda kind, key: {})
    executor = Executor(stage.files, stage.profile.engine, store, lambda line: None, fan_out)
    assert len(list(executor.run(stage))) == len(list(stage.batches()))
    return found


@pytest.mark.parametrize("setting", ENGINE_SETTINGS)
def test_a_capture_is_another_where_a_setting_changes_it_and_only_there(setting, tmp_path):
    before = set(captures(stages.confirm(), tmp_path))
    assert before
    for profile in variants(setting):
        after = set(captures(stages.confirm(profile), tmp_path))
        if setting.startswith("engine") and setting in IN_A_CAPTURE:
            assert after and not after & before
        elif setting == "patching.positions":  # some need the last query alone, as `generated` does
            positions = profile.patching.positions
            assert (after == before) == (positions in ("last", "step:1"))
            assert after == before or not after & before
        else:
            assert (after != before) == (setting in IN_A_CAPTURE)


def test_units_are_captured_beside_heads_and_leave_these_captures_as_they_are(tmp_path):
    confirm = {"target_heads": "0:1,2:3", "modes": ("result",)}
    before = captures(stages.confirm(changed("confirm", **confirm)), tmp_path)
    more = confirm | {"head_sets": ("0:1,mlp:1", "resid:2,mlp:1", "attn:1")}
    after = captures(stages.confirm(changed("confirm", **more)), tmp_path)
    added = [after[name] for name in after if name not in before]
    assert {name: after[name] for name in before} == before
    assert sorted({key["unit"] for key in added}) == ["mlp:1", "resid:2"]
    assert len(added) == 2 * len(before)
    heads = {canonical("capture", {k: v for k, v in key.items() if k != "unit"}) for key in added}
    assert heads == set(before)


def test_a_head_set_with_a_unit_is_another_generation(tmp_path):
    found = [
        {canonical("generation", batch.key) for batch in stages.confirm(profile).batches()}
        for profile in (
            changed("confirm", target_heads=spec, modes=("result",))
            for spec in ("0:1", "0:1,mlp:1", "0:1,mlp:2", "0:1,resid:1", "0:1,attn:1")
        )
    ]
    assert all(not found[i] & found[j] for i in range(len(found)) for j in range(i))


@pytest.mark.parametrize(
    ("donor", "control", "expected"),
    [
        ("mean", "none", GRATITUDE.prompts),
        ("paired", "none", ("gratitude 1", "gratitude 3")),  # of recipients 1, 3 and 5
        ("self", "none", ()),
        ("zero", "none", ()),
        ("neutral", "none", NEUTRAL.prompts),
        ("self", "neutral", NEUTRAL.prompts),
        ("mean", "neutral", (*GRATITUDE.prompts, *NEUTRAL.prompts)),
        ("zero", "shuffled", ("gratitude 0", "gratitude 1", "gratitude 2", "neutral 3")),
    ],
)
def test_captures_are_those_of_the_donors_prompts(donor, control, expected, tmp_path):
    profile = changed("patching", donor=donor, control=control)
    found = captures(stages.confirm(profile), tmp_path).values()
    assert sorted(key["prompt"] for key in found) == sorted(expected)


def test_nothing_is_captured_for_batches_that_are_in_the_store(tmp_path):
    stage, asked = stages.confirm(), []
    store = NotedStore(tmp_path, lambda kind, key: {})
    store.asked = [("generation", batch.key) for batch in stage.batches()]
    executor = Executor(FILES, PROFILE.engine, store, lambda line: None, asked.append)
    list(executor.run(stage))
    assert asked == []


def test_a_capture_of_an_older_store_is_found_again(tmp_path):
    """The key spelled out: a change here makes everybody record everything again."""
    (key,) = captures(
        stages.confirm(
            changed("patching", control="none", positions="all"),
            emotion=replace(GRATITUDE, prompts=("Thank you",)),
        ),
        tmp_path,
    ).values()
    assert key == {
        "engine": ENGINE_VERSION,
        "model": "f" * 64,
        "format": "chat",
        "prompt": "Thank you",
        "queries": "all",
        "device": "cpu",
        "dtype": "float32",
    }
    (raw,) = captures(
        stages.confirm(
            changed("prompts", changed("patching", control="none"), format="raw"),
            files=replace(FILES, fingerprint="e" * 64),
            emotion=replace(GRATITUDE, prompts=("Thank you",)),
        ),
        tmp_path,
    ).values()
    assert raw == {**key, "model": "e" * 64, "format": "raw", "queries": "last"}


def test_a_capture_knows_the_tokens_where_files_say_them(tmp_path):
    files = replace(FILES, tokens={p: f"of {p}" for p in (*GRATITUDE.prompts, *NEUTRAL.prompts)})
    found = captures(stages.confirm(files=files), tmp_path).values()
    assert found and all(key["tokens"] == f"of {key['prompt']}" for key in found)


# --- the lens ------------------------------------------------------------------------------------

IN_A_LENS = {"engine.device", "engine.dtype"}  # it is the direct path of a mean at the last token


def lens(
    stage: Stage,
    tmp_path,
    heads: tuple[Head, ...] = (Head(0, 1), Head(2, 3)),
    words: tuple[str, ...] = ("thank", "grateful"),
) -> dict[str, Any]:
    """The key of a stage's lens."""
    store = NotedStore(tmp_path, lambda kind, key: "found")
    executor = Executor(stage.files, stage.profile.engine, store, lambda line: None)
    assert executor.lens(stage, heads, words) == "found"
    ((kind, key),) = store.asked
    assert kind == "lens"
    return key


@pytest.mark.parametrize("setting", ENGINE_SETTINGS)
def test_a_lens_is_another_where_a_setting_changes_it_and_only_there(setting, tmp_path):
    before = lens(stages.confirm(), tmp_path)
    for profile in variants(setting):
        after = lens(stages.confirm(profile), tmp_path)
        assert (after != before) == (setting in IN_A_LENS)


def test_a_lens_is_another_for_other_heads_prompts_words_and_weights(tmp_path, monkeypatch):
    fewer = replace(NEUTRAL, prompts=NEUTRAL.prompts[1:])
    raw = changed("prompts", format="raw")
    found = [
        lens(stages.confirm(), tmp_path),
        lens(stages.confirm(), tmp_path, (Head(0, 1),)),
        lens(stages.confirm(emotion=ANGER), tmp_path),
        lens(stages.confirm(neutral=fewer), tmp_path),
        lens(stages.confirm(raw), tmp_path),
        lens(stages.confirm(files=replace(FILES, fingerprint="e" * 64)), tmp_path),
        lens(stages.confirm(), tmp_path, words=("thank",)),
        lens(stages.confirm(), tmp_path, words=()),
    ]
    tokens = {p: f"of {p}" for p in (*GRATITUDE.prompts, *NEUTRAL.prompts)}
    for prompt in (GRATITUDE.prompts[0], NEUTRAL.prompts[0]):
        files = replace(FILES, tokens=tokens | {prompt: "other"})
        found.append(lens(stages.confirm(files=files), tmp_path))
    assert lens(stages.confirm(), tmp_path, words=("grateful", "thank")) == found[0]
    monkeypatch.setattr("phase7.experiment.directions.LENS_VERSION", LENS_VERSION + 1)
    found.append(lens(stages.confirm(), tmp_path))
    assert len({canonical("lens", key) for key in found}) == len(found)
    assert found[0] == {
        "engine": ENGINE_VERSION,
        "model": "f" * 64,
        "format": "chat",
        "heads": "0:1,2:3",
        "emotion": GRATITUDE.digest,
        "neutral": NEUTRAL.digest,
        "words": ["grateful", "thank"],
        "lens": LENS_VERSION,
        "device": "cpu",
        "dtype": "float32",
    }
