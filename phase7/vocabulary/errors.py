"""Errors that a user can act on.

Each says what was expected, what came, where, and what to do, in one line. The command line prints that
line and exits with code 2; anything else that reaches the user is a bug.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from functools import partial
from typing import Any


class Phase7Error(Exception):
    """Base of every error that phase7 raises on purpose."""


class UserError(Phase7Error):
    """A mistake in what the user gave, told in one line.

    Parameters
    ----------
    expected : str
        What would have been right.
    got : str
        What came instead.
    where : str
        The file, option or key that held it.
    remedy : str
        What to do about it.
    """

    def __init__(self, *, expected: str, got: str, where: str, remedy: str) -> None:
        self.expected, self.got, self.where, self.remedy = expected, got, where, remedy
        text = f"{where}: expected {expected}, got {got}; {remedy}"
        super().__init__(" ".join(text.split()))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the facts, so that the error of a worker process arrives whole."""
        facts = {name: getattr(self, name) for name in ("expected", "got", "where", "remedy")}
        return partial(type(self), **facts), ()


def or_meant(name: str, known: Iterable[str], remedy: str) -> str:
    """A remedy that begins with the known name nearest to `name`, where one is near.

    Parameters
    ----------
    name : str
        What was written, of any length.
    known : iterable of str
    remedy : str
        What to do otherwise.
    """
    by_lower = {one.lower(): one for one in known}
    found = get_close_matches(name[:200].lower(), by_lower, n=1, cutoff=0.7)
    return f"did you mean {by_lower[found[0]]}? else {remedy}" if found else remedy


class SelfCheckError(Phase7Error):
    """A self-donor row differed from its baseline: the run's numbers would mean nothing."""
