"""Interventions as data.

A :class:`Patch` says which heads and units are patched, by which mode, with which donor, at which
queries, how strongly, and whether the donor's output replaces theirs or a difference of two donors is
added to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from phase7.vocabulary.heads import Head
from phase7.vocabulary.modes import MODE_RECORDS, Mode, Positions
from phase7.vocabulary.units import Unit

_LARGEST = torch.finfo(torch.float32).max


@dataclass(frozen=True, kw_only=True)
class Patch:
    """One intervention.

    Attributes
    ----------
    heads : tuple of Head
        Query heads patched together.
    units : tuple of Unit
        Patched together with them. Without heads and units it is the unpatched baseline.
    mode : str
        A name of :data:`phase7.vocabulary.modes.MODE_RECORDS`.
    donor : str
        ``self``, ``zero``, or a name in the batch's donors.
    positions : str
        As of :func:`phase7.vocabulary.modes.position_record`.
    write : {"replace", "add"}
        With z the output of a head or a unit and t(d) what the mode makes of donor d: z becomes
        z + strength * (t(donor) - z), or z + strength * (t(donor) - t(reference)). Adding takes place
        where both donors reach. With the donor `self` neither changes anything.
    strength : float
        Without a unit, of any sign. A replacement of strength 1 writes t(donor) itself.
    reference : str
        A name in the batch's donors: what is subtracted when a donor is added. Empty otherwise.

    Raises
    ------
    ValueError
        If the strength is not finite in float32, there is no such write, a replacement has a reference,
        or what is added is `zero` or lacks a reference; and if an MLP or the residual stream is to be
        patched in a mode that composes attention and values.
    """

    heads: tuple[Head, ...]
    mode: Mode = "result"
    donor: str = "self"
    positions: Positions = "generated"
    write: Literal["replace", "add"] = "replace"
    strength: float = 1.0
    reference: str = ""
    units: tuple[Unit, ...] = ()

    def __post_init__(self) -> None:
        if not abs(self.strength) <= _LARGEST:  # NaN as well
            raise ValueError(f"strength: expected a finite number, got {self.strength}")
        if self.write not in ("replace", "add"):
            raise ValueError(f"write: expected 'replace' or 'add', got {self.write!r}")
        if self.write == "replace" and self.reference:
            raise ValueError(f"a replacement has no reference, got {self.reference!r}")
        if self.write == "add" and self.donor == "zero":
            raise ValueError("write 'add' needs a donor with activations, got 'zero'")
        if self.write == "add" and self.donor != "self" and not self.reference:
            raise ValueError(f"write 'add' of donor {self.donor!r} needs a reference")
        if self.sited and MODE_RECORDS[self.mode].reads_pattern:
            raise ValueError(f"mode {self.mode} composes heads; it cannot patch {self.sited[0]}")

    @property
    def is_baseline(self) -> bool:
        """Whether nothing is patched."""
        return not self.heads and not self.units

    @property
    def sited(self) -> tuple[Unit, ...]:
        """The units that are written at a site of their own."""
        return tuple(unit for unit in self.units if unit.site is not None)

    def every_head(self, n_heads: int) -> tuple[Head, ...]:
        """The heads, and those of whole attentions, in a model of so many heads a layer, each once."""
        layers = [unit.layer for unit in self.units if unit.site is None]
        whole = [Head(layer, head) for layer in layers for head in range(n_heads)]
        return tuple(dict.fromkeys([*self.heads, *whole]))

    def first_layer(self, n_layers: int) -> int:
        """The lowest layer that is patched; `n_layers` where none is."""
        layers = [head.layer for head in self.heads] + [unit.layer for unit in self.units]
        return min(layers, default=n_layers)

    @property
    def is_plain(self) -> bool:
        """Whether the mode's output is written as it is, with no arithmetic on it."""
        return self.write == "replace" and self.strength == 1


BASELINE = Patch(heads=())
