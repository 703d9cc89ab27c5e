"""Heads, sets of heads and of what stands beside them, and the little language that names them.

:func:`parse_heads` reads what a user writes, ``"3:5,7:2"``, ``"3:*"``, ``"3:0-5"`` or ``"all"``, for
a model of known size; :func:`parse_set` reads units (:mod:`phase7.vocabulary.units`) among them,
``"3:5,mlp:5"``. :class:`HeadSet` is what a result is filed under: its label spells out every head and
unit, so it can be read back without the model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from phase7.vocabulary.errors import UserError
from phase7.vocabulary.units import UNIT_KINDS, Unit, is_unit, parse_units

_ITEM = re.compile(r"(\d{1,6}):(\*|\d{1,6}(?:-\d{1,6})?)", re.ASCII)
_LABEL_ITEM = re.compile(rf"(\d{{1,6}}|{'|'.join(UNIT_KINDS)}):(\d{{1,6}})", re.ASCII)


class Head(NamedTuple):
    """One attention head: `layer` and `head`, both counted from 0. Query heads, where they differ."""

    layer: int
    head: int

    def __str__(self) -> str:
        return f"{self.layer}:{self.head}"


def format_heads(heads: tuple[Head, ...]) -> str:
    """The spec that names `heads`, e.g. ``"3:5,7:2"``."""
    return ",".join(str(head) for head in heads)


@dataclass(frozen=True)
class HeadSet:
    """Heads and units that are patched together; a single head is a set of one.

    Sets sort as tables list them: single heads by place, then all others. A unit alone is one of these.

    Attributes
    ----------
    heads : tuple of Head
        In the order of the label.
    units : tuple of Unit
        Behind the heads. A set has a head or a unit.
    """

    heads: tuple[Head, ...]
    units: tuple[Unit, ...] = ()

    def __post_init__(self) -> None:
        if not self.heads and not self.units:
            raise ValueError("a set of heads holds at least one")

    @classmethod
    def parse(cls, label: str) -> HeadSet:
        """Read a label of the effects store: one by one, such as ``"3:5"`` or ``"3:5,7:2,mlp:5"``.

        Raises
        ------
        UserError
            If it is written in another way. Specs with ranges or ``*`` need the model's size:
            :func:`parse_heads`.
        """
        matches = [_LABEL_ITEM.fullmatch(item) for item in label.split(",")]
        if None in matches:
            raise UserError(
                expected='heads spelled out as layer:head, such as "3:5,7:2"',
                got=repr(label[:80]),
                where="label of a set of heads",
                remedy="build the effects file again",
            )
        found = [(match[1], int(match[2])) for match in matches if match]
        heads = tuple(Head(int(layer), head) for layer, head in found if layer not in UNIT_KINDS)
        return cls(
            heads, tuple(Unit(kind, layer) for kind in UNIT_KINDS for of, layer in found if of == kind)
        )

    @property
    def label(self) -> str:
        """What the store files the set under, e.g. ``"3:5,7:2"``."""
        return ",".join(map(str, (*self.heads, *self.units)))

    @property
    def n_heads(self) -> int:
        """Heads patched together, units not counted."""
        return len(self.heads)

    @property
    def members(self) -> tuple[HeadSet, ...]:
        """Each head and each unit alone, in the order of the label."""
        alone = [HeadSet((head,)) for head in self.heads]
        return (*alone, *(HeadSet((), (unit,)) for unit in self.units))

    @property
    def sited(self) -> tuple[Unit, ...]:
        """Its MLPs and residual streams: the units that are no heads of their layer."""
        return tuple(unit for unit in self.units if unit.site is not None)

    @property
    def is_single(self) -> bool:
        """Whether this is one head alone."""
        return self.n_heads == 1 and not self.units

    @property
    def only(self) -> Head:
        """The head of a single.

        Raises
        ------
        ValueError
            If there are several.
        """
        (head,) = self.heads
        return head

    def __lt__(self, other: HeadSet) -> bool:
        mine, others = ((not one.is_single, one.heads, one.units) for one in (self, other))
        return mine < others

    def __str__(self) -> str:
        return self.label


def parse_heads(spec: str, *, n_layers: int, n_heads: int, where: str = "head spec") -> tuple[Head, ...]:
    """Read a head spec.

    Parameters
    ----------
    spec : str
        Comma-separated items ``layer:head``, ``layer:first-last`` (both included), ``layer:*``;
        or ``all``. Blanks around items are ignored, repeats are merged.
    n_layers, n_heads : int
        The model's size; every named head must exist.
    where : str
        What to call the source in an error.

    Returns
    -------
    tuple of Head
        Sorted by layer, then head; never empty.

    Raises
    ------
    UserError
        For an item of another form, or a head that the model does not have.
    """
    if spec.strip() == "all":
        return tuple(Head(layer, head) for layer in range(n_layers) for head in range(n_heads))
    heads: set[Head] = set()
    for item in (part.strip() for part in spec.split(",")):
        match = _ITEM.fullmatch(item)
        if match is None:
            raise UserError(
                expected='items like "3:5", "3:0-5", "3:*", or "all"',
                got=repr(item[:80]),
                where=where,
                remedy="name attn, mlp and resid in target_heads or head_sets; they are tested as sets"
                if is_unit(item)
                else 'write heads as layer:head, separated by commas, e.g. "3:5,7:2"',
            )
        layer, heads_of_layer = int(match[1]), match[2]
        first, last = _range(heads_of_layer, n_heads)
        if layer >= n_layers or last >= n_heads or first > last:
            raise UserError(
                expected=f"layers 0-{n_layers - 1} and heads 0-{n_heads - 1}",
                got=repr(item),
                where=where,
                remedy="name heads that this model has",
            )
        heads.update(Head(layer, head) for head in range(first, last + 1))
    return tuple(sorted(heads))


def parse_set(spec: str, *, n_layers: int, n_heads: int, where: str = "head spec") -> HeadSet:
    """Read a spec of heads and units.

    Parameters
    ----------
    spec : str
        Items of :func:`parse_heads`, and ``attn:7``, ``mlp:5``, ``resid:12``, each with a layer, layers
        ``first-last`` or ``*``. Heads of an attention that is named are part of it.
    n_layers, n_heads, where
        As of :func:`parse_heads`, and so are the errors.

    Examples
    --------
    >>> parse_set("mlp:1,3:2,attn:0,0:5", n_layers=4, n_heads=8).label
    '3:2,attn:0,mlp:1'
    """
    items = [part.strip() for part in spec.split(",")]
    of_units = [item for item in items if is_unit(item)]
    of_heads = [item for item in items if not is_unit(item)]
    named = {one for item in of_units for one in parse_units(item, n_layers=n_layers, where=where)}
    heads: tuple[Head, ...] = ()
    if of_heads:
        heads = parse_heads(",".join(of_heads), n_layers=n_layers, n_heads=n_heads, where=where)
    whole = {unit.layer for unit in named if unit.kind == "attn"}
    kept = tuple(head for head in heads if head.layer not in whole)
    return HeadSet(kept, tuple(sorted(named)))


def _range(text: str, n_heads: int) -> tuple[int, int]:
    if text == "*":
        return 0, n_heads - 1
    first, _, last = text.partition("-")
    return int(first), int(last or first)
