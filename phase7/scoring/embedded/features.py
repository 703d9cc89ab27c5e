"""Hashed features of tokenized texts: word and character n-grams, and token matrices for the network.

Hashed n-grams after Weinberger et al. (2009), "Feature Hashing for Large Scale Multitask Learning",
without the random sign: two n-grams that share a bucket share its weight.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from phase7.scoring.embedded.text import TokenizedTexts, combine

WORD_ORDERS = (1, 2)
CHARACTER_ORDERS = (3, 4, 5)
_SHOUT_SEED = 77


def word_ngrams(
    tokens: TokenizedTexts, orders: tuple[int, ...]
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes of the word n-grams of all texts and the text each belongs to (uint64, int64 [n])."""
    hashes, owners = [], []
    for order in orders:
        n = tokens.hashes.size - order + 1
        if n <= 0:
            continue
        parts = [tokens.hashes[k : k + n] for k in range(order)]
        inside = tokens.token_text[:n] == tokens.token_text[order - 1 : order - 1 + n]
        hashes.append(combine(*parts, seed=order)[inside])
        owners.append(tokens.token_text[:n][inside])
    return _join(hashes, owners)


def character_ngrams(
    tokens: TokenizedTexts, orders: tuple[int, ...]
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes of the character n-grams, spaces included, and their texts (uint64, int64 [n])."""
    hashes, owners = [], []
    for order in orders:
        n = tokens.codes.size - order + 1
        if n <= 0:
            continue
        begin = np.flatnonzero(tokens.code_text[:n] == tokens.code_text[order - 1 : order - 1 + n])
        hashes.append(combine(tokens.span_hashes(begin, begin + order), seed=100 + order))
        owners.append(tokens.code_text[begin])
    return _join(hashes, owners)


def shouted_words(tokens: TokenizedTexts) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes of the words in capitals as features of their own (uint64, int64 [n])."""
    hashes = combine(tokens.hashes[tokens.shouted], seed=_SHOUT_SEED)
    return hashes, tokens.token_text[tokens.shouted]


def count_matrix(
    groups: list[tuple[NDArray[np.uint64], NDArray[np.int64]]], n_texts: int, bits: int
) -> sp.csr_array:
    """Counts per text and bucket.

    Parameters
    ----------
    groups : list of (hashes, owners)
        Each owners array ascending.
    n_texts : int
    bits : int
        The matrix has 2**bits columns; a hash's top bits choose its column.

    Returns
    -------
    csr_array float32 [n_texts, 2**bits]
        Column indices ascending within a row and unique, so that a row's arithmetic has one order.
    """
    hashes, owners = _join([g[0] for g in groups], [g[1] for g in groups])
    keys = (owners << bits) | (hashes >> np.uint64(64 - bits)).astype(np.int64)
    keys.sort()
    first = np.flatnonzero(np.diff(keys, prepend=-1))
    counts = np.diff(first, append=keys.size).astype(np.float32)
    keys = keys[first]
    indptr = np.searchsorted(keys, np.arange(n_texts + 1, dtype=np.int64) << bits)
    columns = (keys & ((1 << bits) - 1)).astype(np.int32)
    return sp.csr_array((counts, columns, indptr), shape=(n_texts, 1 << bits))


def emotion_counts(tokens: TokenizedTexts, bits: int) -> sp.csr_array:
    """Counts of word 1-2-grams, shouted words and character 3-5-grams (float32 csr)."""
    groups = [
        word_ngrams(tokens, WORD_ORDERS),
        shouted_words(tokens),
        character_ngrams(tokens, CHARACTER_ORDERS),
    ]
    return count_matrix(groups, tokens.n_texts, bits)


def _join(
    hashes: list[NDArray[np.uint64]], owners: list[NDArray[np.int64]]
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    if not hashes:
        return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)
    return np.concatenate(hashes), np.concatenate(owners)
