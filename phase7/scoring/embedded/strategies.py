"""Politeness strategies and sentiment words, found in tokens: a column for each, a row for each text.

The strategies follow the list of Danescu-Niculescu-Mizil et al. (2013), "A computational approach to
politeness with application to social factors" (table 3): gratitude, deference, greeting, apology, the
place of "please", direct questions and starts, modals, persons, hedges, factuality, and counts of
positive and negative words. They are found by word lists of our own, without a parser.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from phase7.scoring.embedded.text import TokenizedTexts, hash_word

Hashes = NDArray[np.uint64]
Mask = NDArray[np.bool_]

WORD_LISTS: Mapping[str, str] = {
    "gratitude": (
        "thank thanks thanking thankful appreciate appreciated appreciates grateful thx ty cheers"
    ),
    "deference": (
        "great nice good interesting awesome excellent impressive helpful kind kindly wonderful"
    ),
    "greeting": "hi hey hello greetings dear howdy",
    "apology": "sorry apologies apologize apologise apology excuse forgive pardon oops",
    "please": "please pls plz",
    "question_word": "what why who whom how when where which whose",
    "abrupt_start": "so then and but or well ok okay",
    "counterfactual_modal": "could would might",
    "indicative_modal": "can will shall may",
    "first_singular": "i i'm i've i'd i'll me my mine myself",
    "first_plural": "we we're we've we'd we'll us our ours ourselves",
    "second_person": "you you're you've you'd you'll your yours yourself",
    "hedge": (
        "maybe perhaps possibly probably seems seem seemed appears think thought believe "
        "suppose guess wonder wondering somewhat likely suggest suggested assume apparently "
        "possible quite rather"
    ),
    "factuality": "actually really fact truth point reality honestly clearly obviously",
    "negation": (
        "not no never don't doesn't didn't isn't aren't won't can't cannot wouldn't shouldn't nothing"
    ),
    "obligation": "must should need needs stop ought have has",
    "invitation": "mind possible chance willing happy glad help like feel",
    "insult": (
        "stupid idiot idiots dumb ridiculous nonsense bullshit fuck fucking shit crap damn "
        "hell pathetic liar lazy useless pointless garbage vandal vandalism moron"
    ),
}
"""Space-separated words of each list, lower case, all of our own choosing."""

FEATURE_NAMES: tuple[str, ...] = (
    *(f"any_{name}" for name in WORD_LISTS),
    "greeting_first",
    "please_first",
    "please_later",
    "question_word_first",
    "abrupt_first",
    "first_person_first",
    "second_person_first",
    "could_you",
    "can_you",
    "could_i",
    "count_second_person",
    "count_first_singular",
    "question_marks",
    "exclamation_marks",
    "ellipses",
    "shouted",
    "log_tokens",
    "positive_words",
    "negative_words",
    "no_positive_words",
)


def strategy_features(tokens: TokenizedTexts, positive: Hashes, negative: Hashes) -> NDArray[np.float64]:
    """Measure the strategies.

    Parameters
    ----------
    tokens : TokenizedTexts
    positive, negative : uint64 [n]
        Sorted hashes of words of positive and of negative valence.

    Returns
    -------
    float64 [n_texts, len(FEATURE_NAMES)]
        Booleans as 0 or 1, counts as min(log(1 + count), 3).
    """
    found = {name: np.isin(tokens.hashes, table) for name, table in _LISTS.items()}
    present, amount = partial(_present, tokens), partial(_amount, tokens)
    dots = tokens.hashes == hash_word(".")
    positive_words = np.isin(tokens.hashes, positive)
    columns = [
        *(present(found[name]) for name in WORD_LISTS),
        *(present(mask) for mask in _by_place(tokens, found)),
        amount(found["second_person"]),
        amount(found["first_singular"]),
        amount(tokens.hashes == hash_word("?")),
        amount(tokens.hashes == hash_word("!")),
        amount(dots & _followed_by(dots, tokens.token_text)),
        amount(tokens.shouted),
        np.minimum(np.log1p(np.diff(tokens.first_token)), 6.0),
        amount(positive_words),
        amount(np.isin(tokens.hashes, negative)),
        1.0 - present(positive_words),
    ]
    return np.stack(columns, axis=1)


def _by_place(tokens: TokenizedTexts, found: dict[str, Mask]) -> list[Mask]:
    """Tokens whose place in the text, or whose next token, makes a strategy of them."""
    owner = tokens.token_text
    place = np.arange(tokens.hashes.size) - tokens.first_token[owner]
    first, early = place == 0, place < 3
    next_you = _followed_by(found["you_or_ya"], owner)
    next_i = _followed_by(found["i_or_we"], owner)
    return [
        found["greeting"] & early,
        found["please"] & first,
        found["please"] & ~first,
        found["question_word"] & first,
        found["abrupt_start"] & first,
        (found["first_singular"] | found["first_plural"]) & first,
        found["second_person"] & first,
        found["counterfactual_modal"] & next_you,
        found["indicative_modal"] & next_you,
        (found["counterfactual_modal"] | found["indicative_modal"]) & next_i,
    ]


def _count(tokens: TokenizedTexts, mask: Mask) -> NDArray[np.float64]:
    """Tokens of each text in `mask` (float64 [n_texts])."""
    owners = tokens.token_text[mask]
    return np.bincount(owners, minlength=tokens.n_texts).astype(np.float64)


def _present(tokens: TokenizedTexts, mask: Mask) -> NDArray[np.float64]:
    return np.minimum(_count(tokens, mask), 1.0)


def _amount(tokens: TokenizedTexts, mask: Mask) -> NDArray[np.float64]:
    return np.minimum(np.log1p(_count(tokens, mask)), 3.0)


def _followed_by(mask: Mask, owner: NDArray[np.int64]) -> Mask:
    """Whether the next token of the same text is in `mask`."""
    result = np.zeros_like(mask)
    result[:-1] = mask[1:] & (owner[1:] == owner[:-1])
    return result


def _hash_list(words: str) -> Hashes:
    return np.array(sorted(hash_word(word) for word in words.split()), dtype=np.uint64)


_LISTS: dict[str, Hashes] = {name: _hash_list(words) for name, words in WORD_LISTS.items()}
_LISTS["you_or_ya"] = _hash_list("you ya u")
_LISTS["i_or_we"] = _hash_list("i we")
