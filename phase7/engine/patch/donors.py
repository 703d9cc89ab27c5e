"""What is transplanted: averages of captures, aligned at the last token of each prompt.

Prompts differ in length, so arrays are indexed by offset from the end, offset 0 being the last token,
and every offset averages the prompts that reach it. A mean over no captures is an error, and so is
composing attention and values where no pattern was captured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from phase7.engine.patch.capture import Capture, UnitCapture
from phase7.vocabulary.units import Unit

Array = np.ndarray[Any, np.dtype[np.float32]]
Doubles = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Donor:
    """One donor's activations by offset from the end.

    Attributes
    ----------
    z : float32 array [n_layers, J, n_heads, d_head]
        Head outputs; J offsets are reached (1 where only the last query was captured).
    value : float32 array [n_layers, K, n_kv_heads, d_head]
        Values; K offsets are reached.
    pattern : float32 array [n_layers, n_heads, J, K] or None
        Attention of the query at offset j over the keys at offset k. A row sums to the mean of the
        captures' rows: to 1, but in models whose attention may go nowhere (sinks).
    units : mapping of Unit to float32 array [J, d_model]
        Outputs of MLPs and residual streams, of those that were captured.
    """

    z: Array
    value: Array
    pattern: Array | None
    units: Mapping[Unit, Array] = field(default_factory=dict)

    @cached_property
    def composed(self) -> Array:
        """The donor's attention over the donor's values: float32 [n_layers, J, n_heads, d_head].

        What mode `pattern_v` writes (DESIGN: sum over s of p̄[j, s] · v̄[s]).
        """
        if self.pattern is None:
            raise ValueError("this donor has no pattern")
        n_heads, n_kv_heads = self.z.shape[2], self.value.shape[2]
        by_query_head = np.repeat(self.value, n_heads // n_kv_heads, axis=2).astype(np.float64)
        composed = np.einsum("lhjk,lkhd->ljhd", self.pattern.astype(np.float64), by_query_head)
        single_precision: Array = composed.astype(np.float32)
        return single_precision


class DonorSum:
    """Sums over captures, from which means with or without one of them are taken.

    Sums are float64, so that leaving one capture out by subtraction agrees with summing the others
    to float32 precision.
    """

    def __init__(self, captures: Iterable[Capture]) -> None:
        self._z = _AlignedSum(axes=(1,))
        self._value = _AlignedSum(axes=(1,))
        self._pattern = _AlignedSum(axes=(2, 3))
        self._attended = _AlignedSum(axes=(2,))
        self._has_pattern = True
        self.n_captures = 0
        for one in captures:
            self._add(one)

    def mean(self, *, without: Capture | None = None) -> Donor:
        """The average over the captures that reach each offset, `without` one of those summed."""
        left_out = 0 if without is None else 1
        if self.n_captures - left_out < 1:
            raise ValueError("a mean over no captures")
        pattern = None
        if self._has_pattern:
            left = without.pattern if without is not None else None
            pattern = self._pattern.mean(left)
            pattern = _renormalised(
                pattern, self._attended.mean(None if left is None else _attended(left))
            )
        z = self._z.mean(without.z if without is not None else None)
        value = self._value.mean(without.value if without is not None else None)
        return Donor(
            z=z.astype(np.float32),
            value=value.astype(np.float32),
            pattern=None if pattern is None else pattern.astype(np.float32),
        )

    def _add(self, one: Capture) -> None:
        self._z.add(one.z)
        self._value.add(one.value)
        if one.pattern is None:
            self._has_pattern = False
        else:
            self._pattern.add(one.pattern)
            self._attended.add(_attended(one.pattern))
        self.n_captures += 1


def single(one: Capture) -> Donor:
    """The donor that is one capture."""
    return DonorSum([one]).mean()


class UnitSum:
    """The sum over one unit's captures, from which means with or without one of them are taken."""

    def __init__(self, captures: Iterable[UnitCapture]) -> None:
        self._output, self.n_captures = _AlignedSum(axes=(0,)), 0
        for one in captures:
            self._output.add(one.output)
            self.n_captures += 1

    def mean(self, *, without: UnitCapture | None = None) -> Array:
        """The average by offset, float32 [J, d_model], `without` one of the captures summed."""
        if self.n_captures - (without is not None) < 1:
            raise ValueError("a mean over no captures")
        return self._output.mean(None if without is None else without.output).astype(np.float32)


