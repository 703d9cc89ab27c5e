"""Patch modes and position policies, as tables that plan, engine and labels iterate over.

A new mode is a record here and a recipe of the same name in :mod:`phase7.engine.patch.recipes`; a test
holds the two together, and a mode without a recipe is an error wherever it is used. Definitions:
docs/method.md.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from phase7.vocabulary.errors import UserError

Mode = Literal["result", "v_only", "pattern_v"]

#: A policy of positions: one of :data:`POSITIONS`, or a single query, ``step:3`` or ``prompt:-2``.
Positions = str

#: Of which run: the patched one itself, or the donor's.
Source = Literal["recipient", "donor"]


@dataclass(frozen=True, kw_only=True)
class ModeRecord:
    """How a mode makes a head's new output.

    Attributes
    ----------
    pattern, value : {"recipient", "donor"} or None
        Whose attention is applied to whose values; None where the donor's output is taken whole.
    circuit : {"ov", "qk", "fixed"}
        What an effect of this mode shows when no mode before it in this order has one: that the donor's
        values alone do it, that its attention is needed, or only that its output is.
    long_name : str
        What is written, in a few words.
    """

    pattern: Source | None
    value: Source | None
    circuit: Literal["ov", "qk", "fixed"]
    long_name: str

    @property
    def reads_pattern(self) -> bool:
        """Whether the attention pattern must be readable before the head's output is used."""
        return self.pattern is not None


#: By name, in the order of every array; `result` first because it is the plainest.
MODE_RECORDS: Mapping[str, ModeRecord] = MappingProxyType(
    {
        "result": ModeRecord(
            pattern=None, value=None, circuit="fixed", long_name="the donor's head output"
        ),
        "v_only": ModeRecord(
            pattern="recipient",
            value="donor",
            circuit="ov",
            long_name="the recipient's attention over the donor's values",
        ),
        "pattern_v": ModeRecord(
            pattern="donor",
            value="donor",
            circuit="qk",
            long_name="the donor's attention over the donor's values",
        ),
    }
)
MODES: tuple[Mode, ...] = typing.get_args(Mode)


def mode_place(mode: Mode) -> int:
    """Where a mode stands in :data:`MODES`, and so on the axis of every array that is written."""
    return MODES.index(mode)


@dataclass(frozen=True, kw_only=True)
class PositionRecord:
    """Which queries are patched.

    Attributes
    ----------
    first, last : int or None
        The first and the last patched query, counted from the prompt's last token: 0 is that token, 1
        the first generated one, -1 the token before. None: as far as there are queries.
    """

    first: int | None
    last: int | None

    @property
    def from_start(self) -> bool:
        """Whether queries before the prompt's last token are patched.

        The donor is then captured at every query, and every row computes the prompt itself.
        """
        return self.first is None or self.first < 0

    def queries(self, n_prompt: int, n_queries: int) -> range:
        """Absolute positions of the patched queries among the first `n_queries`; may be empty.

        Parameters
        ----------
        n_prompt : int
            Tokens of the recipient prompt.
        """
        start = 0 if self.first is None else n_prompt - 1 + self.first
        end = n_queries if self.last is None else min(n_queries, n_prompt + self.last)
        return range(start, max(start, end)) if start >= 0 else range(0)

    def among(self, n_prompt: int, queries: range) -> list[bool]:
        """Which of some queries, by absolute position, are patched."""
        patched = self.queries(n_prompt, queries.stop)
        return [query in patched for query in queries]


POSITION_RECORDS: Mapping[Positions, PositionRecord] = MappingProxyType(
    {
        "generated": PositionRecord(first=0, last=None),
        "last": PositionRecord(first=0, last=0),
        "all": PositionRecord(first=None, last=None),
    }
)
POSITIONS: tuple[Positions, ...] = tuple(POSITION_RECORDS)

#: How policies are written, for a user.
POSITIONS_IN_WORDS = f"one of {', '.join(POSITIONS)}, step:N (N from 0) or prompt:-N (N from 1)"

_STEP = re.compile(r"step:(\d{1,6})", re.ASCII)
_PROMPT = re.compile(r"prompt:-([1-9]\d{0,5})", re.ASCII)


def position_record(positions: Positions, where: str = "positions") -> PositionRecord:
    """The queries of a policy.

    Parameters
    ----------
    positions : str
        A name of :data:`POSITION_RECORDS`; ``step:t``, the query from which generated token t is drawn,
        the first one being token 0; or ``prompt:-k``, the prompt's k-th token from its end.
    where : str
        What to call the source in an error.

    Raises
    ------
    UserError
        If it is written in another way.

    Examples
    --------
    >>> list(position_record("step:2").queries(n_prompt=5, n_queries=9))
    [6]
    >>> list(position_record("prompt:-2").queries(n_prompt=5, n_queries=9))
    [3]
    """
    if positions in POSITION_RECORDS:
        return POSITION_RECORDS[positions]
    step, prompt = (pattern.fullmatch(str(positions)) for pattern in (_STEP, _PROMPT))
    if step is None and prompt is None:
        got = repr(positions)[:80]
        raise UserError(expected=POSITIONS_IN_WORDS, got=got, where=where, remedy="correct the value")
    at = int(step[1]) if step else 1 - int(prompt[1]) if prompt else 0
    return PositionRecord(first=at, last=at)
