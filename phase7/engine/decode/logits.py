"""From final states to logits, for a piece of a batch at a time.

A vocabulary is wide: the logits of a whole batch would take more memory than all that made them. A row's
logits have the same bits in any piece (:mod:`phase7.engine.model.blocks`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from phase7.engine.decode.rows import Ints
from phase7.engine.model.blocks import whole_blocks

#: Rows whose logits are in memory together; whole blocks of any size of block.
ROWS_AT_ONCE = 96

Unembed = Callable[[Tensor], Tensor]


def pieces(rows: Ints) -> Iterator[Ints]:
    """Rows in their order, as many at a time as have their logits in memory together."""
    for start in range(0, rows.size, ROWS_AT_ONCE):
        yield rows[start : start + ROWS_AT_ONCE]


def logits_of(
    unembed: Unembed, states: Float[Tensor, "slots d_model"], slots: Ints, row_block: int
) -> Float[Tensor, "rows n_vocab"]:
    """The logits of the states in some slots; the product is filled up to whole blocks of rows.

    Parameters
    ----------
    unembed : callable
        From final states [rows, d_model] to logits [rows, n_vocab].
    slots : int64 [rows]
    row_block : int
        As of :class:`phase7.engine.model.bridge.Model`.
    """
    fill = whole_blocks(slots.size, row_block) - slots.size
    index = torch.from_numpy(slots).to(states.device)
    padded = torch.cat([index, index[:1].expand(fill)])
    return unembed(states.index_select(0, padded))[: slots.size]
