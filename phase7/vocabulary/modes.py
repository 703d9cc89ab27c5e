"""Patch modes and position policies, as tables that plan, engine and labels iterate over.

A new mode is a record here and a recipe of the same name in :mod:`phase7.engine.patch.recipes`; a test
holds the two together, and a mode without a recipe is an error wherever it is used. Definitions:
docs/method.md.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Mode = Literal["result", "v_only", "pattern_v"]
Positions = Literal["generated", "last", "all"]

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
    from_start : bool
        From the prompt's first token on, not only from its last: the donor is then captured at every
        query, and every row computes the prompt itself.
    once : bool
        The prompt's last token is the last one patched.
    """

    from_start: bool
    once: bool


POSITION_RECORDS: Mapping[Positions, PositionRecord] = MappingProxyType(
    {
        "generated": PositionRecord(from_start=False, once=False),
        "last": PositionRecord(from_start=False, once=True),
        "all": PositionRecord(from_start=True, once=False),
    }
)
POSITIONS: tuple[Positions, ...] = tuple(POSITION_RECORDS)
