"""Memo entries that are computed together: which, and how they come into the store.

A batch of few rows costs almost what one of many rows does, so the batches of one prompt are generated
as one, and those of several prompts together. Each remains an entry of its own, with the key and the
bits that it has alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from phase7.run.memory import LADDER, MOST_PROMPTS
from phase7.run.units import Unit
from phase7.store import Store

_Units = tuple[Unit, ...]

#: Computes some units; their entries, in order.
Compute = Callable[[Sequence[Unit]], Sequence[Any]]


def side_by_side(units: Sequence[Unit], max_rows: int, n_at_once: int) -> list[tuple[Unit, ...]]:
    """Units in groups to be computed together, in their order as far as can be.

    Generations go together, and so do paths: those of one prompt first, then as many prompts as
    `max_rows` rows and :data:`MOST_PROMPTS` allow, in groups of one size as far as can be, and as many
    groups as keep `n_at_once` workers busy to the end. Every other unit is a group of its own.
    """
    groups: list[tuple[Unit, ...]] = []
    bound = max_rows or LADDER[0]
    for _, run in itertools.groupby(units, key=_way):
        some = _of_one_prompt(list(run), bound)
        if not _n_rows(some[0]):
            groups += some
            continue
        n_rounds = 1
        while not _fits(dealt := _dealt(some, min(len(some), n_rounds * n_at_once)), bound):
            n_rounds += 1
        groups += [tuple(itertools.chain(*prompts)) for prompts in dealt]
    return groups


def _dealt(some: Sequence[_Units], n_groups: int) -> list[list[_Units]]:
    """Prompts in so many groups: in their order; where some have more rows, each with some of these."""
    by_rows = sorted(some, key=_n_rows, reverse=True)
    if _n_rows(by_rows[0]) > _n_rows(by_rows[-1]):
        return [by_rows[number::n_groups] for number in range(n_groups)]
    ends = [len(some) * number // n_groups for number in range(n_groups + 1)]
    return [list(some[a:b]) for a, b in itertools.pairwise(ends)]


def _fits(groups: Sequence[Sequence[_Units]], max_rows: int) -> bool:
    """Whether every group of more than one prompt is within the bounds."""
    return all(
        len(one) == 1 or (len(one) <= MOST_PROMPTS and sum(map(_n_rows, one)) <= max_rows)
        for one in groups
    )


def _of_one_prompt(units: Sequence[Unit], max_rows: int) -> list[tuple[Unit, ...]]:
    """Generations of one prompt side by side, as far as they fit; every other unit alone."""
    found: list[tuple[Unit, ...]] = []
    open_at: dict[str, int] = {}
    for unit in units:
        if unit.kind != "generation":
            found.append((unit,))
            continue
        prompt = unit.arguments[1].prompt
        place = open_at.get(prompt)
        if place is not None and _n_rows(found[place]) + unit.n_rows <= max_rows:
            found[place] += (unit,)
            continue
        open_at[prompt] = len(found)
        found.append((unit,))
    return found


def _n_rows(units: Sequence[Unit]) -> int:
    return sum(unit.n_rows for unit in units)


def _way(unit: Unit) -> Any:
    """What the units of a group have in common: kind and way of generating; or nothing."""
    return (unit.kind, unit.arguments[0].way_of_generating) if unit.n_rows else id(unit)


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
