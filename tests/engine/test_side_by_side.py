"""Several prompts' keys, values and patterns in one attention: each as it is alone, or a refusal."""

from __future__ import annotations

import pytest
import torch

from phase7.engine.decode.loop import generate_together
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
