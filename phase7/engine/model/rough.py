"""Differences between rows' logits at half the price, with a bound on their error.

The difference between a final state and a reference is multiplied with the unembedding in bfloat16.
Rounding is then relative to the *difference* of the states, not to the states, so the logits of
rows close to their reference are nearly exact. The bound is the Cauchy-Schwarz inequality over what
was rounded off; it also covers the rounding of the float32 products that this one stands in for
(the usual n * u * |x| * |w|: Higham 2002, section 3.1).
"""

from __future__ import annotations

import threading

import torch
from jaxtyping import Float, Int
from torch import Tensor

from phase7.engine.model.packed import can_pack, pack_weight, packed_product

_UNIT_FLOAT = 2.0**-24  # unit roundoff of float32
_UNIT_BFLOAT = 2.0**-8  # and of bfloat16

#: Rows of the weight copied at once: bounds the memory that copying takes.
_ROWS_AT_ONCE = 4096


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the processor multiplies bfloat16 itself; elsewhere it is slower than float32.

    torch keeps the question private; a version without it counts as a processor that does not.
    """
    ask = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return device.type == "cpu" and bool(ask())


class RoughUnembedding:
    """The product. Threads can share it; the copy of the weight is made at the first use.

    Parameters
    ----------
    weight : float32 [n_vocab, d_model]
    """

    def __init__(self, weight: Float[Tensor, "n_vocab d_model"]) -> None:
        self._weight, self._making = weight, threading.Lock()
        # Packing a bfloat16 copy fails on a processor that does not multiply it.
        self._is_packed = can_pack(weight.device, weight.dtype) and multiplies_bfloat16(weight.device)
        self._copy: Tensor | None = None
        self._norm = self._centred_norm = self._lost_norm = 0.0

    def least_error(
        self, states: Float[Tensor, "rows d_model"], references: Float[Tensor, "rows d_model"]
    ) -> Float[Tensor, " rows"]:
        """The part of the error of :meth:`changes` that is known before the product; float32 [rows]."""
        self._copied()
        change = states - references
        lost, size = (change - change.bfloat16().float()).norm(dim=1), change.norm(dim=1)
        error: Tensor = (
            lost * self._centred_norm
            + (size + lost) * self._lost_norm
            + (states.norm(dim=1) + references.norm(dim=1) + 4 * size) * self._rounding(states)
        )
        return error * 1.001  # the norms themselves are rounded

    def changes(
        self, states: Float[Tensor, "rows d_model"], references: Float[Tensor, "rows d_model"]
    ) -> tuple[Float[Tensor, "rows n_vocab"], Float[Tensor, " rows"]]:
        """What to add to the references' logits, up to a constant by row, and its largest error.

        Returns
        -------
        changes : bfloat16 [rows, n_vocab]
        error : float32 [rows]
            For a constant c of each row, ``abs(logits - (reference logits + changes + c))`` is at most
            this for every token, where both logits are float32 products.
        """
        copy, rounded = self._copied(), (states - references).bfloat16()
        if self._is_packed:
            changes = packed_product(rounded, copy)
        else:
            changes = torch.nn.functional.linear(rounded, copy)
        last = _largest_size(changes) * (_UNIT_BFLOAT * 1.01)  # of rounding the product itself
        return changes, self.least_error(states, references) + last

    def logits_of(
        self, states: Float[Tensor, "pairs d_model"], tokens: Int[Tensor, " pairs"]
    ) -> tuple[Float[Tensor, " pairs"], Float[Tensor, " pairs"]]:
        """One token's logit for each state, and how far a float32 product may lie from it; float64."""
        rows = self._weight.index_select(0, tokens).double()
        logits = torch.linalg.vecdot(states.double(), rows)
        self._copied()
        return logits, states.norm(dim=1).double() * (self._rounding(states) * 1.001)

    def _rounding(self, states: Float[Tensor, "rows d_model"]) -> float:
        """Of a float32 product, for states of length 1."""
        return (states.shape[1] + 8) * _UNIT_FLOAT * self._norm

    def _copied(self) -> Tensor:
        with self._making:
            if self._copy is None:
                # A constant by row changes no probability: without the mean, the rows are shorter.
                mean, copy = self._weight.mean(dim=0), self._weight.bfloat16()
                for weight, place in zip(
                    self._weight.split(_ROWS_AT_ONCE), copy.split(_ROWS_AT_ONCE), strict=True
                ):
                    centred = weight - mean
                    place.copy_(centred)
                    self._norm = max(self._norm, _longest(weight))
                    self._centred_norm = max(self._centred_norm, _longest(centred))
                    self._lost_norm = max(self._lost_norm, _longest(centred - place.float()))
                self._copy = pack_weight(copy) if self._is_packed else copy
            return self._copy


def _longest(rows: Float[Tensor, "rows d_model"]) -> float:
    return float(rows.norm(dim=1).max())


def _largest_size(values: Float[Tensor, "rows n"]) -> Float[Tensor, " rows"]:
    """The largest absolute value of bfloat16 rows: their bits without the sign are ordered alike."""
    largest = (values.view(torch.int16) & 0x7FFF).amax(dim=1)
    return largest.view(torch.bfloat16).float()
