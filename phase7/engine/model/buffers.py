"""Memory that one batch leaves to the next."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor


class Buffers:
    """Memory that one batch's keys and values leave to the next one's.

    Fresh memory costs more at its first use than all that is written to it. One batch at a time.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[int, str], Tensor] = {}

    def take(self, layer: int, name: str, shape: Sequence[int], like: Tensor) -> Tensor:
        """An uninitialised tensor of the shape, with the dtype and device of `like`."""
        n, held = math.prod(shape), self._held.get((layer, name))
        if held is None or len(held) < n or (held.dtype, held.device) != (like.dtype, like.device):
            held = self._held[layer, name] = like.new_empty(n)
        return held[:n].view(*shape)

    def parts(self, sizes: Sequence[int]) -> list[Buffers]:
        """Buffers for batches of so many slots that run side by side, which share this memory."""
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        return [_Part(self, start, sum(sizes)) for start in starts]


class _Part(Buffers):
    """Some of the first axis of each tensor of other buffers, from `start` on, of `n_all`."""

    def __init__(self, whole: Buffers, start: int, n_all: int) -> None:
        super().__init__()
        self._whole, self._start, self._n_all = whole, start, n_all

    def take(self, layer: int, name: str, shape: Sequence[int], like: Tensor) -> Tensor:
        """As of the whole; all parts must take the same shape but for the first axis."""
        taken = self._whole.take(layer, name, (self._n_all, *shape[1:]), like)
        return taken[self._start : self._start + shape[0]]
