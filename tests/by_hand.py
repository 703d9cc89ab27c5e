"""Averages of captures, written out as loops: what donors are compared with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from phase7.engine.patch.capture import Capture
from phase7.engine.patch.donors import Donor


def direct_mean(captures: Sequence[Capture]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means by offset from the end, one offset and one capture at a time, in float64."""
    n_layers, _, n_heads, d_head = captures[0].z.shape
    most = max(one.value.shape[1] for one in captures)
    most_queries = max(one.z.shape[1] for one in captures)
    value = np.zeros((n_layers, most, captures[0].value.shape[2], d_head))
    z = np.zeros((n_layers, most_queries, n_heads, d_head))
    pattern = np.zeros((n_layers, n_heads, most_queries, most))
    for k in range(most):
        reaching = [one for one in captures if one.value.shape[1] > k]
        value[:, k] = sum(
            one.value[:, one.value.shape[1] - 1 - k].astype(float) for one in reaching
        ) / len(reaching)
    for j in range(most_queries):
        reaching = [one for one in captures if one.z.shape[1] > j]
        z[:, j] = sum(one.z[:, one.z.shape[1] - 1 - j].astype(float) for one in reaching) / len(reaching)
        for k in range(most):
            both = [one for one in reaching if one.value.shape[1] > k]
            if both:
                rows = [
                    one.pattern[:, :, one.z.shape[1] - 1 - j, one.value.shape[1] - 1 - k] for one in both
                ]
                pattern[:, :, j, k] = np.mean(np.asarray(rows, dtype=float), axis=0)
        pattern[:, :, j] /= pattern[:, :, j].sum(axis=-1, keepdims=True)
    return z, value, pattern


def mean_donor(captures: Sequence[Capture]) -> Donor:
    """The loops' means as a donor."""
    z, value, pattern = (array.astype(np.float32) for array in direct_mean(captures))
    return Donor(z=z, value=value, pattern=pattern)
