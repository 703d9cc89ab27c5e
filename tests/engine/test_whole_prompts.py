"""Several prompts in one pass from their beginning: each has the keys and values that it has alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from phase7.engine.decode import prefilling, together
from phase7.engine.decode.loop import generate_together
from phase7.engine.decode.running import RunningBatch
from phase7.engine.model import whole_prompts
from phase7.engine.model.whole_prompts import WholePrompts, causal_masks
from phase7.engine.patch.patching import Patch
from phase7.experiment.profile import Sampling
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.heads import Head
from tests import tiny
from tests.properties.test_together_laws import alone, assert_same, requests

WHOLE = [name for name in tiny.ARCHITECTURES if name != "gpt_neo"]
PATCH = Patch(heads=(Head(0, 0),), donor="zero")


def batches_of(model, lengths) -> list[RunningBatch]:
    random = np.random.default_rng(0)
    return [
        RunningBatch(
            model, random.integers(tiny.N_VOCAB, size=n).tolist(), [PATCH], {}, n_samples=1,
            use_attn_result=False,
        )
        for n in lengths
    ]  # fmt: skip


def held(batch) -> list[torch.Tensor]:
    return [tensor for layer in batch.cache.layers for tensor in (layer.keys, layer.values)]


def passes_of(model, monkeypatch) -> list[int]:
    """The rows × tokens of every pass from now on."""
    seen: list[int] = []
    forward = model.bridge.forward
    monkeypatch.setattr(
        model.bridge, "forward", lambda ids, **named: seen.append(ids.numel()) or forward(ids, **named)
    )
    return seen


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    architecture=st.sampled_from(WHOLE),
    lengths=st.lists(st.integers(2, 40), min_size=2, max_size=5),
)
@torch.inference_mode()
def test_keys_and_values_are_those_of_each_prompt_alone(architecture, lengths):
    model = tiny.load(architecture)
    one, other = batches_of(model, lengths), batches_of(model, lengths)
    prefilling.run_prompts(model, one)
    for its, same in zip(one, other, strict=True):
        same.run_prompt()
        for tensor, expected in zip(held(its), held(same), strict=True):
            assert torch.equal(tensor, expected)
            assert tensor.stride() == expected.stride()


@pytest.mark.parametrize("architecture", WHOLE)
@torch.inference_mode()
def test_it_is_one_pass(architecture, monkeypatch):
    model = tiny.load(architecture)
    assert together.can_run_together(model)
    assert together._WHOLE_PROMPTS in model.compared
    seen = passes_of(model, monkeypatch)
    batches = batches_of(model, (5, 9, 2))
    together.prefill_once(model, batches, n_new=3, share_layers=True)
    assert seen == [4 + 8 + 1]
    assert all(batch.holds_slots for batch in batches)


@torch.inference_mode()
def test_a_pass_has_no_more_tokens_than_its_bound(monkeypatch):
    model = tiny.load("llama")
    monkeypatch.setattr(prefilling, "_MOST_TOKENS", 12)
    seen = passes_of(model, monkeypatch)
    prefilling.run_prompts(model, batches_of(model, (5, 9, 2, 20, 3)))
    assert seen == [12, 1, 19, 2]  # the last one alone: nothing fits beside the longest


@torch.inference_mode()
def test_beyond_a_length_where_a_model_may_compute_otherwise_each_runs_alone(monkeypatch):
    model = dataclasses.replace(tiny.load("llama"), switch_lengths=(6, 90))
    seen = passes_of(model, monkeypatch)
    prefilling.run_prompts(model, batches_of(model, (5, 7)))
    prefilling.run_prompts(model, batches_of(model, (5, 8)))
    assert seen == [4 + 6, 4, 7]


@torch.inference_mode()
def test_a_prompt_of_one_token_has_nothing_to_run(monkeypatch):
    model = tiny.load("gpt2")
    assert together.can_run_together(model)
    seen = passes_of(model, monkeypatch)
    batches = batches_of(model, (1, 4, 6))
    together.prefill_once(model, batches, n_new=2, share_layers=True)
    assert seen == [3 + 5]
    assert [batch.holds_slots for batch in batches] == [False, True, True]


def test_where_only_one_attention_agrees_prompts_are_run_one_by_one(monkeypatch):
    """Whatever goes wrong with whole prompts is found when a model is first used."""
    model = dataclasses.replace(tiny.load("gpt_neox"), compared=set())
    monkeypatch.setattr(
        prefilling,
        "causal_masks",
        lambda given, n: WholePrompts([given.new_zeros(1, 1, k, k) for k in n]),
    )
    assert together.can_run_together(model)
    assert together._ONE_ATTENTION in model.compared
    assert together._WHOLE_PROMPTS not in model.compared
    asked = requests(model, [[PATCH]] * 3)
    sampling = Sampling(max_new_tokens=6, temperature=1.0, seed=2)
    assert_same(generate_together(model, asked, sampling=sampling), alone(model, asked, sampling))


def test_a_mask_that_shows_what_follows_changes_the_tokens(monkeypatch):
    """Liveness: without the prompts' own masks the law of prompts together would not hold."""
    model = tiny.load("llama")
    assert together.can_run_together(model)
    asked = requests(model, [[PATCH]] * 3)
    sampling = Sampling(max_new_tokens=12, temperature=1.0, seed=2)
    expected = alone(model, asked, sampling)
    monkeypatch.setattr(
        prefilling,
        "causal_masks",
        lambda given, n: WholePrompts([given.new_zeros(1, 1, k, k) for k in n]),
    )
    found = generate_together(model, asked, sampling=sampling)
    assert any(
        not np.array_equal(a.baseline_tokens, b.baseline_tokens)
        for a, b in zip(found, expected, strict=True)
    )


@torch.inference_mode()
def test_states_that_are_no_numbers_are_told(monkeypatch):
    model = tiny.load("llama")
    forward = model.bridge.forward

    def broken(ids, **named):
        states = forward(ids, **named).clone()
        states[-1] = torch.nan
        return states

    monkeypatch.setattr(model.bridge, "forward", broken)
    with pytest.raises(UserError, match="position 5"):
        prefilling.run_prompts(model, batches_of(model, (4, 7)))


def test_a_mask_is_that_of_each_prompt():
    masks = causal_masks(torch.zeros(5, 1, 1, 1), (2, 3))
    lowest = torch.finfo(torch.float32).min
    assert masks.parts[0].tolist() == [[[[0, lowest], [0, 0]]]]
    assert masks.parts[1][0, 0].eq(0).tolist() == torch.ones(3, 3).tril().bool().tolist()
    assert tuple(masks.shape) == (5, 1, 1, 3)
    with pytest.raises(TypeError, match=r"a mask of torch\.bool"):
        causal_masks(torch.ones(5, 1, 1, 1, dtype=torch.bool), (2, 3))


@pytest.mark.parametrize(
    "ask",
    [
        lambda part: torch.exp(part),
        lambda part: torch.matmul(part, torch.ones(2, 4, 3, 1)),
        lambda part: part @ part,
    ],
)
def test_what_else_is_asked_of_a_prompts_keys_is_refused(ask):
    with pytest.raises(TypeError):
        ask(whole_prompts._OfPrompt(torch.ones(1, 2, 4, 3)))
