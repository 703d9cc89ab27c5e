"""Laws of packed products: they differ from plain ones by rounding, and their rows not at all."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.pytorch_utils import Conv1D

from phase7.engine.decode.loop import generate
from phase7.engine.model.blocks import ROW_BLOCK
from phase7.engine.model.loading import load_model
from phase7.engine.model.packed import PACKED_ROWS, all_packed, can_pack, pack_products
from phase7.engine.model.tokens import encode
from phase7.engine.patch.patching import Patch
from phase7.experiment.profile import Sampling
from phase7.vocabulary.heads import Head
from tests import tiny

pytestmark = pytest.mark.skipif(
    not can_pack(torch.device("cpu"), torch.float32), reason="this torch has no packed products"
)
LAW = settings(max_examples=40, deadline=None, derandomize=True)
KINDS = ("linear", "linear without bias", "conv1d")


def layer(kind: str, n_in: int, n_out: int) -> torch.nn.Module:
    torch.manual_seed(0)
    made = Conv1D(n_out, n_in) if kind == "conv1d" else torch.nn.Linear(n_in, n_out, kind == "linear")
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_()
    return made


class Calls(TorchDispatchMode):
    """Counts the packed products of the enclosed code."""

    packed = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.packed += func is torch.ops.mkldnn._linear_pointwise.default
        return func(*args, **(kwargs or {}))


def packed(made: torch.nn.Module) -> torch.nn.Module:
    assert pack_products(made) == 1
    return made


@LAW
@given(
    kind=st.sampled_from(KINDS),
    n_in=st.sampled_from([8, 32, 100, 576]),
    n_out=st.sampled_from([3, 64, 257, 1536]),
    n_rows=st.integers(1, 70),
)
def test_a_packed_product_is_the_plain_one_up_to_rounding(kind, n_in, n_out, n_rows):
    made = layer(kind, n_in, n_out)
    x = torch.randn(n_rows, 1, n_in)
    with torch.inference_mode():
        plain = made(x)
        got = packed(made)(x)
        weight = made.weight if kind == "conv1d" else made.weight.T
        exact = x.double() @ weight.double()
    scale = float(exact.abs().max())
    assert got.shape == plain.shape
    torch.testing.assert_close(got, plain, rtol=0, atol=2e-6 * scale * n_in**0.5)


@LAW
@given(
    kind=st.sampled_from(KINDS),
    n_in=st.sampled_from([32, 100, 576]),
    n_out=st.sampled_from([64, 257, 1536]),
    n_rows=st.integers(2, 300),
    start=st.integers(0, 298),
    threads=st.integers(1, 3),
)
def test_a_rows_bits_depend_neither_on_the_other_rows_nor_on_threads(
    kind, n_in, n_out, n_rows, start, threads
):
    made = packed(layer(kind, n_in, n_out))
    x = torch.randn(300, n_in)
    start = min(start, 300 - n_rows)
    before = torch.get_num_threads()
    with torch.inference_mode():
        whole = made(x)
        try:
            torch.set_num_threads(threads)
            part = made(x[start : start + n_rows].clone())
        finally:
            torch.set_num_threads(before)
    assert torch.equal(part, whole[start : start + n_rows])


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_weight_is_packed_again(kind):
    made = packed(layer(kind, 32, 64))
    x = torch.randn(16, 32)
    with torch.inference_mode():
        first = made(x)
    with torch.no_grad():
        made.weight.mul_(2)
        if made.bias is not None:
            made.bias.mul_(2)
    with torch.inference_mode():
        torch.testing.assert_close(made(x), 2 * first)


def test_layers_of_derived_classes_are_left_alone():
    class Louder(torch.nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    made = Louder(4, 4)
    assert pack_products(torch.nn.Sequential(made)) == 0
    x = torch.randn(3, 4)
    torch.testing.assert_close(made(x), 2 * torch.nn.functional.linear(x, made.weight, made.bias))


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_a_model_runs_packed_and_says_the_same_as_plain(architecture):
    model = tiny.load(architecture)
    plain = load_model(model.files, pack=False)
    tokens = encode(model, "Buses leave at ten past", "raw")
    logits, products = [], []
    for loaded in (model, plain):
        with torch.inference_mode(), Calls() as calls:
            logits.append(loaded.bridge(torch.tensor([tokens])))
        products.append(calls.packed)
    assert products[0] > 6 * model.n_layers - 1  # liveness: every product of every layer
    assert products[1] == 0
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-4)
    patches = [Patch(heads=(Head(1, 2),), donor=donor) for donor in ("zero", "self")]
    sampling = Sampling(max_new_tokens=6, temperature=0, samples=1)
    ran = [generate(m, "p", tokens, patches, donors={}, sampling=sampling) for m in (model, plain)]
    np.testing.assert_array_equal(ran[0].baseline_tokens, ran[1].baseline_tokens)
    np.testing.assert_array_equal(ran[0].patched_tokens, ran[1].patched_tokens)


def test_a_packed_layer_is_freed_with_its_last_reference():
    made = packed(layer("linear", 8, 8))
    with torch.inference_mode():
        made(torch.randn(2, 8))
    gone = weakref.ref(made)
    gc.disable()
    try:
        del made
        assert gone() is None
    finally:
        gc.enable()


def test_a_model_of_other_products_keeps_whole_blocks():
    """Only packed products let a layer have any number of rows."""
    ordinary = torch.nn.Sequential(
        torch.nn.Embedding(5, 4), torch.nn.LayerNorm(4), torch.nn.Linear(4, 4)
    )
    assert all_packed(ordinary)
    assert not all_packed(torch.nn.Sequential(ordinary, torch.nn.Bilinear(4, 4, 4)))
    model = tiny.load("gpt2")
    assert model.row_block == PACKED_ROWS < ROW_BLOCK
    assert load_model(model.files, pack=False).row_block == ROW_BLOCK
