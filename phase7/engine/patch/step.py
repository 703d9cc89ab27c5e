"""What one forward pass looks like to whoever writes into it.

Patching knows neither the KV cache nor how rows share layers: whoever runs the model says, with every
pass, where a row lies and how to read a row's values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

Ints = np.ndarray[Any, np.dtype[np.int64]]


@runtime_checkable
class Rows(Protocol):
    """Where the rows of a batch lie in a layer's tensors."""

    def slots(self, layer: int) -> Ints:
        """The place of each row from the heads' outputs on (int64 [n_rows])."""

    def attention_slots(self, layer: int) -> Ints:
        """The place of each row up to the heads' outputs: in patterns, keys and values."""


#: (layer, slots [N], KV heads [N]) to the values of those, generated tokens included: [N, keys, d_head].
ReadValues = Callable[[int, Int[Tensor, " N"], Int[Tensor, " N"]], Float[Tensor, "N keys d"]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One forward pass.

    Attributes
    ----------
    first_query : int
        Absolute position of the first query in the pass.
    rows : Rows
    values : callable
        Reads cached values.
    patterns : dict of int to float tensor [slots, n_heads, queries, keys]
        Attention patterns of the layers that have run, as far as a write in the layer needs them.
    """

    first_query: int
    rows: Rows
    values: ReadValues
    patterns: dict[int, Tensor] = field(default_factory=dict)
