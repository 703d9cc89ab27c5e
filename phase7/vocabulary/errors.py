"""Errors a user can act on.

A :class:`UserError` states one mistake in one line: what was expected, what came instead, where, and
what to do about it. The command line prints that line and exits with code 2.
"""

from __future__ import annotations

from functools import partial
from typing import Any


class Phase7Error(Exception):
    """Base of every error that phase7 raises on purpose."""


class UserError(Phase7Error):
    """A mistake in what the user gave, stated in one line.

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
        """Pickle the four facts, so that an error raised in a worker process arrives whole."""
        facts = {name: getattr(self, name) for name in ("expected", "got", "where", "remedy")}
        return partial(type(self), **facts), ()


class SelfCheckError(Phase7Error):
    """A self-donor row differed from its baseline: the run's numbers would mean nothing."""
