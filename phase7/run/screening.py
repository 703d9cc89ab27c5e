"""Choose the heads of a sweep by a screen, and patch the rest enough to say what was missed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import xarray as xr

from phase7.effects.screening import ScreenScores, screen_lines, screened_heads
from phase7.experiment.screening import (
    groups,
    halves_stage,
    screen_stage,
    unchosen_stage,
)
from phase7.experiment.stages import Stage
from phase7.experiment.swept import with_heads
from phase7.run.measuring import Measured


@dataclass(frozen=True, kw_only=True, eq=False)
class Screened:
    """A screened sweep.

    Attributes
    ----------
    sweep : Stage
        Of the chosen heads.
    swept : Measured
    scores : ScreenScores
    stages : tuple of Measured
        All that was measured beside the sweep, the estimates first.
    unchosen : Measured or None
        Of them, the others' random sample.
    """

    sweep: Stage
    swept: Measured
    scores: ScreenScores
    stages: tuple[Measured, ...]
    unchosen: Measured | None


def screened(
    sweep: Stage, metrics: Sequence[str], measure: Callable[[Stage], Measured]
) -> Screened | None:
    """Screen and sweep; None where the profile screens nothing.

    Parameters
    ----------
    sweep : Stage
        Of all heads of its spec.
    metrics : sequence of str
        The selection metrics.
    """
    stage, wanted = screen_stage(sweep), sweep.profile.screen
    if stage is None or wanted is None:
        return None
    estimated = measure(stage)
    found = estimated.attributed
    assert found is not None  # a screen is attributed
    chosen = screened_heads(found, metrics, wanted.heads)
    narrow = with_heads(sweep, chosen, sweep.recipients)
    swept = measure(narrow)
    drawn, made = unchosen_stage(sweep, chosen), groups(sweep, chosen)
    halves = halves_stage(sweep, made)
    alone = None if drawn is None else measure(drawn)
    together = None if halves is None else measure(halves)
    scores = ScreenScores(
        found=found,
        metrics=tuple(metrics),
        chosen=tuple(chosen),
        swept=swept.scores,
        unchosen=None if alone is None else alone.scores,
        groups=made,
        halves=None if together is None else together.scores,
    )
    beside = tuple(one for one in (estimated, alone, together) if one is not None)
    return Screened(sweep=narrow, swept=swept, scores=scores, stages=beside, unchosen=alone)


def told_of_screen(datasets: Mapping[str, xr.Dataset]) -> list[str]:
    """The lines that a user is told of a screen; none where there was none."""
    return screen_lines(datasets["screen"]) if "screen" in datasets else []
