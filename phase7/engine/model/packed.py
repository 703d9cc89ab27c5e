"""Weights of a model's products, laid out once the way the processor reads them.

Float32 products on a CPU then read a packed copy of the weight, in oneDNN's blocked layout, which
PyTorch's own compiler uses too. A plain product lays the weight out anew at every call, which costs
more than the product itself when a batch has few rows. The copy is made at the first use, so that
modules that never run take no memory, and layers that hold the same weight read the same copy.

A packed product's row has the same bits whatever the number of rows (two or more), of threads, and
of the row's place; against the plain product it differs by rounding.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary
from transformers.pytorch_utils import Conv1D

_LAYERS = (torch.nn.Linear, Conv1D)

#: Rows the layout is chosen for; any number works.
_TYPICAL_ROWS = 96

#: Rows a packed product needs at least, so that a row's bits depend on no other.
PACKED_ROWS = 2

Product = Callable[[Tensor], Tensor]
_Source = tuple[int, int, bool]

_copies: Any = WeakTensorKeyDictionary()  # weight -> what was packed, and its packed copy
_packing = threading.Lock()


def suits_packing(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether packed products are made for such tensors, by this build of torch."""
    return device.type == "cpu" and dtype == torch.float32 and torch.backends.mkldnn.is_available()


def can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether torch also has the private operations that packed products need."""
    return (
        suits_packing(device, dtype)
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    )


def pack_weight(weight: Float[Tensor, "n_out n_in"]) -> Tensor:
    """A copy of a weight laid out for :func:`packed_product`."""
    copy: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, _TYPICAL_ROWS)
    return copy


def packed_product(
    x: Float[Tensor, "*rows n_in"], copy: Tensor, bias: Float[Tensor, " n_out"] | None = None
) -> Float[Tensor, "*rows n_out"]:
    """Multiply with a weight that has been packed."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, copy, bias, "none", [], "")
    return product


def all_packed(modules: torch.nn.Module) -> bool:
    """Whether packed products and look-ups are all that the modules do with matrices of weights."""
    others = (m for m in modules.modules() if type(m) not in (*_LAYERS, torch.nn.Embedding))
    return all(p.ndim < 2 for m in others for p in m.parameters(recurse=False))


def pack_products(modules: torch.nn.Module) -> int:
    """Let every linear layer among `modules` multiply with a packed copy of its weight.

    Returns
    -------
    int
        Linear layers found: `torch.nn.Linear` and GPT-2's `Conv1D`, not classes derived from them, whose
        forward pass may do more.
    """
    layers = packable(modules)
    for layer in layers:
        layer.forward = packed_forward(layer)
    return len(layers)


def packable(modules: torch.nn.Module) -> list[Any]:
    """The layers that :func:`pack_products` changes."""
    return [module for module in modules.modules() if type(module) in _LAYERS]


def packed_forward(layer: Any) -> Product:
    """A linear layer's forward pass with a packed copy of its weight; the layer stays as it is."""
    transposed = isinstance(layer, Conv1D)
    # The layer holds this function: a reference back would keep the model in memory.
    whose = weakref.ref(layer)
    held: list[Any] = [None, None]  # as in `_copies`, where looking takes longer

    def forward(x: Float[Tensor, "*rows n_in"]) -> Float[Tensor, "*rows n_out"]:
        layer: Any = whose()
        weight: Tensor = layer.weight
        source = (weight.data_ptr(), 0 if weight.is_inference() else weight._version, transposed)
        if held[0] != source:
            held[:] = source, _packed_copy(weight, source)
        return packed_product(x, held[1], layer.bias)

    return forward


def forget_copies(modules: torch.nn.Module) -> None:
    """Let the weights of some modules be packed anew.

    A change through ``weight.data`` is none that torch counts.
    """
    with _packing:
        for weight in modules.parameters():
            _copies.pop(weight, None)


def _packed_copy(weight: Tensor, source: _Source) -> Tensor:
    """The packed copy of a weight, made once for all layers and threads that use it."""
    with _packing:
        found = _copies.get(weight)
        if found is None or found[0] != source:
            plain = weight.detach().t().contiguous() if source[2] else weight.detach()
            found = source, pack_weight(plain)
            _copies[weight] = found
    copy: Tensor = found[1]
    return copy
