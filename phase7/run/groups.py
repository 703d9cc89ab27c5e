"""What a run makes on its way to its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import xarray as xr

from phase7.effects.attribution import StageAttribution
from phase7.effects.inference import CellStatistics
from phase7.effects.screening import ScreenScores
from phase7.experiment.stages import Stage
from phase7.run.measuring import Measured
from phase7.run.screening import Screened
from phase7.run.vectors import Vector
from phase7.vocabulary.heads import Head


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    datasets: dict[str, xr.Dataset]
    result: dict[str, Any]
    stages: list[Measured]
    vector: Vector | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Search:
    """What a sweep found; nothing without one."""

    sweep: Stage | None = None
    swept: Measured | None = None
    screened: Screened | None = None
    checked: Measured | None = None
    result: CellStatistics | None = None
    ranked: Sequence[Head] = ()

    def attributed(self, confirmed: Measured) -> dict[str, StageAttribution]:
        """Predictions for all heads, by the split of the prompts, as far as there are any."""
        first = self.swept if self.screened is None else self.screened.stages[0]
        halves = {"discovery": first, "confirmation": confirmed} if first else {"all": confirmed}
        return {name: one.attributed for name, one in halves.items() if one.attributed}

    @property
    def screen_scores(self) -> ScreenScores | None:
        """The screen and what it is judged by."""
        return None if self.screened is None else self.screened.scores

    @property
    def stages(self) -> list[Measured]:
        """All that was measured."""
        beside = (self.checked,) if self.screened is None else self.screened.stages
        return [one for one in (self.swept, *beside) if one is not None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Rehearsal:
    """What a run computes, and what it took.

    Attributes
    ----------
    groups : tuple of str
        ``model/emotion``.
    tree : DataTree
        As in the effects file.
    seconds : dict of str to float
        By ``model/emotion stage``.
    total_seconds : float
    tokens : dict of str to int
        Tokens of text by stage, whether they were computed or found in the store.
    """

    groups: tuple[str, ...]
    tree: xr.DataTree
    seconds: dict[str, float]
    total_seconds: float
    tokens: dict[str, int]
