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
