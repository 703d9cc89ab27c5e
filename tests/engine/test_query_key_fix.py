"""No softmax of the patched head is taken to first order, as by AtP*'s query/key fix.

A GPT-2 whose attention is saturated: what its heads would write with the donor's queries, keys and values is
worked out from these by plain transformers, exactly and to first order.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from phase7.engine.decode.attribution import Slopes, slopes
from phase7.engine.model.loading import load_model
from phase7.engine.patch.capture import capture
from phase7.engine.patch.donors import single
from phase7.models.files import find_model
from tests import tiny

D_HEAD = 32 // tiny.N_HEADS
RECIPIENT, DONOR = (5, 41, 300, 7, 262, 88), (88, 9, 110, 7, 31, 200)
SHARPER = 3.0


@pytest.fixture(scope="module")
def sharp() -> torch.nn.Module:
    """Queries and keys three times as long, so that a head attends to one token."""
    model = tiny.hf_model("gpt2").double()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        for block in model.transformer.h:
            block.attn.c_attn.weight[:, : 2 * 32] *= SHARPER
            block.attn.c_attn.bias[: 2 * 32] *= SHARPER
    return model


@pytest.fixture(scope="module")
def found(sharp, tmp_path_factory) -> tuple[Slopes, np.ndarray]:
    """The package's slopes of the recipient, and the change in mode `pattern_v` [layer, head, d]."""
    folder = tmp_path_factory.mktemp("sharp")
    sharp.float().save_pretrained(folder / "model")
    tiny.tokenizer().save_pretrained(folder / "model")
    sharp.double()
    model = load_model(find_model(str(folder / "model"), store_root=folder))
    donor = single(capture(model, DONOR, all_queries=False))
    given = slopes(model, RECIPIENT, (3,), token_sets={"few": (5, 41)}, positions="last")
    return given, given.change(donor, "pattern_v")[:, 0]


@torch.no_grad()
def queries_keys_values(model, tokens) -> list[tuple[torch.Tensor, ...]]:
    """Of every layer, each [S, heads, d]."""
    seen = []
    hooks = [
        block.attn.c_attn.register_forward_hook(lambda module, args, output: seen.append(output[0]))
        for block in model.transformer.h
    ]
    model(torch.tensor([tokens]))
    for hook in hooks:
        hook.remove()
    return [
        tuple(part.reshape(len(tokens), -1, D_HEAD) for part in one.split(32, dim=1)) for one in seen
    ]


def output(query, keys, values):
    """What the last query's heads write, [head, d]."""
    scores = torch.einsum("hd,khd->hk", query[-1], keys) / D_HEAD**0.5
    return torch.einsum("hk,khd->hd", scores.softmax(dim=1), values)


def test_what_a_mode_writes_is_exact_where_a_first_order_through_the_softmax_is_not(sharp, found):
    _, changes = found
    recipient, donor = (queries_keys_values(sharp, tokens) for tokens in (RECIPIENT, DONOR))
    off = []
    for layer, (own, other) in enumerate(zip(recipient, donor, strict=True)):
        exact = (output(*other) - output(*own)).numpy()
        np.testing.assert_allclose(changes[layer], exact, atol=1e-4 * np.abs(exact).max())
        along = tuple(there - here for here, there in zip(own, other, strict=True))
        _, first_order = torch.func.jvp(output, own, along)
        sizes = np.linalg.norm(exact, axis=1)
        off += (np.linalg.norm(first_order.numpy() - exact, axis=1) / sizes).tolist()
    assert np.median(off) > 0.5
