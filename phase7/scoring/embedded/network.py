"""The convolution over words, in exact integer arithmetic: from tokens to one logit for each label.

A token's vector is the sum of a hashed word vector, the hashed vectors of its character 3-5-grams
divided by the square root of their number (after Bojanowski et al. 2017, "Enriching Word Vectors with
Subword Information"), a vector for words in capitals, and two vectors weighted by the word's positive
and negative valence in VADER's lexicon. Convolutions of widths 1, 3 and 5 (Kim 2014, "Convolutional
Neural Networks for Sentence Classification") with ReLU are pooled by their maximum and by one attention
head; a linear layer reads both.

Floating-point sums depend on their order, and the order inside a matrix product depends on the shape of
the batch. Here token vectors, kernels and the last layers are integers, small enough that every sum is
an integer below 2^24 in float32 or below 2^53 in float64. Such sums are exact in any order, so a text's
logits do not depend on the texts beside it, to the bit. A text without tokens gets the logits of an
empty sequence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phase7.scoring.embedded.features import CHARACTER_ORDERS, character_ngrams
from phase7.scoring.embedded.text import TokenizedTexts, spelled

WIDTHS = (1, 3, 5)
_WINDOW = max(WIDTHS)
_HALF = _WINDOW // 2
TOKEN_LIMIT = 127
"""Largest absolute value of a token vector's integers and of a kernel's."""
_ATTENTION_UNITS = 1 << 16

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class NetworkParameters:
    """Quantised parameters; the float arrays hold whole numbers unless said otherwise.

    Attributes
    ----------
    words : int8 [n_word_buckets, d]
    subwords : int8 [n_subword_buckets, d]
    word_unit, subword_unit : float
        Size of one integer step of the two tables, in steps of the token vector (not whole numbers).
    shouted : float64 [d]
        Added for a word in capitals, in steps of the token vector (not whole numbers).
    valence : float64 [2, d]
        Added per unit of positive and negative valence, likewise.
    lexicon_hashes : uint64 [n_words]
        Sorted hashes of the words that have a valence.
    lexicon_valence : float64 [n_words, 2]
        Positive and negative part of each word's valence, in units of two VADER points.
    kernels : float32 [5 * d, n_channels]
        All kernels side by side in one window of five tokens; narrow ones are padded with zeros.
    kernel_bias : float32 [n_channels]
        In the accumulator's unit.
    attention : float64 [n_channels]
        Attention weights, with `attention_unit` (float) in logits per unit.
    output : float64 [2 * n_channels, n_labels]
        Last layer on (maximum, attention) pools, with `output_unit` (float64 [n_labels]).
    output_bias : float64 [n_labels]
        In logits.
    """

    words: NDArray[np.int8]
    subwords: NDArray[np.int8]
    word_unit: float
    subword_unit: float
    shouted: Floats
    valence: Floats
    lexicon_hashes: NDArray[np.uint64]
    lexicon_valence: Floats
    kernels: NDArray[np.float32]
    kernel_bias: NDArray[np.float32]
    attention: Floats
    attention_unit: float
    output: Floats
    output_unit: Floats
    output_bias: Floats


def table_bits(table: NDArray[np.int8]) -> int:
    """Number of hash bits that choose a row of `table`."""
    return int(table.shape[0]).bit_length() - 1


def subword_buckets(
    tokens: TokenizedTexts, index: NDArray[np.int64], bits: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Buckets of the character 3-5-grams of chosen tokens, the spaces around them included.

    Parameters
    ----------
    tokens : TokenizedTexts
    index : int64 [n]
        Which tokens.
    bits : int
        A hash's top bits choose one of 2**bits buckets.

    Returns
    -------
    buckets : int64 [n_grams]
        Token by token, repeats included.
    first : int64 [n + 1]
        N-grams of the i-th chosen token are ``first[i]:first[i + 1]``.
    """
    hashes, owners = character_ngrams(spelled(tokens, index), CHARACTER_ORDERS)
    order = np.argsort(owners, kind="stable")
    buckets = (hashes[order] >> np.uint64(64 - bits)).astype(np.int64)
    return buckets, np.searchsorted(owners[order], np.arange(index.size + 1))


