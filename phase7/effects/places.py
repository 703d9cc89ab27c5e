"""Where the numbers of a stage's cells stand on the axes of a Dataset."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from phase7.effects.scores import Floats
from phase7.experiment.stages import Cell
from phase7.vocabulary.modes import mode_place


def single_place(cell: Cell) -> tuple[int, ...]:
    """Where a single head's numbers stand on (layer, head, mode)."""
    return (*cell.head_set.only, mode_place(cell.mode))


def set_place(cell: Cell, labels: Sequence[str]) -> tuple[int, ...]:
    """Where a cell's numbers stand on (head_set, mode)."""
    return (labels.index(cell.label), mode_place(cell.mode))


def labels_of(cells: Iterable[Cell]) -> list[str]:
    """Labels of some cells, each once: single heads by place, then sets."""
    return [heads.label for heads in sorted({cell.head_set for cell in cells})]


def index_of(places: Sequence[tuple[int, ...]], n_axes: int = 2) -> tuple[Any, ...]:
    """Places as one array of integers for each axis, with which NumPy picks them all at once."""
    return tuple(np.array(places, dtype=int).reshape(-1, n_axes).T)


def scatter(shape: tuple[int, ...], index: tuple[Any, ...], values: Floats) -> Floats:
    """An array of NaN with rows of `values` at some places of its first axes."""
    whole = np.full((*shape, *values.shape[1:]), np.nan)
    whole[index] = values
    return whole
