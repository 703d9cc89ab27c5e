"""Sets of tokens whose probability is read out: an emotion's words, or a user's own.

A word belongs to a set by those of its spellings that are one token for the tokenizer at hand: with and
without a leading space, in lower case and capitalised. Of a word that is always split, the first token
says little (" app" starts "appreciate" and "apple"), so such a word is left out or refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from phase7.vocabulary.errors import UserError


def form_token_set(
    tokenizer: Any, emotion: str, forms: Collection[str], *, where: str
) -> tuple[int, ...]:
    """The tokens that are a word of an emotion.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
    emotion : str
        Whose words they are, for an error.
    forms : collection of str
        Every form of its words. Those that are no single token are left out.
    where : str
        The file that lists them, for an error.

    Returns
    -------
    tuple of int
        Distinct ids, ascending; at least one.

    Raises
    ------
    UserError
        If no form is one token.
    """
    ids = known_forms(tokenizer, forms)
    if not ids:
        raise UserError(
            expected=f"a word of {emotion} that is a single token of this model",
            got=f"none among {len(forms)} forms",
            where=f"{where} [{emotion}]",
            remedy="choose another model, or declare words of your own that it has tokens for",
        )
    return ids


def known_forms(tokenizer: Any, forms: Collection[str]) -> tuple[int, ...]:
    """As :func:`form_token_set`, but empty where no form is one token."""
    ids = {token for form in forms for token in _tokens(tokenizer, (form, _capitalised(form)))}
    return tuple(sorted(ids))


def word_token_set(tokenizer: Any, words: Sequence[str], *, where: str) -> tuple[int, ...]:
    """The tokens that are one of some words.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
    words : sequence of str
        At least one. Each is looked up as it is written, too; blanks around it do not matter.
    where : str
        The option or key that named them, for an error.

    Returns
    -------
    tuple of int
        Distinct ids, ascending.

    Raises
    ------
    UserError
        If there is no word, a blank one, or one that is a single token in no spelling.
    """
    plain = [word.strip() for word in words]
    if not all(plain) or not plain:
        raise UserError(
            expected="at least one word, and none blank",
            got=f"{list(words)}",
            where=where,
            remedy='name words such as "joy", "glad"',
        )
    ids: set[int] = set()
    for word in plain:
        found = _tokens(tokenizer, (word, word.lower(), _capitalised(word.lower())))
        if not found:
            pieces = tokenizer.convert_ids_to_tokens(_encoded(tokenizer, f" {word}"))
            raise UserError(
                expected="words that are a single token of this model",
                got=f"{word!r}, which it reads as {' + '.join(map(str, pieces))[:80]}",
                where=where,
                remedy="leave the word out, or name a shorter form of it",
            )
        ids |= found
    return tuple(sorted(ids))


def _tokens(tokenizer: Any, spellings: Iterable[str]) -> set[int]:
    """The ids of those spellings, each also behind a space, that are one known token."""
    found = set()
    for text in {variant for word in spellings for variant in (word, f" {word}")}:
        ids = _encoded(tokenizer, text)
        if len(ids) == 1 and ids[0] != tokenizer.unk_token_id:
            found.add(ids[0])
    return found


def _encoded(tokenizer: Any, text: str) -> list[int]:
    return [int(i) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def _capitalised(word: str) -> str:
    """The first letter in upper case, the others as they are."""
    return word[:1].upper() + word[1:]
