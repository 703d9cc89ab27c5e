"""A run's record: anything that determines the outputs, and any changed output, makes it out of date."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

import phase7
from phase7.experiment.declared import Answer, Circuit, Pair, Readouts, Screen
from phase7.experiment.profile import Confirm, Profile, Sweep
from phase7.experiment.prompts import PromptFiles, PromptSet
from phase7.experiment.statistics import Statistics
from phase7.models.facts import ModelFacts
from phase7.run import record
from phase7.run.inputs import Prompts
from phase7.run.record import Outcome, inputs_digest, is_up_to_date, write_record

#: With read-outs that order the sweep's heads, so that the sweep may do without text.
PROFILE = Profile(
    name="p",
    models=("m",),
    emotions=("anger",),
    prompts=PromptFiles(template=(("tone", "dry"),), date="2025-01-31"),
    sweep=Sweep(text=False),
    confirm=Confirm(strongest_sets=(2,), strengths=(0.5,)),
    readouts=Readouts(words=("the",)),
    statistics=Statistics(selection_metrics=("logodds_words",), primary_modes=("result",)),
)
NEUTRAL = PromptSet(name="neutral", path="n.json", prompts=("a", "b"))
ANGER = PromptSet(name="anger", path="a.json", prompts=("c",))
PROMPTS = Prompts(neutral=NEUTRAL, emotions={"anger": ANGER})
MODEL = ModelFacts(name="m", fingerprint="1" * 64, n_layers=2, n_heads=2, has_chat_template=False)


@dataclasses.dataclass(frozen=True)
class Named:
    name: str
    version: str


GIVEN: dict[str, Any] = {
    "profile": PROFILE,
    "lang": "ja",
    "prompts": PROMPTS,
    "models": [MODEL],
    "scorers": [Named("keywords", "1")],
}


def other(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 7
    if isinstance(value, float):
        return value / 2
    if isinstance(value, str):
        return {"auto": "raw", "mean": "zero", "neutral": "none", "generated": "last", "float32": "bfloat16",
                "result": "v_only", "exact": "attribution", "2025-01-31": "2025-02-01"}.get(value, value + "x")  # fmt: skip
    if isinstance(value, tuple):
        if value and value[0] == ("tone", "dry"):
            return (("tone", "wet"),)
        if value and value[0] in ("result", "v_only"):
            return value[:-1] or ("v_only",)
        return (*value, "politeness") if not value or isinstance(value[0], str) else (*value, 8)
    raise AssertionError(f"no other value for {value!r}")


#: Fields whose values are not what their defaults tell.
OF_ANOTHER_KIND: dict[str, Any] = {
    "confirm.strengths": (0.5, 1.0, 2.0),
    "confirm.write": "add",
    "confirm.curve": (1, 2),
    "answer": Answer(),
    "circuit": Circuit(),
    "screen": Screen(),
    "readouts.pairs": (Pair(target=" a", foil=" b"),),
    "statistics.selection_metrics": ("logodds_words_first",),
    "statistics.primary_modes": ("v_only",),
    "sweep.halving": (1,),
    "statistics.looks": (2,),
    "statistics.spending": "pocock",
}


def changed(part: Any, path: str = "") -> list[tuple[str, Any]]:
    """The record with each field changed in turn, those of records within it too."""
    found = []
    for field in dataclasses.fields(part):
        value, name = getattr(part, field.name), f"{path}{field.name}"
        nested = dataclasses.is_dataclass(value)
        inner = (
            changed(value, f"{name}.") if nested else [(name, OF_ANOTHER_KIND.get(name) or other(value))]
        )
        found += [(n, dataclasses.replace(part, **{field.name: new})) for n, new in inner]
    return found


PROFILES = dict(changed(PROFILE))
OTHERS: dict[str, dict[str, Any]] = {
    "language": {"lang": "en"},
    "a neutral prompt": {
        "prompts": Prompts(
            neutral=dataclasses.replace(NEUTRAL, prompts=("a", "B")), emotions=PROMPTS.emotions
        )
    },
    "an emotion's prompt": {
        "prompts": Prompts(
            neutral=NEUTRAL, emotions={"anger": dataclasses.replace(ANGER, prompts=("d",))}
        )
    },
    "another emotion": {"prompts": Prompts(neutral=NEUTRAL, emotions={"anger": ANGER, "joy": NEUTRAL})},
    "an emotion that is a control": {"prompts": dataclasses.replace(PROMPTS, against={"joy": NEUTRAL})},
    "a control's prompt": {
        "prompts": dataclasses.replace(
            PROMPTS, against={"joy": dataclasses.replace(NEUTRAL, prompts=("a", "B"))}
        )
    },
    "an emotion's words": {"prompts": dataclasses.replace(PROMPTS, words={"anger": ("fury",)})},
    "a model's files": {"models": [dataclasses.replace(MODEL, fingerprint="2" * 64)]},
    "a model's name": {"models": [dataclasses.replace(MODEL, name="n")]},
    "one more model": {"models": [MODEL, dataclasses.replace(MODEL, name="n")]},
    "a scorer": {"scorers": [Named("vader", "1")]},
    "a scorer's version": {"scorers": [Named("keywords", "2")]},
    "no scorer": {"scorers": []},
}


def digest(**changes: Any) -> str:
    return inputs_digest(**(GIVEN | changes))


def test_the_digest_is_a_function_of_the_inputs():
    assert digest() == digest(profile=dataclasses.replace(PROFILE), models=[dataclasses.replace(MODEL)])
    assert len(digest()) == 64


@pytest.mark.parametrize("name", PROFILES)
def test_every_field_of_the_profile_changes_the_digest(name):
    assert PROFILES[name] != PROFILE
    assert digest(profile=PROFILES[name]) != digest()


def test_the_fields_above_are_all_there_are():
    assert {"sampling.temperature", "patching.control", "engine.max_rows", "sweep.heads"} <= set(
        PROFILES
    )
    assert len(PROFILES) > 30
    assert {"sweep.text", "sweep.readouts", "confirm.strongest_sets", "confirm.random_sets"} <= set(
        PROFILES
    )
    without = dataclasses.replace(PROFILE, confirm=Confirm())
    assert digest(profile=dataclasses.replace(without, sweep=None)) != digest(profile=without)


@pytest.mark.parametrize("name", OTHERS)
def test_every_other_input_changes_the_digest(name):
    assert digest(**OTHERS[name]) != digest()


@pytest.mark.parametrize(
    ("module", "name"),
    [(record, "ENGINE_VERSION"), (record, "ANALYSIS_VERSION"), (phase7, "__version__")],
)
def test_every_version_changes_the_digest(monkeypatch, module, name):
    before = digest()
    monkeypatch.setattr(module, name, "another")
    assert digest() != before


# --- the record ----------------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path):
    """A record of two files, with its inputs."""
    outputs = [tmp_path / "one.nc", tmp_path / "two.pkl"]
    for path in outputs:
        path.write_bytes(path.name.encode())
    outcome = Outcome(up_to_date=False, written=outputs, n_computed={"scores": 1}, seconds=1.25)
    path = tmp_path / "run.json"
    write_record(path, digest(), outcome, {"self_check": {"failures": 0}, "created_at": "now"})
    return path, outputs


def test_nothing_changed_is_up_to_date(written):
    path, outputs = written
    assert is_up_to_date(path, digest(), outputs)
    assert is_up_to_date(path, digest(), outputs[:1])


def test_other_inputs_are_not(written):
    path, outputs = written
    assert not is_up_to_date(path, digest(lang="en"), outputs)


@pytest.mark.parametrize("damage", ["changed", "gone", "gone and not asked for", "never written"])
def test_a_file_that_is_not_as_it_was_written_is_not(written, damage):
    path, outputs = written
    wanted = outputs
    if damage == "changed":
        outputs[0].write_bytes(b"one.nC")
    elif damage == "gone":
        outputs[0].unlink()
    elif damage == "gone and not asked for":
        outputs[0].unlink()
        wanted = outputs[1:]
    else:
        wanted = [*outputs, path.with_name("three.md")]
    assert not is_up_to_date(path, digest(), wanted)


@pytest.mark.parametrize("content", [None, "", "{", "[]", "null", "{}", '{"inputs": 1, "files": []}'])
def test_a_record_that_cannot_be_read_is_not(written, content):
    path, outputs = written
    path.unlink()
    if content is not None:
        path.write_text(content)
    assert not is_up_to_date(path, digest(), outputs)
