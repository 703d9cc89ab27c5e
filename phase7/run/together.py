"""Memo entries that are computed together: which, and how they come into the store.

A batch of one prompt's few rows costs almost what one of many rows does, so the batches of several
prompts are generated together. Each remains an entry of its own, with the key and the bits that it has
alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from phase7.run.memory import LADDER, MOST_PROMPTS
from phase7.run.units import Unit
from phase7.store import Store

#: Computes some units; their entries, in order.
Compute = Callable[[Sequence[Unit]], Sequence[Any]]


def side_by_side(units: Sequence[Unit], max_rows: int, n_at_once: int) -> list[tuple[Unit, ...]]:
    """Units in groups to be computed together, in their order.

    Generations of one stage go together, and so do its paths: as many as `max_rows` rows and
    :data:`MOST_PROMPTS` prompts allow, in groups of one size as far as can be, and as many groups as
    keep `n_at_once` workers busy to the end. Every other unit is a group of its own.
    """
    groups: list[tuple[Unit, ...]] = []
    for _, run in itertools.groupby(units, key=_stage):
        some = list(run)
        n_rows = max(unit.n_rows for unit in some)
        most = max(1, min(MOST_PROMPTS, (max_rows or LADDER[0]) // n_rows)) if n_rows else 1
        n_rounds = -(-len(some) // (most * n_at_once))
        n_groups = min(len(some), n_rounds * n_at_once)
        ends = [len(some) * (i + 1) // n_groups for i in range(n_groups)]
        groups += [tuple(some[a:b]) for a, b in itertools.pairwise([0, *ends])]
    return groups


def _stage(unit: Unit) -> Any:
    """What the units of a group have in common: kind and stage, or nothing with any other."""
    return (unit.kind, id(unit.arguments[0])) if unit.n_rows else id(unit)


def store_together(store: Store, units: Sequence[Unit], compute: Compute) -> None:
    """Bring the entries of some units into the store, computed together as far as they are not there.

    Each is locked while it is computed, as entries are: what another process computes meanwhile is
    waited for. All processes take the locks in one order, so that none waits for another in a circle.
    """
    ordered = sorted(units, key=lambda unit: store.path(unit.kind, unit.key))
    values: dict[int, Any] = {}

    def take(place: int, taken: tuple[int, ...]) -> None:
        if place == len(ordered):
            found = compute([ordered[i] for i in taken]) if taken else ()
            values.update(zip(taken, found, strict=True))
            return

        def inner() -> Any:
            take(place + 1, (*taken, place))
            return values[place]

        store.get(ordered[place].kind, ordered[place].key, inner)
        if place not in values:  # it was there by now
            take(place + 1, taken)

    take(0, ())
