"""Donors of other emotions as controls, from the profile to the effects file."""

from __future__ import annotations

import json

import numpy as np
import pytest

import phase7
from phase7.cli import main
from phase7.engine.model.tokens import encode
from phase7.store import Store
from phase7.store.inventory import checked
from tests import tiny
from tests.by_hand import direct_mean
from tests.plain_patching import PlainModel, ids_of_words, read_out
from tests.run.small_project import EMOTION, NEUTRAL, REPOSITORY, write_data

ANGER = ["He slammed the door and", "She is angry about the bus", "It is so annoying, the lamp"]
PROFILE = """
models = ["model"]
emotions = ["gratitude"]
scorers = ["keywords"]
[sampling]
max_new_tokens = 4
seed = 5
[patching]
control = ["neutral", "anger"]
[confirm]
target_heads = "0:1,2:3"
modes = ["result"]
positive_controls = false
lengths = []
[readouts]
words = ["the", "and"]
max_new_tokens = 3
[statistics]
resamples = 200
"""


def write(folder, profile: str = PROFILE) -> None:
    write_data(folder, NEUTRAL, {"small": profile})
    for name, prompts in (("anger", ANGER), ("apology", ANGER[::-1])):
        path = folder / "data" / f"{name}_prompts.json"
        path.write_text(json.dumps({"prompts": prompts}), encoding="utf-8")
    (folder / "data" / "keywords.toml").write_bytes((REPOSITORY / "data/keywords.toml").read_bytes())
    tiny.save("llama", folder / "model")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def effects(folder):
    return phase7.open_effects(folder / "store/effects/small.nc")["model/gratitude"]


def tokens(text: str) -> list[int]:
    return list(encode(tiny.load("llama"), text, "raw"))


@pytest.mark.slow
def test_the_other_emotions_runs_are_those_of_plain_transformers(folder):
    """Read-outs at the first step, which depends on no sampled token, for heads and set."""
    assert main(["build", "small", "--quiet"]) == 0
    tree, plain = effects(folder), PlainModel("llama")
    assert tree.against.values.tolist() == ["anger"]
    donors = {
        name: direct_mean([plain.capture(tokens(text)) for text in texts])
        for name, texts in (("emotion", EMOTION), ("anger", ANGER))
    }
    ids = ids_of_words(tiny.load("llama").tokenizer, ("the", "and"))
    metric = "logodds_words_first"
    for label, heads in (("0:1", ((0, 1),)), ("2:3", ((2, 3),)), ("0:1,2:3", ((0, 1), (2, 3)))):
        if len(heads) == 1:
            cell = tree.to_dataset().sel(layer=heads[0][0], head=heads[0][1])
        else:
            cell = tree["head_sets"].to_dataset().sel(head_set=label)
        cell = cell.sel(mode="result", metric=metric)
        by_donor = {name: [] for name in donors}
        for prompt in NEUTRAL:
            for name, donor in donors.items():
                logits = plain.patched_logits(tokens(prompt), [7], heads, "result", "generated", donor)
                by_donor[name].append(read_out(logits, logits, [7], {"words": ids})["words"][0])
        got = cell.against_patched.sel(against="anger").values
        np.testing.assert_allclose(got, by_donor["anger"], atol=1e-4)
        np.testing.assert_allclose(cell.patched, by_donor["emotion"], atol=1e-4)
        assert np.abs(got - cell.patched).max() > 1e-2
        expected = np.mean(np.subtract(by_donor["emotion"], by_donor["anger"]))
        np.testing.assert_allclose(cell.specific_delta.sel(against="anger"), expected, atol=1e-4)
        assert cell.specificity.item() in ("specific", "any emotion", "undetermined", "no effect")
    texts = tree["head_sets"].to_dataset().against_patched.sel(metric="gratitude_keywords")
    assert np.isfinite(texts).any()


@pytest.mark.slow
def test_without_texts_the_other_emotions_are_read_alone(folder):
    (folder / "data/profiles/small.toml").write_text(
        PROFILE.replace("[confirm]", "[confirm]\nagainst_text = false"), encoding="utf-8"
    )
    assert main(["build", "small", "--quiet"]) == 0
    found = effects(folder).to_dataset().against_patched.sel(layer=2, head=3, mode="result")
    assert np.isnan(found.sel(metric="gratitude_keywords")).all()
    assert np.isfinite(found.sel(metric="logodds_words")).all()
    generated = [
        json.loads(checked(entry.path).key)["key"]
        for entry in Store(folder / "store").entries()
        if entry.stage == "generation"
    ]
    donors = {key["donors"]["emotion"]["prompts"] for key in generated}
    assert len(donors) == 1


@pytest.mark.slow
def test_the_emotions_of_a_run_are_each_others_controls(folder, capsys):
    both = PROFILE.replace('["gratitude"]', '["gratitude", "anger"]').replace(
        '"neutral", "anger"', '"neutral"'
    )
    (folder / "data/profiles/small.toml").write_text(both, encoding="utf-8")
    assert main(["build", "small", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "model/anger against" in told and "model/gratitude against" in told
    assert main(["build", "small", "--quiet"]) == 0
    tree = phase7.open_effects(folder / "store/effects/small.nc")
    assert tree["model/gratitude"].against.values.tolist() == ["anger"]
    assert tree["model/anger"].against.values.tolist() == ["gratitude"]
    # Gratitude beyond anger is minus anger beyond gratitude, on the same texts.
    one, other = (
        tree[f"model/{emotion}"]
        .specific_delta.sel(metric="logodds_words", mode="result")
        .squeeze("against")
        for emotion in ("gratitude", "anger")
    )
    np.testing.assert_allclose(one.values, -other.values, atol=1e-6)
    assert np.nanmax(np.abs(one)) > 1e-3
    captures = [entry for entry in Store(folder / "store").entries() if entry.stage == "capture"]
    assert len(captures) == len({*NEUTRAL, *EMOTION, *ANGER})


@pytest.mark.parametrize(
    ("control", "message"),
    [
        ('["anger"]', "control: expected one of neutral, shuffled, none"),
        ('["neutral", "joy"]', "joy_prompts.json"),
        ('["neutral", 3]', "against: expected a value of type str"),
        ('["neutral", "anger", "anger.json"]', "anger.json"),
    ],
)
def test_controls_that_are_none_are_refused(folder, capsys, control, message):
    text = PROFILE.replace('["neutral", "anger"]', control)
    (folder / "data/profiles/small.toml").write_text(text, encoding="utf-8")
    assert main(["build", "small", "--quiet"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.slow
def test_patch_takes_files_of_other_emotions(folder):
    command = [
        "patch", "--model", "model", "--head-spec", "2:3", "--output", "out/small.pkl", "--quiet",
        "--neutral-prompts", "data/neutral_prompts.json", "--max-tokens", "3", "--scorers", "keywords",
        "--emotion-prompts", "data/gratitude_prompts.json", "--readout", "words:the",
        "--against", "data/anger_prompts.json", "--against", "data/apology_prompts.json",
    ]  # fmt: skip
    assert main(command) == 0
    tree = phase7.open_effects(folder / "out/small.nc")["model/gratitude"]
    found = tree.to_dataset().sel(layer=2, head=3, mode="result", metric="logodds_words")
    assert found.against.values.tolist() == ["anger", "apology"]
    # The same prompts in another order are the same donor.
    first, second = found.specific_delta.values
    assert first == pytest.approx(second, abs=1e-6) and abs(first) > 1e-4
