"""An attention's products with its weights, made once for all prompts that attend one after the other.

Each prompt's attention has its own keys and values, so it runs for each prompt by itself. Its products
with the weights need not: a packed product's row depends on no other row
(:mod:`phase7.engine.model.packed`), and every product of few rows reads all of the weight. So whatever
reads the attention's input is multiplied for all prompts when the first one asks for it, and the
output's product waits until all heads' outputs are there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from phase7.engine.model.packed import Product, packable

#: What an attention does for one prompt: its number among them, and its part of the states.
Attend = Callable[[int, Tensor], Any]


class JointProducts:
    """The products of one layer's attention.

    Parameters
    ----------
    attention : module
        The bridge's, whose linear layers multiply with packed copies.
    defers_output : bool
        Whether the output's product can wait: nothing in the attention may read it.
    """

    def __init__(self, attention: Any, *, defers_output: bool) -> None:
        self._layers = packable(attention)
        output = getattr(getattr(attention, "o", None), "original_component", None)
        self._output = output if defers_output else None
        self._states: Tensor | None = None
        self._made: dict[int, tuple[Tensor, ...]] = {}
        self._waiting: list[tuple[Tensor, Tensor]] = []

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Let the attention's linear layers ask here for their products."""
        before = [layer.forward for layer in self._layers]
        for layer, product in zip(self._layers, before, strict=True):
            layer.forward = self._of(layer, product)
        try:
            yield
        finally:
            for layer, product in zip(self._layers, before, strict=True):
                layer.forward = product

    def attend(self, states: Tensor, n_rows: Sequence[int], one: Attend) -> Any:
        """The attention's output for all prompts, whose rows of the states lie one after the other."""
        self._parts, self._states = states.split(list(n_rows)), states
        try:
            outputs = []
            for place, part in enumerate(self._parts):
                self._place = place
                outputs.append(one(place, part))
            return self._joined(outputs)
        finally:
            self._states = None
            self._made.clear()
            self._waiting.clear()

    def _of(self, layer: Any, product: Product) -> Product:
        def forward(x: Tensor) -> Tensor:
            if self._states is None:
                return product(x)
            if _is_same(x, self._parts[self._place]):
                made = self._made.get(id(layer))
                if made is None:
                    made = product(self._states).split([len(part) for part in self._parts])
                    self._made[id(layer)] = made
                return made[self._place]
            if layer is not self._output:
                return product(x)
            self._product = product
            # Whoever reads what is not there yet gets no number.
            promised = x.new_full((*x.shape[:-1], self._width), torch.nan)
            self._waiting.append((x, promised))
            return promised

        return forward

    @property
    def _width(self) -> int:
        n_out: int = self._parts[0].shape[-1]
        return n_out

    def _joined(self, outputs: Sequence[Any]) -> Any:
        """What an attention returns for all prompts: outputs side by side, nothing of the patterns."""
        if not isinstance(outputs[0], tuple):
            return self._together(outputs)
        return self._together([one[0] for one in outputs]), *[None] * (len(outputs[0]) - 1)

    def _together(self, each: Sequence[Tensor]) -> Tensor:
        if not self._waiting:
            return torch.cat(list(each))
        promised = [promise for _, promise in self._waiting]
        if len(promised) != len(each) or not all(map(_is_same, each, promised)):
            raise RuntimeError("an attention changed its output after the product with its weight")
        return self._product(torch.cat([heads for heads, _ in self._waiting]))


def _is_same(x: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same numbers in memory."""
    return x.data_ptr() == other.data_ptr() and x.shape == other.shape and x.stride() == other.stride()
