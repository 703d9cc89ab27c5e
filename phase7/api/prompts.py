"""Prompts as Python has them: lists of texts, paths, or data sets with a column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from phase7.experiment.data_files import find_data
from phase7.experiment.prompts import PromptSet, load_prompts, problem_of
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.names import plain_name

#: Texts, the path of a file or folder, or a data set with a column of texts.
Prompts = Any


def as_prompts(given: Prompts, name: str, column: str = "", ids: str = "") -> PromptSet:
    """A set of prompts.

    Parameters
    ----------
    given : sequence of str, str, Path, or data set
        Texts; the path of a file or folder, of which `data/...` also means what phase7 brings; or
        anything with `column_names`, such as a `datasets.Dataset`, or a pandas DataFrame.
    name : str
        What to call texts that have no file's name.
    column, ids : str
        Of a table: the column of the texts, and the one of their scenarios.

    Raises
    ------
    UserError
        If it cannot be read, or holds no prompt, an empty one or one twice.
    """
    if isinstance(given, PromptSet):
        return given
    if isinstance(given, str | Path):
        return load_prompts(find_data(given, Path()), column=column, ids=ids)
    columns = getattr(given, "column_names", None)
    if columns is None and hasattr(given, "columns"):
        columns = list(given.columns)
    if columns is None:
        return _of_texts(given, name)
    chosen = {}
    for one in filter(None, (column, ids)):
        if one not in columns:
            raise UserError(
                expected=f"one of the columns {', '.join(map(str, columns))}"[:200],
                got=repr(one),
                where=f"prompts {name!r}",
                remedy="name the column of the texts",
            )
        chosen[one] = list(given[one])
    if not column:
        raise UserError(
            expected=f"the name of one of the columns {', '.join(map(str, columns))}"[:200],
            got="none",
            where=f"prompts {name!r}",
            remedy="give column=",
        )
    return _of_texts(chosen[column], name, [str(one) for one in chosen.get(ids, ())])


def read_prompts(path: str | Path, *, column: str = "") -> list[str]:
    """The prompts of a file or folder, as a list to choose from.

    Parameters
    ----------
    path : str or Path
        As everywhere; `data/...` also means what phase7 brings.
    column : str
        Of a table: the column of the texts.

    Returns
    -------
    list of str

    Raises
    ------
    UserError
        If it cannot be read, or holds no prompt, an empty one or one twice.

    Examples
    --------
    >>> read_prompts("data/neutral_prompts.json")[1]
    'My train gets in at 6.40, so you'
    """
    return list(as_prompts(path, "prompts", column).prompts)


def _of_texts(given: Iterable[Any], name: str, scenarios: Sequence[str] = ()) -> PromptSet:
    try:
        texts = list(given)
    except TypeError:
        texts = [None]
    problem = "" if all(isinstance(text, str) for text in texts) else "something other than texts"
    problem = problem or problem_of(texts)
    if problem:
        raise UserError(
            expected="a list of texts, a path, or a data set and its column",
            got=problem,
            where=f"prompts {name!r}",
            remedy="correct the prompts",
        )
    return PromptSet(name=plain_name(name), path="", prompts=tuple(texts), scenarios=tuple(scenarios))
