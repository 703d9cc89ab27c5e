"""Texts to tokens, as arrays.

All texts of a list become one `TokenizedTexts`: their normalised characters in one array, and the tokens
cut from them with a 64-bit hash each. Characters after the first `MAX_CHARACTERS` of a text are ignored.

The arithmetic is integer arithmetic modulo 2^64 on code points, so the hashes are the same in every
process and on every machine, and a text's tokens do not depend on the texts beside it.

A token's hash is a polynomial one: H(c_0 ... c_{n-1}) = sum_k m(c_k) B^k modulo 2^64, where m mixes a
code point and B is odd. With prefix sums S_i of m(c_i) B^i over the whole batch, the hash of any span is
(S_end - S_start) B^-start, which makes every token of every text one vectorised subtraction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_CHARACTERS = 4000
"""Characters of a text that are read; a generated continuation has a few hundred."""

_BASE = 0x9E3779B97F4A7C15
_BASE_INVERSE = pow(_BASE, -1, 1 << 64)
_MASK = (1 << 64) - 1

_SPACE, _WORD, _SYMBOL, _IGNORED = 0, 1, 2, 3
_APOSTROPHE = ord("'")
_LOWER_TABLE_SIZE = 0x500
_SYMBOL_RANGES = (
    (0x80, 0xAA),
    (0xAB, 0xB5),
    (0xB6, 0xBA),
    (0xBB, 0xC0),
    (0x2010, 0x2028),
    (0x2030, 0x205F),
    (0x20A0, 0x20D0),
    (0x2100, 0x2C00),
    (0x3001, 0x3031),
    (0x1F000, 0x20000),
)
_SPACE_CODES = (0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)
_IGNORED_RANGES = ((0x200B, 0x2010), (0xFE00, 0xFE10), (0x1F3FB, 0x1F400))


@dataclass(frozen=True, kw_only=True)
class TokenizedTexts:
    """All texts of one batch, concatenated.

    Attributes
    ----------
    n_texts : int
    codes : uint64 [n_characters]
        Normalised code points: lower case, straight apostrophes, digits as ``0``, runs of three or
        more equal characters cut to two, runs of white space cut to one space. Every text begins and
        ends with one space.
    code_text : int64 [n_characters]
        Index of the text that a character belongs to.
    starts, ends : int64 [n_tokens]
        Half-open span of each token in `codes`.
    token_text : int64 [n_tokens]
        Index of the text that a token belongs to; ascending.
    hashes : uint64 [n_tokens]
        Hash of each token's characters.
    shouted : bool [n_tokens]
        True for a word of two or more letters written in capitals throughout.
    first_token : int64 [n_texts + 1]
        Tokens of text i are ``first_token[i]:first_token[i + 1]``.
    prefix, base_inverse : uint64 [n_characters + 1]
        Prefix sums and the inverse powers of the base, for `span_hashes`.
    """

    n_texts: int
    codes: NDArray[np.uint64]
    code_text: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    token_text: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    shouted: NDArray[np.bool_]
    first_token: NDArray[np.int64]
    prefix: NDArray[np.uint64]
    base_inverse: NDArray[np.uint64]

    def span_hashes(self, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Hash the characters ``codes[starts[i]:ends[i]]`` for every i (uint64, shape of `starts`)."""
        return mix((self.prefix[ends] - self.prefix[starts]) * self.base_inverse[starts])


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread 64-bit values so that every input bit moves every output bit (splitmix64's finaliser)."""
    with np.errstate(over="ignore"):
        z = values ^ (values >> np.uint64(30))
        z = z * np.uint64(0xBF58476D1CE4E5B9)
        z ^= z >> np.uint64(27)
        z *= np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return z


def combine(*parts: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """Hash a sequence of hashes, order-sensitive (uint64, shape of the parts)."""
    with np.errstate(over="ignore"):
        total = np.full_like(parts[0], seed)
        for part in parts:
            total = mix(total * np.uint64(_BASE) + part)
    return total


def hash_word(word: str) -> int:
    """Hash that `tokenize` gives to a token spelled `word` (already normalised)."""
    total, power = 0, 1
    for character in word:
        total = (total + _mixed_code(ord(character)) * power) & _MASK
        power = (power * _BASE) & _MASK
    return int(mix(np.array([total], dtype=np.uint64))[0])


def tokenize(texts: Sequence[str]) -> TokenizedTexts:
    """Normalise and cut texts.

    Parameters
    ----------
    texts : sequence of str
        Any strings: empty ones, control characters and lone surrogates included.

    Returns
    -------
    TokenizedTexts
        Words are runs of letters, digits and inner apostrophes; every other visible character is a
        token of its own.
    """
    return _cut(*_normalise(texts), len(texts))


def spelled(tokens: TokenizedTexts, index: NDArray[np.int64]) -> TokenizedTexts:
    """Chosen tokens as texts of their own, each between two spaces.

    Parameters
    ----------
    tokens : TokenizedTexts
    index : int64 [n]
        Which tokens.
    """
    lengths = tokens.ends[index] - tokens.starts[index] + 2
    owner = np.repeat(np.arange(index.size), lengths)
    begin = np.cumsum(lengths) - lengths
    place = np.arange(owner.size) - begin[owner]
    # A token has at least one character, so the clipped positions exist.
    source = np.clip(tokens.starts[index][owner] + place - 1, 0, tokens.codes.size - 1)
    inside = (place > 0) & (place < lengths[owner] - 1)
    codes = np.where(inside, tokens.codes[source], np.uint64(0x20))
    return _cut(codes, np.zeros(codes.size, dtype=bool), owner, index.size)


def _cut(
    codes: NDArray[np.uint64], capital: NDArray[np.bool_], owner: NDArray[np.int64], n_texts: int
) -> TokenizedTexts:
    """Find and hash the tokens of normalised characters."""
    prefix, base_inverse = _prefix_sums(codes)
    starts, ends = _token_spans(codes, _classes(codes))
    token_text = owner[starts]
    capitals = np.concatenate([[0], np.cumsum(capital)])
    n_capitals = capitals[ends] - capitals[starts]
    return TokenizedTexts(
        n_texts=n_texts,
        codes=codes,
        code_text=owner,
        starts=starts,
        ends=ends,
        token_text=token_text,
        hashes=mix((prefix[ends] - prefix[starts]) * base_inverse[starts]),
        shouted=(n_capitals >= 2) & (n_capitals == ends - starts),
        first_token=np.searchsorted(token_text, np.arange(n_texts + 1)),
        prefix=prefix,
        base_inverse=base_inverse,
    )


def _normalise(
    texts: Sequence[str],
) -> tuple[NDArray[np.uint64], NDArray[np.bool_], NDArray[np.int64]]:
    """Concatenate the texts as (code points, was it a capital, index of its text)."""
    padded = [f" {text[:MAX_CHARACTERS]} " for text in texts]
    lengths = np.array([len(text) for text in padded], dtype=np.int64)
    data = "".join(padded).encode("utf-32-le", "surrogatepass")
    raw = np.frombuffer(data, dtype=np.uint32).astype(np.int64)
    owner = np.repeat(np.arange(len(texts)), lengths)
    codes = raw.copy()
    small = codes < _LOWER_TABLE_SIZE
    codes[small] = _LOWER[codes[small]]
    capital = codes != raw
    codes[(codes == 0x2019) | (codes == 0x2018) | (codes == 0x60)] = _APOSTROPHE
    codes[(codes >= 0x30) & (codes <= 0x39)] = 0x30
    classes = _classes(codes)
    codes[classes == _SPACE] = 0x20
    keep = classes != _IGNORED
    codes, capital, owner = codes[keep], capital[keep], owner[keep]
    keep = np.ones(codes.size, dtype=bool)
    same = (codes[1:] == codes[:-1]) & (owner[1:] == owner[:-1])
    keep[1:] &= ~(same & (codes[1:] == 0x20))
    keep[2:] &= ~(same[1:] & same[:-1])
    return codes[keep].astype(np.uint64), capital[keep], owner[keep]


def _build_tables() -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Lower-case and character-class tables, from fixed ranges so that no Unicode version matters."""
    lower = np.arange(_LOWER_TABLE_SIZE, dtype=np.int64)
    for code in range(_LOWER_TABLE_SIZE):
        lowered = chr(code).lower()
        if len(lowered) == 1 and ord(lowered) < _LOWER_TABLE_SIZE:
            lower[code] = ord(lowered)
    classes = np.full(0x20000, _WORD, dtype=np.uint8)
    classes[:0x21] = _SPACE
    classes[0x21:0x80] = _SYMBOL
    for first, last in (("0", "9"), ("a", "z"), ("A", "Z")):
        classes[ord(first) : ord(last) + 1] = _WORD
    classes[0x7F] = _SPACE
    for first_code, after in _SYMBOL_RANGES:
        classes[first_code:after] = _SYMBOL
    for first_code, after in _IGNORED_RANGES:
        classes[first_code:after] = _IGNORED
    classes[list(_SPACE_CODES)] = _SPACE
    return lower, classes


_LOWER, _CLASS = _build_tables()


def _classes(codes: NDArray[np.int64] | NDArray[np.uint64]) -> NDArray[np.uint8]:
    return _CLASS[np.minimum(codes, len(_CLASS) - 1).astype(np.int64)]


def _token_spans(
    codes: NDArray[np.uint64], classes: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Half-open spans of all tokens, ascending; a text's own spaces keep tokens inside it."""
    word = classes == _WORD
    inner = np.zeros_like(word)
    inner[1:-1] = (codes[1:-1] == _APOSTROPHE) & word[:-2] & word[2:]
    word |= inner
    symbol = (classes == _SYMBOL) & ~inner
    before = np.concatenate([[False], word[:-1]])
    after = np.concatenate([word[1:], [False]])
    starts = np.flatnonzero((word & ~before) | symbol)
    ends = np.flatnonzero((word & ~after) | symbol) + 1
    return starts, ends


_powers: list[NDArray[np.uint64]] = []


def _power_tables(size: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """B^i and B^-i for i < size, kept between calls because they are the same for every batch."""
    if not _powers or _powers[0].size < size:
        with np.errstate(over="ignore"):
            ones = np.ones(max(size, 1 << 16), dtype=np.uint64)
            ones[1:] = _BASE
            forward = np.multiply.accumulate(ones)
            ones[1:] = _BASE_INVERSE
            _powers[:] = [forward, np.multiply.accumulate(ones)]
    return _powers[0][:size], _powers[1][:size]


def _prefix_sums(codes: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    power, inverse = _power_tables(codes.size + 1)
    prefix = np.zeros(codes.size + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        mixed = (codes + np.uint64(1)) * np.uint64(0xD6E8FEB86659FD93)
        np.cumsum(mixed * power[:-1], out=prefix[1:])
    return prefix, inverse


def _mixed_code(code: int) -> int:
    return ((code + 1) * 0xD6E8FEB86659FD93) & _MASK
