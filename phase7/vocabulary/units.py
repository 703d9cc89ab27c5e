"""What can be patched beside single heads: a layer's attention, its MLP, the stream behind the layer.

A unit is written ``attn:7``, ``mlp:5`` or ``resid:12``. An attention is short for all heads of its
layer. The other two have a site of their own, where their whole output, of the model's width, is
replaced: what the layer's MLP gives, and the residual stream behind the layer (`resid_post`). They
compose no attention and values, so they are patched in mode `result` alone.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

from phase7.vocabulary.errors import UserError
from phase7.vocabulary.sites import SiteName

UnitKind = Literal["attn", "mlp", "resid"]

_ITEM = re.compile(r"(attn|mlp|resid):(\*|\d{1,6}(?:-\d{1,6})?)", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class UnitRecord:
    """One kind of unit.

    Attributes
    ----------
    site : str or None
        Where its output passes; None where it stands for the heads of its layer.
    hides_below : bool
        Whether its output holds what all layers up to it have written, so that replacing it leaves
        nothing of a patch further down at the same query.
    """

    site: SiteName | None
    hides_below: bool = False


UNIT_RECORDS: Mapping[UnitKind, UnitRecord] = MappingProxyType(
    {
        "attn": UnitRecord(site=None),
        "mlp": UnitRecord(site="mlp"),
        "resid": UnitRecord(site="resid", hides_below=True),
    }
)
UNIT_KINDS: tuple[UnitKind, ...] = typing.get_args(UnitKind)


class Unit(NamedTuple):
    """One unit: its kind, and its layer, counted from 0."""

    kind: UnitKind
    layer: int

    @property
    def record(self) -> UnitRecord:
        """What its kind means."""
        return UNIT_RECORDS[self.kind]

    @property
    def site(self) -> SiteName | None:
        """Where its output passes; None for an attention, which is its heads."""
        return self.record.site

    def __str__(self) -> str:
        return f"{self.kind}:{self.layer}"


def is_unit(item: str) -> bool:
    """Whether an item of a spec is written as a unit, whatever its layers.

    Examples
    --------
    >>> is_unit("mlp:5"), is_unit("3:5"), is_unit("mlp:x")
    (True, False, True)
    """
    return item.partition(":")[0] in UNIT_KINDS


def parse_units(item: str, *, n_layers: int, where: str) -> tuple[Unit, ...]:
    """The units of an item: ``mlp:5``, ``mlp:3-5`` (both included) or ``mlp:*``.

    Raises
    ------
    UserError
        For an item of another form, or a layer that the model does not have.
    """
    match = _ITEM.fullmatch(item)
    if match is None:
        raise UserError(
            expected='units like "mlp:5", "resid:3-5" or "attn:*"',
            got=repr(item[:80]),
            where=where,
            remedy="write them as attn, mlp or resid with a layer",
        )
    first, _, last = (f"0-{n_layers - 1}" if match[2] == "*" else match[2]).partition("-")
    if not int(first) <= int(last or first) < n_layers:
        raise UserError(
            expected=f"layers 0-{n_layers - 1}", got=repr(item), where=where,
            remedy="name layers that this model has",
        )  # fmt: skip
    kind = typing.cast(UnitKind, match[1])
    return tuple(Unit(kind, layer) for layer in range(int(first), int(last or first) + 1))
