"""The names of patch modes, positions, donors and controls, in the order of every array."""

from __future__ import annotations

import typing
from typing import Literal

Mode = Literal["result", "v_only", "pattern_v"]
Positions = Literal["generated", "last", "all"]
DonorKind = Literal["mean", "paired", "self", "neutral", "zero"]
ControlKind = Literal["neutral", "shuffled", "none"]

#: Modes in the order of every array; `result` first because it is the plainest.
MODES = ("result", "v_only", "pattern_v")
POSITIONS: tuple[str, ...] = typing.get_args(Positions)
DONOR_KINDS: tuple[str, ...] = typing.get_args(DonorKind)
CONTROL_KINDS: tuple[str, ...] = typing.get_args(ControlKind)