class _AlignedSum:
    """A float64 sum of arrays aligned at the end of some axes, with the count at each offset."""

    def __init__(self, axes: tuple[int, ...]) -> None:
        self._axes = axes
        self._sum: np.ndarray[Any, np.dtype[np.float64]] | None = None
        self._count: np.ndarray[Any, np.dtype[np.int64]] | None = None

    def add(self, array: Array | Doubles) -> None:
        flipped = np.flip(array, self._axes).astype(np.float64)
        sizes = [flipped.shape[axis] for axis in self._axes]
        if self._sum is None or self._count is None:
            self._sum, self._count = flipped.copy(), np.ones(sizes, dtype=np.int64)
            return
        self._sum = _grown(self._sum, self._axes, sizes)
        self._count = _grown(self._count, tuple(range(len(sizes))), sizes)
        self._sum[_corner(self._sum.ndim, self._axes, sizes)] += flipped
        self._count[tuple(slice(size) for size in sizes)] += 1

    def mean(self, without: Array | Doubles | None) -> Doubles:
        assert self._sum is not None and self._count is not None
        total, count = self._sum, self._count
        if without is not None:
            flipped = np.flip(without, self._axes).astype(np.float64)
            sizes = [flipped.shape[axis] for axis in self._axes]
            total, count = total.copy(), count.copy()
            total[_corner(total.ndim, self._axes, sizes)] -= flipped
            count[tuple(slice(size) for size in sizes)] -= 1
        if count.ndim == 1:
            reached = [int(np.count_nonzero(count))]
        else:  # a pattern, queries by keys
            reached = [int(np.count_nonzero(count[:, 0])), int(np.count_nonzero(count[0]))]
        inner = tuple(slice(size) for size in reached)
        shape = [1] * total.ndim
        for axis, size in zip(self._axes, reached, strict=True):
            shape[axis] = size
        cut = total[_corner(total.ndim, self._axes, reached)]
        divisor = np.maximum(count[inner], 1).reshape(shape)
        mean: np.ndarray[Any, np.dtype[np.float64]] = cut / divisor
        return mean


def _corner(ndim: int, axes: tuple[int, ...], sizes: list[int]) -> tuple[slice, ...]:
    index = [slice(None)] * ndim
    for axis, size in zip(axes, sizes, strict=True):
        index[axis] = slice(size)
    return tuple(index)


def _grown(array: Any, axes: tuple[int, ...], sizes: list[int]) -> Any:
    pad = [(0, 0)] * array.ndim
    for axis, size in zip(axes, sizes, strict=True):
        pad[axis] = (0, max(0, size - array.shape[axis]))
    return np.pad(array, pad) if any(after for _, after in pad) else array


def _attended(pattern: Array) -> Doubles:
    """How much of each query's attention goes to tokens: exactly 1 but for a model with sinks."""
    total = pattern.sum(axis=-1, dtype=np.float64)
    # Numbers of 16 bits leave the last 13 bits of float32 empty.
    is_half = not (np.ascontiguousarray(pattern).view(np.uint32) & 0x1FFF).any()
    return np.where(np.abs(total - 1) < (1e-2 if is_half else 1e-5), 1.0, total)


def _renormalised(pattern: Doubles, attended: Doubles) -> Doubles:
    """Give back what averaging over prompts of different lengths took away from the rows."""
    total = pattern.sum(axis=-1, keepdims=True)
    whole = np.divide(pattern, total, out=np.zeros_like(pattern), where=total > 0)
    given_back: Doubles = whole * attended[..., None]
    return given_back
