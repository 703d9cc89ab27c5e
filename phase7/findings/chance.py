"""How large effects look where none has a direction: the data's own differences with random signs.

The median |d_z| of many tests is not 0 without an effect, and how far above depends on how many of their
differences are 0. A normal approximation does not know that; the differences themselves do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from phase7.findings.cells import Cell, Floats
from phase7.findings.group import Group
from phase7.statistics.draws import random_sign_blocks
from phase7.statistics.exact_sums import linear_quantile
from phase7.statistics.hierarchy import of_length_one

#: Random sign vectors over the prompts.
N_FLIPS = 500

#: Differences whose spread is a smaller share of their sum of squares are equal, but for rounding.
_NO_SPREAD = 1e-12


@dataclass(frozen=True, kw_only=True)
class ChanceSize:
    """The median |d_z| of some tests under random signs; NaN where nothing could be tested.

    Attributes
    ----------
    median : float
        Over all flips.
    low, high : float
        Between them lie 95 % of the flips.
    """

    median: float
    low: float
    high: float


def chance_size(group: Group, cells: Sequence[Cell]) -> ChanceSize:
    """The median |d_z| over all tests of some cells, with the signs of whole prompts flipped at random.

    One flip gives each prompt a sign, the same in all cells and metrics, so what these share by prompt
    they keep. The signs are drawn from the group's seed.
    """
    empty: Floats = np.empty((0, len(group.prompts)))
    differences = np.concatenate([empty, *(cell.differences_by_metric() for cell in cells)])
    measured = np.isfinite(differences)
    tested, used = measured.sum(axis=1) > 1, measured.any(axis=0)
    if not tested.any():
        return ChanceSize(median=float("nan"), low=float("nan"), high=float("nan"))
    seed = int(group.settings.get("seed", 0))
    medians = median_sizes(differences[np.ix_(tested, used)], seed=seed)
    low, middle, high = (float(linear_quantile(medians, level)) for level in (0.025, 0.5, 0.975))
    return ChanceSize(median=middle, low=low, high=high)


def median_sizes(differences: Floats, *, seed: int, n_flips: int = N_FLIPS) -> Floats:
    """The median |d_z| over tests under each flip.

    Parameters
    ----------
    differences : float64 array [test, prompt]
        NaN: not measured. Each test has at least two prompts.
    seed : int
    n_flips : int

    Returns
    -------
    float64 array [flip]
        d_z is that of :mod:`phase7.statistics`: 0 for a test whose differences are all 0.
    """
    n = differences.shape[1]
    count = np.isfinite(differences).sum(axis=1)
    rows = of_length_one(np.nan_to_num(differences, nan=0.0))
    found = []
    for signs in random_sign_blocks(seed=seed, purpose="median size", n=n, n_resamples=n_flips):
        squared_cosine = (signs @ rows.T) ** 2 / count  # 1 where all of a test's differences are equal
        rest = np.where(squared_cosine > 1 - _NO_SPREAD, 0.0, 1 - squared_cosine)
        with np.errstate(divide="ignore"):
            size = np.sqrt(squared_cosine * (count - 1) / count / rest)
        found.append(np.median(size, axis=1))
    medians: Floats = np.concatenate(found)
    return medians
