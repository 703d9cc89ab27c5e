"""The words of an emotion: lemma families, as ``data/keywords.toml`` lists them.

Counts of keywords in texts and token sets of read-outs start from the same lists.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

from phase7.store.reading import read_text
from phase7.vocabulary.errors import UserError


def load_families(path: Path, emotions: Sequence[str], *, is_strict: bool = True) -> dict[str, set[str]]:
    """Every form of each emotion's families, in lower case and with plain apostrophes.

    Parameters
    ----------
    path : Path
        A file of tables ``[emotion]`` with lines ``lemma = ["form", ...]``.
    emotions : sequence of str
        Names of tables.
    is_strict : bool
        Whether all of them must be there; else an emotion without a table is left out.

    Raises
    ------
    UserError
        If the file is missing or of another form.
    """
    try:
        table = tomllib.loads(read_text(path))
        wanted = [one for one in emotions if is_strict or one in table]
        return {emotion: _forms(table[emotion]) for emotion in wanted}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        tables = ", ".join(f"[{emotion}]" for emotion in emotions)
        raise UserError(
            expected=f"tables {tables} with lines lemma = [forms]",
            got=f"{type(error).__name__}: {error}",
            where=str(path),
            remedy="restore or correct the file",
        ) from error


def _forms(table: dict[str, list[str]]) -> set[str]:
    """All forms of an emotion's families; raises TypeError or ValueError for another form."""
    lists = list(table.values())
    if not all(isinstance(forms, list) for forms in lists):
        raise TypeError("a family must be a list of words")
    forms = {form.replace("\u2019", "'").lower() for family in lists for form in family}
    if not forms or not all(form.strip() for form in forms):
        raise ValueError("an emotion needs words, and none may be blank")
    return forms
