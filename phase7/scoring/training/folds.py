"""Folds for cross-validation that part no near duplicates, and intervals that respect them.

Texts that share a run of words, directly or through others, form a group; a fold holds whole groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from phase7.scoring.training.overlap import runs, words_of

Floats = NDArray[np.float64]
Index = NDArray[np.int64]

N_WORDS = 5
"""Texts that share a run of so many words are near duplicates; shorter texts are compared whole."""


def near_duplicate_groups(texts: Sequence[str], n_words: int = N_WORDS) -> Index:
    """The group of each text: texts of one group are connected by shared runs of words.

    Parameters
    ----------
    texts : sequence of str
    n_words : int
        Length of a run. A text of fewer words is one run. Case and punctuation do not count.

    Returns
    -------
    int64 [n]
        Numbers from 0 in order of first appearance.
    """
    parent = list(range(len(texts)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first_with: dict[tuple[str, ...], int] = {}
    for i, text in enumerate(texts):
        words = words_of(text)
        for run in runs(words, min(n_words, len(words))):
            j = first_with.setdefault(run, i)
            # The smaller number is the root, so that it does not depend on the order of runs.
            low, high = sorted((root(i), root(j)))
            parent[high] = low
    _, group = np.unique([root(i) for i in range(len(texts))], return_inverse=True)
    return group.astype(np.int64)


def grouped_folds(groups: Index, n_folds: int, seed: int) -> Index:
    """Deal whole groups to folds: the largest first, each to the fold with the fewest texts.

    Parameters
    ----------
    groups : int64 [n]
    n_folds, seed : int
        The seed orders groups of equal size.

    Returns
    -------
    int64 [n]
        The fold of each text.
    """
    names, member, size = np.unique(groups, return_inverse=True, return_counts=True)
    shuffled = np.random.default_rng(seed).permutation(names.size)
    order = shuffled[np.argsort(-size[shuffled], kind="stable")]
    filled = np.zeros(n_folds, dtype=np.int64)
    fold = np.zeros(names.size, dtype=np.int64)
    for k in order:
        fold[k] = filled.argmin()
        filled[fold[k]] += size[k]
    return fold[member]


def bootstrap_interval(
    measure: Callable[[Index], float], groups: Index, *, seed: int, n_resamples: int = 1000
) -> tuple[float, float]:
    """95 % percentile interval of a figure when whole groups are drawn again.

    Parameters
    ----------
    measure : callable
        The figure of the texts with the given numbers (int64, with repeats).
    groups : int64 [n]
    seed, n_resamples : int

    Returns
    -------
    low, high : float
    """
    order = np.argsort(groups, kind="stable")
    _, starts = np.unique(groups[order], return_index=True)
    members = np.split(order, starts[1:])
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(n_resamples):
        drawn = rng.integers(0, len(members), len(members))
        values.append(measure(np.concatenate([members[k] for k in drawn])))
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)
