"""MLPs, streams and attentions from the command line to the effects file, against plain transformers."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import phase7
from phase7.cli import main
from phase7.engine.model.tokens import encode
from phase7.store import Store
from phase7.vocabulary.heads import HeadSet
from tests import tiny
from tests.by_hand import direct_mean
from tests.plain_patching import ids_of_words, queries_of, read_out
from tests.plain_units import PlainUnits, mean_by_offset
from tests.run.small_project import EMOTION, NEUTRAL

COMMAND = [
    "patch", "--model", "model", "--quiet", "--scorers", "keywords", "--no-positive-controls",
    "--neutral-prompts", "data/neutral_prompts.json", "--max-tokens", "3", "--samples", "2",
    "--emotion-prompts", "data/gratitude_prompts.json", "--readout", "words:the, and", "--seed", "3",
]  # fmt: skip
FIRST = "logodds_words_first"
SPEC = "mlp:1,resid:0,attn:2,1:3"
JOINT = "1:3,attn:2,mlp:1,resid:0"
LABELS = ("attn:2", "mlp:1", "resid:0", JOINT)


def run(name: str, spec: str, *options: str):
    assert main([*COMMAND, "--head-spec", spec, "--output", f"out/{name}.pkl", *options]) == 0
    return phase7.open_effects(f"out/{name}.nc")["model/gratitude"]


def tokens(text: str) -> list[int]:
    return list(encode(tiny.load("llama"), text, "raw"))


@cache
def mean(texts: tuple[str, ...], units: tuple):
    """What heads and units give on average, by offset."""
    plain, prompts = PlainUnits("llama"), [tokens(text) for text in texts]
    seen = [plain.outputs(prompt, units) for prompt in prompts]
    z = direct_mean([plain.capture(prompt) for prompt in prompts])[0]
    return z, {unit: mean_by_offset([one[unit] for one in seen]) for unit in units}


def by_transformers(prompt: str, label: str, role: str, where="generated", strength=1.0) -> np.ndarray:
    """Log-odds of the words, and the divergence, at the first step, which no drawn token precedes."""
    plain, whole = PlainUnits("llama"), HeadSet.parse(label)
    units = tuple(unit for unit in whole.units if unit.site)
    heads = [*whole.heads]
    heads += [(u.layer, head) for u in whole.units if not u.site for head in range(tiny.N_HEADS)]
    others = tuple(text for text in NEUTRAL if text != prompt)
    z, given = mean(tuple(EMOTION) if role == "emotion" else others, units)
    queries = queries_of(where, len(tokens(prompt)), len(tokens(prompt)) + 1)
    logits, baseline = (
        plain.logits_with(tokens(prompt), [7], some, queries, given, strength=strength, heads=at, z=z)
        for some, at in ((units, heads), ((), ()))
    )
    ids = ids_of_words(tiny.load("llama").tokenizer, ("the", "and"))
    found = read_out(logits, baseline, [7], {"words": ids})
    return np.array([found["words"][0], found["kl"][0]])


@pytest.mark.slow
def test_what_is_written_in_the_file_is_what_plain_transformers_give(project):
    tree = run("beside", SPEC, "--strength", "0,0.5")
    sets, main_set = tree["head_sets"].to_dataset(), tree.to_dataset()
    assert sets.head_set.values.tolist() == [*LABELS]
    assert main_set.n_prompts.sel(mode="result").sum() == main_set.n_prompts.sel(layer=1, head=3).sum()
    for label in LABELS:
        at = sets.sel(head_set=label, mode="result")
        for role, prefix in (("emotion", ""), ("control", "control_")):
            expected = np.array([by_transformers(prompt, label, role) for prompt in NEUTRAL])
            read = at[f"{prefix}patched"].sel(metric=FIRST).values
            np.testing.assert_allclose(read, expected[:, 0], atol=2e-5, rtol=0)
            np.testing.assert_allclose(
                at[f"{prefix}kl_first_token"].values, expected[:, 1], atol=2e-5, rtol=0
            )
            assert expected[:, 1].min() > 1e-4
    doses = tree["strengths"].to_dataset().sel(metric=FIRST)
    for label in LABELS:
        half = [by_transformers(p, label, "emotion", strength=0.5)[0] for p in NEUTRAL]
        np.testing.assert_allclose(
            doses.patched.sel(head_set=label, strength=0.5).values, half, atol=2e-5, rtol=0
        )
        nothing = doses.patched.sel(head_set=label, strength=0)
        assert nothing.values.tobytes() == doses.baseline.values.tobytes()
    # A set's synergy is over its members' own effects; a unit alone has no parts.
    synergy = sets.synergy.sel(metric=FIRST, mode="result")
    joint = sets.net_delta.sel(metric=FIRST, mode="result")
    single = float(main_set.net_delta.sel(metric=FIRST, mode="result", layer=1, head=3))
    parts = single + float(joint.sel(head_set=list(LABELS[:3])).sum())
    assert float(synergy.sel(head_set=JOINT)) == pytest.approx(float(joint.sel(head_set=JOINT)) - parts)
    assert synergy.sel(head_set=list(LABELS[:3])).isnull().all()


@pytest.mark.slow
def test_a_whole_attention_is_the_set_of_its_heads_to_the_bit(project):
    found = [run(name, spec) for name, spec in (("attn", "attn:2"), ("heads", "2:*"))]
    attention, heads = (one["head_sets"].to_dataset() for one in found)
    every = ",".join(f"2:{head}" for head in range(tiny.N_HEADS))
    for name in ("patched", "control_patched", "kl_first_token"):
        one, other = attention[name].sel(head_set="attn:2"), heads[name].sel(head_set=every)
        assert one.values.tobytes() == other.values.tobytes()
    assert attention.kl_first_token.max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("where", ["prompt:-2", pytest.param("step:0", marks=pytest.mark.slow)])
def test_single_queries_are_those_of_plain_transformers(project, where):
    sets = run(where.replace(":", "_"), "mlp:1,resid:0", "--positions", where)["head_sets"].to_dataset()
    for label in ("mlp:1", "resid:0"):
        expected = [by_transformers(prompt, label, "emotion", where)[0] for prompt in NEUTRAL]
        found = sets.patched.sel(head_set=label, mode="result", metric=FIRST)
        np.testing.assert_allclose(found.values, expected, atol=2e-5, rtol=0)
        assert np.abs(found.values - sets.baseline.sel(metric=FIRST).values).max() > 1e-3


@pytest.mark.slow
def test_a_later_step_leaves_the_first_token_and_moves_what_follows(project):
    tree = run("step_1", "mlp:1", "--positions", "step:1")
    sets = tree["head_sets"].to_dataset().sel(mode="result")
    assert (sets.kl_first_token == 0).all()
    first, path = (sets.patched.sel(metric=name) for name in (FIRST, "logodds_words"))
    assert first.values.tobytes() == sets.baseline.sel(metric=FIRST).values.tobytes()
    assert np.abs(path.values - sets.baseline.sel(metric="logodds_words").values).max() > 1e-3


@pytest.mark.slow
def test_captures_of_heads_serve_runs_with_units_too(project):
    run("plain", "1:3")

    def captures() -> dict[str, int]:
        entries = [one for one in Store(project / "store").entries() if one.stage == "capture"]
        return {str(one.path): one.path.stat().st_mtime_ns for one in entries}

    before = captures()
    run("with_units", "1:3,mlp:1,resid:0")
    after = captures()
    assert {path: after[path] for path in before} == before
    n_prompts = len({*NEUTRAL, *EMOTION})
    assert len(before) == n_prompts and len(after) == 3 * n_prompts


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--head-spec", "mlp:1", "--patch-mode", "v_only"],
         "--head-spec: expected mode result alone for an MLP or a residual stream, got mlp:1 in mode v_only"),
        (["--head-spec", "0:1,resid:2", "--patch-mode", "all"], "got resid:2 in mode v_only"),
        (["--head-spec", "mlp:3"], "--head-spec: expected layers 0-2, got 'mlp:3'"),
        (["--head-spec", "mlp"], "--head-spec: expected units like"),
        (["--head-spec", "0:1", "--positions", "step:3"],
         "--positions: expected a token before the 3 that are drawn or read at least, got 'step:3'"),
        (["--head-spec", "0:1", "--positions", "prompt:2"], "--positions: expected one of generated, last, all,"),
    ],
)  # fmt: skip
def test_what_cannot_be_patched_is_one_line_and_exit_code_2(project, capsys, options, message):
    assert main([*COMMAND, "--output", "out/refused.pkl", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
