"""The planted circuit of indirect-object identification, and phase7 beside transformer-lens on it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from phase7.engine.model.loading import load_model
from phase7.models.files import find_model
from tests.planted import ioi
from tests.planted.ioi import DUPLICATE, INHIBIT, INHIBIT_WEAK, MOVER, MOVER_WEAK, NEGATIVE
from tests.programs.measurements import ioi as program

N_PAIRS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return ioi.save(tmp_path_factory.mktemp("ioi") / "planted", seed=0)


@pytest.fixture(scope="module")
def model(folder):
    return load_model(find_model(str(folder), store_root=folder.parent))


@pytest.fixture(scope="module")
def some(model):
    return ioi.pairs(model.tokenizer, N_PAIRS)


@pytest.fixture(scope="module")
def bridge(model):
    return program.bridge_of(model)


def test_the_planted_model_says_the_name_that_came_once(folder, model):
    plain = AutoModelForCausalLM.from_pretrained(folder).eval()
    for one in ioi.pairs(model.tokenizer, 32):
        original, corrupted = (
            plain(torch.tensor([tokens])).logits[0, -1, 1 : len(ioi.NAMES) + 1].argmax() + 1
            for tokens in (one.original, one.corrupted)
        )
        assert (original, corrupted) == (one.name, one.repeated)


def test_prompts_differ_in_one_token_and_either_name_comes_first(model):
    made = ioi.pairs(model.tokenizer, 32)
    assert len(set(made)) == 32
    for one in made:
        (place,) = (
            i for i, (a, b) in enumerate(zip(one.original, one.corrupted, strict=True)) if a != b
        )
        assert (one.original[place], one.corrupted[place]) == (one.repeated, one.name)
    assert {one.original.index(one.name) < one.original.index(one.repeated) for one in made} == {
        True,
        False,
    }


def test_a_tokenizer_without_such_names_is_refused(model):
    with pytest.raises(ValueError, match="one token for two of the names, got 0"):
        ioi.pairs(lambda text, add_special_tokens: {"input_ids": [1, 2]}, 1)


@pytest.mark.parametrize("positions", program.PLACES)
def test_exact_effects_are_those_of_transformer_lens(model, bridge, some, positions):
    arms = program.arms_of(model, bridge, positions)
    ours, theirs = arms["phase7"](some), arms["transformer_lens"](some)
    assert ours.shape == (N_PAIRS, model.n_layers, model.n_heads)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert np.abs(ours).min(axis=0)[MOVER.layer, MOVER.head] > 1


@pytest.mark.parametrize("positions", program.PLACES)
def test_first_order_effects_are_those_of_transformer_lens(model, bridge, some, positions):
    arms = program.arms_of(model, bridge, positions)
    ours = arms["phase7_attribution"](some)
    np.testing.assert_allclose(ours, arms["transformer_lens_attribution"](some), atol=1e-4)
    assert np.abs(ours - arms["phase7"](some)).max() > 0.1  # an estimate, and not the exact effect


def test_one_head_by_hand(folder, model, some):
    """One head's z at the last position, taken from the corrupted prompt, in plain transformers."""
    plain, one = AutoModelForCausalLM.from_pretrained(folder).eval(), some[1]
    projection = plain.transformer.h[MOVER.layer].attn.c_proj
    own = slice(MOVER.head * ioi.D_HEAD, (MOVER.head + 1) * ioi.D_HEAD)
    seen = {}

    def keep(module, args):
        seen["z"] = args[0][0, -1, own].clone()

    def write(module, args):
        z = args[0].clone()
        z[0, -1, own] = seen["z"]
        return (z,)

    def read(tokens):
        with torch.no_grad():
            logits = plain(torch.tensor([tokens])).logits[0, -1]
        return float(logits[one.name] - logits[one.repeated])

    handle = projection.register_forward_pre_hook(keep)
    read(one.corrupted)
    handle.remove()
    before = read(one.original)
    projection.register_forward_pre_hook(write)
    effect = program.patched(model, "last")([one])[0, MOVER.layer, MOVER.head]
    assert effect == pytest.approx(read(one.original) - before, abs=1e-4)


def test_the_first_heads_are_the_planted_ones(model, some):
    strong = {"last": {INHIBIT, INHIBIT_WEAK, MOVER, MOVER_WEAK, NEGATIVE}}
    strong["all"] = strong["last"] | {DUPLICATE}
    for positions, planted in strong.items():
        means = np.abs(program.patched(model, positions)(some).mean(axis=0)).ravel()
        heads = program.all_heads(model)
        assert {heads[i] for i in np.argsort(-means)[: len(planted)]} == planted


def test_the_program_prints_and_keeps_what_it_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(program, "RECORD", tmp_path / "ioi.json")
    program.write_text(program.RECORD, json.dumps({"another": {}}))
    program.main(["--prompts", "2", "--repeats", "1"])
    record = json.loads(program.RECORD.read_text(encoding="utf-8"))
    assert set(record) == {"another", "planted"}
    found = record["planted"]
    assert json.loads(capsys.readouterr().out) == found
    assert (found["prompts"], found["heads"], found["share_right"]) == (2, 12, 1.0)
    for positions in program.PLACES:
        figures = found[positions]
        assert figures["gap_nats"] < 1e-4 < figures["largest_effect_nats"]
        assert figures["times_faster"] == pytest.approx(
            figures["seconds"]["transformer_lens"] / figures["seconds"]["phase7"]
        )