def lexicon_values(
    hashes: NDArray[np.uint64], lexicon_hashes: NDArray[np.uint64], lexicon_valence: Floats
) -> Floats:
    """Positive and negative valence of each token, 0 for words outside the lexicon (float64 [n, 2])."""
    index = np.minimum(np.searchsorted(lexicon_hashes, hashes), lexicon_hashes.size - 1)
    known = lexicon_hashes[index] == hashes
    return np.asarray(lexicon_valence[index] * known[:, None])


def token_vectors(tokens: TokenizedTexts, parameters: NetworkParameters) -> NDArray[np.float32]:
    """Vector of every token, whole numbers in [-127, 127] (float32 [n_tokens, d])."""
    unique, first, inverse = np.unique(tokens.hashes, return_index=True, return_inverse=True)
    buckets = (unique >> np.uint64(64 - table_bits(parameters.words))).astype(np.int64)
    grams, first_gram = subword_buckets(tokens, first, table_bits(parameters.subwords))
    # Every token is spelled with its two spaces, so it has at least one 3-gram.
    scale = parameters.subword_unit / np.sqrt(np.diff(first_gram))
    sums = np.add.reduceat(parameters.subwords[grams].astype(np.float32), first_gram[:-1], axis=0)
    vectors = parameters.words[buckets].astype(np.float64) * parameters.word_unit
    vectors += sums * scale[:, None]
    valence = lexicon_values(unique, parameters.lexicon_hashes, parameters.lexicon_valence)
    vectors += valence[:, :1] * parameters.valence[0]
    vectors += valence[:, 1:] * parameters.valence[1]
    vectors = vectors[inverse] + tokens.shouted[:, None] * parameters.shouted
    return np.clip(np.rint(vectors), -TOKEN_LIMIT, TOKEN_LIMIT).astype(np.float32)


def network_logits(tokens: TokenizedTexts, parameters: NetworkParameters) -> Floats:
    """Logits of all texts (float64 [n_texts, n_labels])."""
    n_channels = parameters.kernels.shape[1]
    pooled = np.zeros((tokens.n_texts, 2 * n_channels))
    filled = np.flatnonzero(np.diff(tokens.first_token))
    if filled.size:
        vectors = token_vectors(tokens, parameters)
        hidden = _windows(vectors, tokens.token_text, tokens.n_texts) @ parameters.kernels
        hidden += parameters.kernel_bias
        np.maximum(hidden, 0.0, out=hidden)
        starts = tokens.first_token[filled]
        lengths = np.diff(tokens.first_token)[filled]
        pooled[filled, :n_channels] = np.maximum.reduceat(hidden, starts, axis=0)
        wide = hidden.astype(np.float64)
        pooled[filled, n_channels:] = _attend(wide, starts, lengths, parameters)
    return (pooled @ parameters.output) * parameters.output_unit + parameters.output_bias


def _windows(
    vectors: NDArray[np.float32], owner: NDArray[np.int64], n_texts: int
) -> NDArray[np.float32]:
    """Each token's window of five token vectors, zeros beyond its text (float32 [n_tokens, 5 d])."""
    size = vectors.shape[1]
    # Two empty rows between texts keep every window inside its own text.
    rows = np.arange(owner.size) + _HALF * (owner + 1)
    stream = np.zeros((owner.size + _HALF * (n_texts + 1), size), dtype=np.float32)
    stream[rows] = vectors
    return np.concatenate([stream[rows + k - _HALF] for k in range(_WINDOW)], axis=1)


def _attend(
    hidden: Floats,
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    parameters: NetworkParameters,
) -> Floats:
    """Attention-weighted mean of the hidden units per text, rounded to whole numbers."""
    scores = (hidden @ parameters.attention) * parameters.attention_unit
    scores -= np.repeat(np.maximum.reduceat(scores, starts), lengths)
    shares = np.rint(np.exp(scores) * _ATTENTION_UNITS)
    total = np.add.reduceat(shares, starts)
    hidden *= shares[:, None]
    return np.rint(np.add.reduceat(hidden, starts, axis=0) / total[:, None])
