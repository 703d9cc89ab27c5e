"""Several prompts in one pass from their beginning: each has the keys and values that it has alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from phase7.engine.decode import prefilling, together
from phase7.engine.decode.loop import generate_together
from phase7.engine.decode.running import RunningBatch
from phase7.engine.model import whole_prompts
from phase7.engine.model.loading import load_model
from phase7.engine.model.whole_prompts import WholePrompts, causal_masks, tokens_in_vectors
from phase7.engine.patch.patching import Patch
from phase7.experiment.profile import Sampling
from phase7.models.files import find_model
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


def assert_each_is_as_alone(model, lengths) -> None:
    one, other = batches_of(model, lengths), batches_of(model, lengths)
    prefilling.run_prompts(model, one)
    for its, same in zip(one, other, strict=True):
        same.run_prompt()
        for tensor, expected in zip(held(its), held(same), strict=True):
            assert torch.equal(tensor, expected)
            assert tensor.stride() == expected.stride()


@settings(max_examples=9, deadline=None, derandomize=True)
@given(
    architecture=st.sampled_from(WHOLE),
    whole=st.lists(st.integers(1, 9), min_size=2, max_size=4),
    odd=st.lists(st.integers(2, 40), max_size=2),
)
@torch.inference_mode()
def test_keys_and_values_are_those_of_each_prompt_alone(architecture, whole, odd):
    """Of prompts that run together, and of others beside them."""
    model = tiny.load(architecture)
    unit = tokens_in_vectors(model)
    lengths = [1 + min(n * max(unit, 2), 80) for n in whole]
    assert_each_is_as_alone(model, [*odd, *lengths])


@pytest.mark.parametrize("architecture", WHOLE)
@torch.inference_mode()
def test_it_is_one_pass(architecture, monkeypatch):
    """Of a model whose rotations fill vectors with 16 tokens only, if it is told to."""
    model = tiny.load(architecture)
    assert together.can_run_together(model)
    unit = tokens_in_vectors(model)
    assert unit == {"gpt2": 1, "llama": 4, "gpt_neox": 16}[architecture]
    assert (together._WHOLE_PROMPTS in model.compared) == (unit < 9)
    model = dataclasses.replace(model, compared={*model.compared, together._WHOLE_PROMPTS})
    seen = passes_of(model, monkeypatch)
    batches = batches_of(model, (17, 33, 17))
    together.prefill_once(model, batches, n_new=3, share_layers=True)
    assert seen == [16 + 32 + 16]
    assert all(batch.holds_slots for batch in batches)


@torch.inference_mode()
def test_products_of_one_row_and_numbers_that_fill_no_vector_are_run_alone(tmp_path, monkeypatch):
    """Their last bits are others amid more: two tokens' products, and 336 activations of an odd number."""
    config = LlamaConfig(
        num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, hidden_size=128,
        intermediate_size=336, vocab_size=tiny.N_VOCAB, max_position_embeddings=96,
        initializer_range=0.25, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "wide")
    tiny.tokenizer().save_pretrained(tmp_path / "wide")
    model = load_model(find_model(str(tmp_path / "wide"), store_root=tmp_path))
    assert together.can_run_together(model)
    assert together._WHOLE_PROMPTS in model.compared
    assert tokens_in_vectors(model) == 2
    seen = passes_of(model, monkeypatch)
    assert_each_is_as_alone(model, (6, 2, 5, 12, 9))
    assert seen[:4] == [5, 1, 11, 4 + 8]


@torch.inference_mode()
def test_a_pass_has_no_more_tokens_than_its_bound(monkeypatch):
    model = tiny.load("llama")
    monkeypatch.setattr(prefilling, "_MOST_TOKENS", 12)
    seen = passes_of(model, monkeypatch)
    prefilling.run_prompts(model, batches_of(model, (5, 9, 5, 21, 9)))
    assert seen == [12, 4, 20, 8]  # the last one alone: nothing fits beside the longest


@torch.inference_mode()
def test_beyond_a_length_where_a_model_may_compute_otherwise_each_runs_alone(monkeypatch):
    model = dataclasses.replace(tiny.load("llama"), switch_lengths=(8, 90))
    seen = passes_of(model, monkeypatch)
    prefilling.run_prompts(model, batches_of(model, (5, 9)))
    prefilling.run_prompts(model, batches_of(model, (5, 13, 5)))
    assert seen == [4 + 8, 12, 4 + 4]


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
    model = dataclasses.replace(tiny.load("llama"), compared=set())
    monkeypatch.setattr(
        prefilling,
        "causal_masks",
        lambda given, n: WholePrompts([given.new_zeros(1, 1, k, k) for k in n]),
    )
    assert together.can_run_together(model)
    assert together._ONE_ATTENTION in model.compared
    assert together._WHOLE_PROMPTS not in model.compared
    asked = requests(model, [[PATCH]] * 3)
    sampling = Sampling(max_new_tokens=4, temperature=1.0, seed=2)
    assert_same(generate_together(model, asked, sampling=sampling), alone(model, asked, sampling))


def test_a_mask_that_shows_what_follows_changes_the_tokens(monkeypatch):
    """Liveness: without the prompts' own masks the law of prompts together would not hold."""
    model = tiny.load("gpt2")
    assert together.can_run_together(model)
    asked = requests(model, [[PATCH]] * 3)
    sampling = Sampling(max_new_tokens=5, temperature=1.0, seed=2)
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
    with pytest.raises(UserError, match="position 7"):
        prefilling.run_prompts(model, batches_of(model, (5, 9)))


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
