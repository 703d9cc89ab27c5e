"""Correction for the number of tests: q-values from p-values, NaN for a cell that was not tested."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def benjamini_hochberg(
    p_value: npt.ArrayLike,
    *,
    axis: int | tuple[int, ...] | None = None,
    where: npt.ArrayLike = True,
) -> FloatArray:
    """Turn p-values into q-values that control the false discovery rate of a family.

    q of the k-th smallest p of a family of m is the smallest p_j · m / j over j >= k (Benjamini &
    Hochberg 1995). Calling discoveries where q < 0.05 keeps the expected share of false ones at
    or below 5 %, for independent or positively dependent tests (Benjamini & Yekutieli 2001).

    Parameters
    ----------
    p_value : array_like of float, any shape
        In [0, 1]; NaN: not tested.
    axis : int, tuple of int or None
        The axes a family extends over; there is one family per index of the others. None: all
        axes, one family. For p of (layer, head, mode, metric), ``axis=(0, 1)`` makes one family
        per mode and metric.
    where : array_like of bool, broadcastable to `p_value`
        Which tests are in a family at all.

    Returns
    -------
    float64 array, shape of `p_value`
        q in [p, 1]. NaN where p is NaN or `where` is False; such tests are not counted.

    Raises
    ------
    ValueError
        For a p outside [0, 1].
    """
    p = np.asarray(p_value, dtype=np.float64)
    if np.any((p < 0) | (p > 1)):
        raise ValueError("p_value: expected numbers in [0, 1] or NaN, got one outside")
    p = np.where(where, p, np.nan)
    family_axes = tuple(range(p.ndim)) if axis is None else axis
    family_axes = (family_axes,) if isinstance(family_axes, int) else tuple(family_axes)
    last = tuple(range(p.ndim - len(family_axes), p.ndim))
    moved = np.moveaxis(p, family_axes, last)
    size = int(np.prod(moved.shape[p.ndim - len(family_axes) :]))
    families = moved.reshape(-1, size) if p.size else moved.reshape(0, size)
    return np.moveaxis(_q_values(families).reshape(moved.shape), last, family_axes)


def _q_values(families: FloatArray) -> FloatArray:
    """q of one family in each row."""
    order = np.argsort(families, axis=1)  # NaN sorts last
    ranked = np.take_along_axis(families, order, axis=1)
    tested = np.count_nonzero(~np.isnan(ranked), axis=1)[:, None]
    ratio = ranked * tested / np.arange(1, families.shape[1] + 1)
    # fmin ignores NaN, so the untested at the end cannot reach into the tested.
    stepped = np.fmin.accumulate(ratio[:, ::-1], axis=1)[:, ::-1]
    q = np.empty_like(families)
    np.put_along_axis(q, order, np.where(np.isnan(ranked), np.nan, stepped), axis=1)
    return q
