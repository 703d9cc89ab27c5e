"""Strengths of a patch, from the command line to the effects file, against plain transformers."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pytest

import phase7
from phase7.cli import main
from phase7.engine.model.tokens import encode
from tests import tiny
from tests.by_hand import direct_mean
from tests.plain_patching import PlainModel, ids_of_words, read_out
from tests.run.small_project import EMOTION, NEUTRAL

pytestmark = pytest.mark.slow

COMMAND = [
    "patch", "--model", "model", "--head-spec", "0:1,2:3", "--quiet", "--scorers", "keywords",
    "--neutral-prompts", "data/neutral_prompts.json", "--max-tokens", "3",
    "--emotion-prompts", "data/gratitude_prompts.json", "--readout", "words:the, and", "--seed", "3",
]  # fmt: skip
FIRST = "logodds_words_first"
HEADS = ((0, 1), (2, 3))


def run(name: str, *options: str):
    assert main([*COMMAND, "--output", f"out/{name}.pkl", *options]) == 0
    return phase7.open_effects(f"out/{name}.nc")["model/gratitude"]


def tokens(text: str) -> list[int]:
    return list(encode(tiny.load("llama"), text, "raw"))


@cache
def mean(texts: tuple[str, ...]):
    plain = PlainModel("llama")
    return direct_mean([plain.capture(tokens(text)) for text in texts])


@cache
def by_transformers(prompt: str, heads, write: str, strength: float, role: str) -> float:
    """The log-odds of the words at the first step, which no drawn token precedes."""
    plain = PlainModel("llama")
    others = mean(tuple(text for text in NEUTRAL if text != prompt))
    donor = mean(tuple(EMOTION)) if role == "emotion" else others
    reference = {"reference": others} if write == "add" else {}
    logits = plain.patched_logits(
        tokens(prompt), [7], heads, "result", "generated", donor, strength=strength, **reference
    )
    ids = ids_of_words(tiny.load("llama").tokenizer, ("the", "and"))
    return float(read_out(logits, logits, [7], {"words": ids})["words"][0])


@pytest.mark.parametrize("write", ["replace", "add"])
def test_every_strength_is_that_of_plain_transformers(project, write):
    tree = run("dosed", "--strength", "0,0.5,2,-1", "--write", write)
    found, baseline = tree["strengths"].to_dataset(), tree.baseline.sel(metric=FIRST).values
    assert found.strength.values.tolist() == [-1, 0, 0.5, 2] and found.attrs["write"] == write
    assert found.head_set.values.tolist() == ["0:1", "2:3", "0:1,2:3"]
    sets = {"2:3": HEADS[1:], "0:1,2:3": HEADS}
    roles = {"emotion": "patched", "control": "control_patched"}
    for (label, heads), strength, (role, name) in itertools.product(
        sets.items(), (-1.0, 2.0), roles.items()
    ):
        got = found[name].sel(head_set=label, strength=strength, metric=FIRST).values
        if write == "add" and role == "control":
            np.testing.assert_array_equal(got, baseline)
            continue
        expected = [by_transformers(prompt, heads, write, strength, role) for prompt in NEUTRAL]
        np.testing.assert_allclose(got, expected, atol=1e-4)
        assert np.abs(got - baseline).max() > 1e-2
    # Strength 0 is the baseline to the bit, in texts and read-outs.
    nothing = found.sel(strength=0)
    for name in ("delta", "net_delta", "control_delta"):
        values = nothing[name].values
        assert (values[np.isfinite(values)] == 0).all() and np.isfinite(values).any()


def test_strength_one_is_the_patch_itself_to_the_bit(project):
    tree = run("whole", "--strength", "1")
    found, sets = tree["strengths"].to_dataset(), tree["head_sets"].to_dataset()
    for name in ("patched", "control_patched"):
        dosed = found[name].sel(head_set="0:1,2:3", strength=1).values
        plain = sets[name].sel(head_set="0:1,2:3", mode="result").values
        np.testing.assert_array_equal(dosed, plain)
        assert np.isfinite(dosed).any()


def test_self_donors_change_nothing_at_any_strength(project):
    found = run("own", "--strength=-2,0.3,1,7", "--donor", "self")["strengths"].to_dataset()
    for name in ("delta",):
        values = found[name].values
        assert (values[np.isfinite(values)] == 0).all() and np.isfinite(values).any()
    assert np.nanmax(np.abs(found.control_delta)) > 1e-2  # liveness: the neutral donor's


def test_together_only_leaves_the_heads_alone_out(project):
    tree = run("together", "--together-only")
    assert not (tree.n_prompts > 0).any()
    sets = tree["head_sets"].to_dataset()
    assert sets.head_set.values.tolist() == ["0:1,2:3"]
    assert np.isfinite(sets.net_delta.sel(mode="result", metric="logodds_words"))
    assert np.isnan(sets.synergy).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--strength", "one"], "--strength: expected numbers with commas between them"),
        (["--strength", "nan"], "--strength: expected numbers from -1000 to 1000"),
        (["--write", "add"], "--write: expected strengths"),
        (["--strength", "1", "--write", "add", "--control", "none"], "expected a donor and a control"),
        (["--strength", "1", "--write", "add", "--donor", "zero"], "expected a donor and a control"),
    ],
)
def test_what_cannot_be_done_is_refused(project, capsys, options, message):
    assert main([*COMMAND, "--output", "out/bad.pkl", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (project / "out").exists()
