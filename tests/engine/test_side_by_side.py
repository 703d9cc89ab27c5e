"""Several prompts' keys, values and patterns in one attention: each as it is alone, or a refusal."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from phase7.engine.decode.loop import generate_together
from phase7.engine.model.kv_cache import SharedKeysOrValues
from phase7.engine.model.side_by_side import SideBySide, masks
from phase7.engine.patch.patching import Patch
from phase7.experiment.profile import Sampling
from phase7.vocabulary.heads import Head
from tests import tiny
from tests.properties.test_together_laws import alone, assert_same, requests

LENGTHS, N_ROWS = (5, 9, 7), (2, 4, 2)


def tensors(*shape: int) -> list[torch.Tensor]:
    """[rows, heads, tokens, ...] of each prompt."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(n, 2, length, *shape, generator=generator)
        for n, length in zip(N_ROWS, LENGTHS, strict=True)
    ]


def test_an_attention_is_each_prompts_own():
    keys, values = tensors(8), tensors(8)
    queries = torch.randn(sum(N_ROWS), 4, 1, 8, generator=torch.Generator().manual_seed(1))

    def attention(q, k, v, mask):
        k, v = (x.repeat_interleave(2, dim=1) for x in (k, v))
        scores = torch.tanh(torch.matmul(q, k.transpose(-2, -1)) * 0.3 / 2) + mask
        return torch.matmul(torch.nn.functional.softmax(scores, dim=-1, dtype=torch.float32), v)

    mask = [torch.zeros(1, 1, 1, length) for length in LENGTHS]
    together = attention(queries, SideBySide(keys), SideBySide(values), SideBySide(mask))
    each = zip(queries.split(N_ROWS), keys, values, mask, strict=True)
    assert torch.equal(together, torch.cat([attention(*one) for one in each]))


@pytest.mark.parametrize("parts", [1, 3])
def test_its_shape_has_room_for_all(parts):
    side = SideBySide(tensors(8)[:parts])
    assert tuple(side.shape) == (sum(N_ROWS[:parts]), 2, max(LENGTHS[:parts]), 8)
    assert tuple(side.transpose(2, 3).size()) == (sum(N_ROWS[:parts]), 2, 8, max(LENGTHS[:parts]))
    repeated = side[:, :, None, :, :].expand(side.size(0), 2, 3, side.size(2), 8)
    assert tuple(repeated.reshape(side.size(0), 6, side.size(2), 8).shape[:2]) == (side.size(0), 6)


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: x[0],
        lambda x: x[:, :, :2],
        lambda x: x.transpose(0, 1),
        lambda x: x.repeat_interleave(2, dim=0),
        lambda x: x + torch.zeros(9),
        lambda x: torch.where(torch.ones(9, dtype=torch.bool), x, 0.0),
        lambda x: torch.cat([x, x]),
        lambda x: torch.sum(x),
        lambda x: x.mean(),
    ],
)
def test_what_mixes_prompts_or_their_tokens_is_refused(ask):
    with pytest.raises((TypeError, AttributeError)):
        ask(SideBySide(tensors(8)))


def test_each_prompt_has_a_mask_of_its_own_length():
    class Layer:
        def __init__(self, n: int) -> None:
            self._n = n

        def get_mask_sizes(self, n_queries: int) -> tuple[int, int]:
            return self._n + n_queries, 0

    class Cache:
        def __init__(self, n: int) -> None:
            self.layers = [Layer(n)]

    given = torch.zeros(8, 1, 1, 30)
    found = masks(given, [Cache(length) for length in LENGTHS], 0)
    assert [tuple(part.shape) for part in found.parts] == [(1, 1, 1, n + 1) for n in LENGTHS]


def shared_parts(generator: torch.Generator) -> list[SharedKeysOrValues]:
    """Keys or values of prompts with some generated tokens, and room for more."""
    return [
        SharedKeysOrValues(
            torch.randn(1, 2, length, 8, generator=generator),
            torch.cat([torch.randn(n, 2, 3, 8, generator=generator), torch.zeros(n, 2, 5, 8)], dim=2),
            3,
        )
        for n, length in zip(N_ROWS, LENGTHS, strict=True)
    ]


