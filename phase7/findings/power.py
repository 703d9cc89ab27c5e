"""What could have been found: the tests that could survive correction, and the smallest effects found.

How small a p a test can reach depends on how many of its differences are not 0, and not on their signs.
So what could have been significant at best is known whatever the data say.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phase7.findings.cells import DUST, Cell, Floats
from phase7.findings.chance import ChanceSize, chance_size
from phase7.findings.group import Group
from phase7.findings.reader import share_of_level
from phase7.statistics import benjamini_hochberg, detectable_effect, minimum_p, prompts_needed

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Reach:
    """What some tests can show at best.

    Attributes
    ----------
    n_tests : int
        Tests in a family.
    n_alone : int
        Of them, those that could be significant whatever the other tests say: their smallest p, times
        the size of the primary family, or of an exploratory test's cell and the number of such cells,
        is below alpha.
    n_together : int
        Those that could be significant if every test of the family reached its smallest p.
    n_left_out : int
        Tests in no family, because no signs could bring their p below alpha.
    n_needed : int
        Differences other than 0 that a p below alpha takes.
    lowest_p : float
        The smallest p that any of them can reach; NaN without tests.
    """

    n_tests: int
    n_alone: int
    n_together: int
    n_left_out: int
    n_needed: int
    lowest_p: float


@dataclass(frozen=True, kw_only=True, eq=False)
class _Tests:
    """The tests of some cells: flat arrays, with the place of each cell in the sequence."""

    place: Floats
    floor: Floats
    in_family: Bools
    is_primary: Bools


def reach(group: Group, cells: Sequence[Cell]) -> Reach:
    """What the tests of some cells, all texts or all read-outs of one stage, can show."""
    per_cell = reach_by_cell(group, cells)
    lowest = [one.lowest_p for one in per_cell if not math.isnan(one.lowest_p)]
    return Reach(
        n_tests=sum(one.n_tests for one in per_cell),
        n_alone=sum(one.n_alone for one in per_cell),
        n_together=sum(one.n_together for one in per_cell),
        n_left_out=sum(one.n_left_out for one in per_cell),
        n_needed=prompts_needed(group.test_alpha),
        lowest_p=min(lowest, default=math.nan),
    )


def reach_by_cell(group: Group, cells: Sequence[Cell], others: Sequence[Cell] = ()) -> list[Reach]:
    """The same of each cell, in the families of all of them.

    Parameters
    ----------
    others : sequence of Cell
        Cells with the other metrics, whose primary tests are of the same family.
    """
    tests = _tests([*cells, *others], _share(group, cells))
    alone, together = (np.zeros(len(tests.floor), dtype=bool) for _ in range(2))
    primary = tests.is_primary & tests.in_family
    floors = tests.floor[primary]
    alone[primary] = floors * len(floors) < group.alpha
    together[primary] = benjamini_hochberg(floors) < group.alpha
    explored = ~tests.is_primary & tests.in_family & (tests.place < len(cells))
    members = [np.flatnonzero(explored & (tests.place == place)) for place in range(len(cells))]
    n_cells = sum(bool(some.size) for some in members)
    for some in members:  # a cell's own test reaches as low as any of its tests, or lower
        alone[some] = tests.floor[some] * some.size * n_cells < group.alpha
        together[some] = benjamini_hochberg(tests.floor[some]) < group.alpha
    found = []
    for place in range(len(cells)):
        here = tests.place == place
        mine = here & tests.in_family
        found.append(
            Reach(
                n_tests=int(mine.sum()),
                n_alone=int(alone[here].sum()),
                n_together=int(together[here].sum()),
                n_left_out=int((here & ~tests.in_family).sum()),
                n_needed=prompts_needed(group.test_alpha),
                lowest_p=float(tests.floor[mine].min()) if mine.any() else math.nan,
            )
        )
    return found


@dataclass(frozen=True, kw_only=True)
class CellPower:
    """What could have been found in one cell, on texts.

    Attributes
    ----------
    cell : Cell
    reach : Reach
    detectable : float
        Effect on the emotion's metric that one test at alpha finds with 80 % power; NaN where unknown.
    detectable_alone : float
        The same at alpha over the size of the family: whatever all other tests say.
    median_size : float
        Median |d_z| of the cell's tests.
    chance : ChanceSize
        The same with random signs.
    """

    cell: Cell
    reach: Reach
    detectable: float
    detectable_alone: float
    median_size: float
    chance: ChanceSize


def cell_powers(group: Group) -> list[CellPower]:
    """Of each confirmed cell in the primary mode, sets first."""
    cells, found = list(group.confirmed.values()), []
    whole = reach_by_cell(group, cells, list(group.readouts.values()))
    n_family = max(sum(one.n_tests for one in whole), 1)
    for cell, one in zip(cells, whole, strict=True):
        if cell.mode != group.mode:
            continue
        sizes = np.abs(cell.tested("effect_size"))
        known = sizes[np.isfinite(sizes)]
        found.append(
            CellPower(
                cell=cell,
                reach=one,
                detectable=detectable(cell, group.emotion_metric, group.test_alpha),
                detectable_alone=detectable(cell, group.emotion_metric, group.test_alpha / n_family),
                median_size=float(np.median(known)) if known.size else math.nan,
                chance=chance_size(group, [cell]),
            )
        )
    return sorted(found, key=lambda one: one.cell.heads.is_single)


def detectable(cell: Cell, metric: str | None, alpha: float) -> float:
    """The effect of a cell on a metric that its prompts find with 80 % power, by their own spread."""
    if metric is None:
        return math.nan
    differences = cell.differences(metric)
    known = differences[np.isfinite(differences)]
    spread = float(known.std(ddof=1)) if known.size > 1 else 0.0
    return float(detectable_effect(spread, known.size, alpha=alpha)) if spread > DUST else math.nan


def _share(group: Group, cells: Sequence[Cell]) -> float:
    """The share of the level that the tests of some cells have: a search is looked at once."""
    swept = [*group.sweep.values(), *group.readout_sweep.values()]
    is_search = any(cell is one for cell in cells for one in swept)
    return 1.0 if is_search else share_of_level(group.settings)


def _tests(cells: Iterable[Cell], share: float) -> _Tests:
    """The tests of some cells, whose p are of a look with a share of the level."""
    places, floors, in_family, is_primary = [], [], [], []
    for place, cell in enumerate(cells):
        tested = np.isfinite(cell.tested("p_value"))
        places.append(np.full(int(tested.sum()), float(place)))
        floors.append(np.minimum(minimum_p(cell.tested("n_nonzero")[tested]) / share, 1.0))
        in_family.append(np.isfinite(cell.tested("q_value")[tested]))
        is_primary.append(cell.column("is_primary")[tested] == 1)
    nothing = np.empty(0, dtype=bool)
    return _Tests(
        place=np.concatenate([np.empty(0), *places]),
        floor=np.concatenate([np.empty(0), *floors]),
        in_family=np.concatenate([nothing, *in_family]),
        is_primary=np.concatenate([nothing, *is_primary]),
    )
