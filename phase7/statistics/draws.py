"""Random draws of the statistics, each a pure function of (seed, purpose, n).

Nothing here knows a cell, so a cell's numbers cannot depend on which other cells are computed beside it,
nor in what order.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

DRAW_VERSION = 1
"""Part of every key. Raise it when a draw changes meaning, so that old and new never mix."""

SIGN_BLOCK_ROWS = 16_384
"""Sign vectors made at a time. Part of the definition: another size draws other signs."""


def keyed_generator(*, seed: int, purpose: str, n: int) -> np.random.Generator:
    """Make the generator that belongs to one (seed, purpose, n).

    Parameters
    ----------
    seed : int
        The experiment's seed.
    purpose : str
        What is drawn, for example ``"bootstrap"``. Different purposes are independent streams.
    n : int
        How many observations the draw is for.

    Returns
    -------
    numpy.random.Generator
        Philox, a counter-based generator (Salmon et al. 2011), whose 128-bit key is the first
        half of the SHA-256 of a canonical text of the three.
    """
    text = (
        f"phase7.statistics;version={DRAW_VERSION};seed={operator.index(seed)}"
        f";purpose={purpose};n={operator.index(n)}"
    )
    key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
    return np.random.Generator(np.random.Philox(key=key))


def bootstrap_generator(*, seed: int, n: int) -> np.random.Generator:
    """Make the generator of the bootstrap for n prompts.

    Handed to ``scipy.stats.bootstrap(rng=...)`` it draws the very resamples that
    :func:`bootstrap_counts` counts.
    """
    return keyed_generator(seed=seed, purpose="bootstrap", n=n)


def bootstrap_indices(*, seed: int, n: int, n_resamples: int) -> npt.NDArray[np.int64]:
    """Draw the resamples: which of the n prompts each one takes, with replacement.

    Returns
    -------
    int64 array, shape (n_resamples, n)
        Values in 0..n-1.
    """
    return bootstrap_generator(seed=seed, n=n).integers(0, n, size=(n_resamples, n))


def bootstrap_counts(*, seed: int, n: int, n_resamples: int) -> FloatArray:
    """Count how often each resample takes each prompt.

    Returns
    -------
    float64 array, shape (n_resamples, n)
        Whole numbers; every row sums to n. ``counts @ x / n`` are the resampled means of x.
    """
    indices = bootstrap_indices(seed=seed, n=n, n_resamples=n_resamples)
    cell = indices + n * np.arange(n_resamples)[:, None]
    counts = np.bincount(cell.ravel(), minlength=n_resamples * n)
    return counts.reshape(n_resamples, n).astype(np.float64)


def exact_signs(n: int) -> FloatArray:
    """List every way to flip n signs, up to a flip of all of them.

    Flipping all signs negates the mean and leaves its absolute value, so one of each such pair
    is enough for a two-sided test.

    Returns
    -------
    float64 array, shape (2**(n-1), n)
        Entries +1 or -1; the first row, and the last column, are all +1.
    """
    patterns = np.arange(2 ** (n - 1))[:, None] >> np.arange(n)[None, :]
    return 1 - 2 * (patterns & 1).astype(np.float64)


def random_sign_blocks(*, seed: int, purpose: str, n: int, n_resamples: int) -> Iterator[FloatArray]:
    """Draw `n_resamples` sign vectors, a block at a time, so that memory stays bounded.

    Yields
    ------
    float64 array, shape (at most SIGN_BLOCK_ROWS, n)
        Entries +1 or -1, each with probability 1/2, independent.
    """
    generator = keyed_generator(seed=seed, purpose=purpose, n=n)
    for start in range(0, n_resamples, SIGN_BLOCK_ROWS):
        rows = min(SIGN_BLOCK_ROWS, n_resamples - start)
        bits = generator.integers(0, 2, size=(rows, n), dtype=np.int8)
        yield 2 * bits.astype(np.float64) - 1