@pytest.mark.parametrize("shift", [0.0, -2.0])
def test_scores_of_all_prompts_lie_in_one_tensor_and_have_the_bits_of_each(shift):
    """And a mask of zeros is not added, but any other is."""
    generator = torch.Generator().manual_seed(0)
    keys, values = shared_parts(generator), shared_parts(generator)
    queries = torch.randn(sum(N_ROWS), 4, 1, 8, generator=generator)
    given = torch.full((1, 1, 1, 1), shift)

    def attention(q, k, v, mask):
        k, v = (x.repeat_interleave(2, dim=1) for x in (k, v))
        scores = torch.add(torch.matmul(q, k.transpose(2, 3)) * 0.3, mask)
        seen.append(scores)
        weights = torch.nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype)
        return torch.matmul(weights, v)

    seen: list = []
    caches = [SimpleNamespace(layers=[one]) for one in map(_Sized, LENGTHS)]
    together = attention(queries, SideBySide(keys), SideBySide(values), masks(given, caches, 0))
    scores, *_ = seen
    for place, (q, k, v) in enumerate(zip(queries.split(N_ROWS), keys, values, strict=True)):
        mask = given.expand(1, 1, 1, LENGTHS[place] + 3)
        start = sum(N_ROWS[:place])
        assert torch.equal(together[start : start + N_ROWS[place]], attention(q, k, v, mask))
        assert torch.equal(scores.parts[place], seen[-1])
    assert (scores._flat is not None) == (shift == 0)
    assert (
        scores.parts[0].untyped_storage().data_ptr() == scores._flat.data_ptr() if shift == 0 else True
    )


class _Sized:
    """A layer of a cache that holds so many tokens, three of them generated."""

    def __init__(self, n_shared: int) -> None:
        self._n = n_shared + 3

    def get_mask_sizes(self, n_queries: int) -> tuple[int, int]:
        return self._n, 0


def test_a_mask_of_zeros_adds_nothing_on_either_side_and_elsewhere_is_zeros():
    caches = [SimpleNamespace(layers=[one]) for one in map(_Sized, LENGTHS)]
    nothing = masks(torch.zeros(1, 1, 1, 1), caches, 0)
    scores = SideBySide(
        [torch.randn(n, 2, 1, length + 3) for n, length in zip(N_ROWS, LENGTHS, strict=True)]
    )
    assert nothing + scores is scores and torch.add(scores, nothing) is scores
    assert tuple(nothing.shape) == (3, 1, 1, max(LENGTHS) + 3)
    halved = nothing.to(torch.float64) / 2
    assert all(part.eq(0).all() and part.dtype == torch.float64 for part in halved.parts)
    assert all(
        torch.equal(one, other + 2) for one, other in zip((scores + 2).parts, scores.parts, strict=True)
    )
    # What is boolean says which tokens are seen: none that are not.
    hidden = masks(torch.zeros(1, 1, 1, 1, dtype=torch.bool), caches, 0)
    assert type(hidden) is SideBySide


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_results_written_by_head_are_those_of_each_prompt_alone(architecture):
    """`hook_result` has rows of its own inside of the attention."""
    model = tiny.load(architecture)
    patches = [Patch(heads=(Head(layer, 1),), donor="emotion") for layer in range(tiny.N_LAYERS)]
    asked, sampling = requests(model, [patches] * 3), Sampling(max_new_tokens=6, seed=1, samples=2)
    together = generate_together(model, asked, sampling=sampling, use_attn_result=True)
    each = [generate_together(model, [one], sampling=sampling, use_attn_result=True)[0] for one in asked]
    assert_same(together, each)
    baseline = alone(model, asked, sampling)
    assert any((one.patched_tokens != one.baseline_tokens).any() for one in baseline)
