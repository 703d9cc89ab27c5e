"""How each mode makes a head's new output: one recipe for each of :mod:`phase7.vocabulary.modes`.

All recipes end in one write, at z (the head's output before W_O) of the named query head alone. Either
the write replaces z by what the donor holds, or it adds to z a composition of attention and values with
the donor's part minus the same with the recipient's own, both by one kernel, so that equal inputs cancel
to exactly 0. That is how the donor `self` changes nothing, to the bit.

A write of another strength than 1 goes that much of the way from z to its mode's output. One that adds
takes the same mode's part of a donor minus that of a reference, and z stays under it (:func:`output`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from phase7.engine.patch.donors import Array, Donor
from phase7.engine.patch.step import Ints, Step
from phase7.vocabulary.modes import Mode


@dataclass(frozen=True, kw_only=True, eq=False)
class Place:
    """One layer of one forward pass, as recipes see it.

    Attributes
    ----------
    layer : int
    old : float tensor [slots, queries, n_heads, d]
        What passes at the site that is written.
    step : Step
    n_prompt : int
        Tokens of the recipient prompt.
    group : int
        Query heads for each KV head.
    is_attended : bool
        Whether the rows at the site lie as those of the layer's attention do.
    """

    layer: int
    old: Float[Tensor, "slots queries heads d"]
    step: Step
    n_prompt: int
    group: int
    is_attended: bool = False

    @cached_property
    def queries(self) -> Int[Tensor, " queries"]:
        """Index of each query in the pass."""
        return torch.arange(self.old.shape[1], device=self.old.device)

    @cached_property
    def positions(self) -> Int[Tensor, " queries"]:
        """Absolute position of each query."""
        return self.queries + self.step.first_query

    @cached_property
    def offsets(self) -> Int[Tensor, " queries"]:
        """Donor offset of each query; generated ones have the last token's, 0."""
        return (self.n_prompt - 1 - self.positions).clamp(min=0)

    def slots(self, rows: Ints) -> Int[Tensor, " N"]:
        """Where rows lie in `old`."""
        lie = self.step.rows.attention_slots if self.is_attended else self.step.rows.slots
        return torch.from_numpy(lie(self.layer)[rows]).to(self.old.device)

    def attention_slots(self, rows: Ints) -> Int[Tensor, " N"]:
        """Where rows lie in patterns and cached values."""
        return torch.from_numpy(self.step.rows.attention_slots(self.layer)[rows]).to(self.old.device)

    def outputs(self, rows: Ints, heads: Int[Tensor, " N"]) -> Float[Tensor, "N queries d"]:
        """What some (row, head) give at the site."""
        return self.old[self.slots(rows)[:, None], self.queries, heads[:, None]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Write:
    """What one recipe writes in one layer; entry i of everything is one (row, head).

    Attributes
    ----------
    rows : int64 array [N]
        Rows that are patched.
    base : int64 array [N]
        The baseline's row with the same sample, which the donor `self` reads.
    heads : int64 tensor [N]
        Query heads.
    table : float tensor [N, offsets, d] or None
        What the donor holds, by offset, minus what the reference holds where the write adds; None for
        the donor `self`.
    first, last : int64 tensor [N]
        First and last patched query, as absolute positions.
    reach, key_reach : int64 tensor [N]
        Offsets of queries and of keys that the donor, and the reference where there is one, reaches.
    adds : bool
        Whether the table is added to what passes, instead of replacing it.
    strength : float32 tensor [N] or None
        What the change is multiplied by; None for outputs that are written as they are.
    """

    rows: Ints
    base: Ints
    heads: Int[Tensor, " N"]
    table: Float[Tensor, "N offsets d"] | None
    first: Int[Tensor, " N"]
    last: Int[Tensor, " N"]
    reach: Int[Tensor, " N"]
    key_reach: Int[Tensor, " N"]
    adds: bool = False
    strength: Float[Tensor, " N"] | None = None

    def without(self, rows: Ints) -> Write:
        """Without the entries of some rows."""
        kept = ~np.isin(self.rows, rows)
        index = torch.from_numpy(np.flatnonzero(kept)).to(self.heads.device)
        tensors = ("heads", "first", "last", "reach", "key_reach")
        return replace(
            self,
            rows=self.rows[kept],
            base=self.base[kept],
            table=None if self.table is None else self.table[index],
            strength=None if self.strength is None else self.strength[index],
            **{name: getattr(self, name)[index] for name in tensors},
        )

    def at(self, offsets: Int[Tensor, " M"]) -> Float[Tensor, "N M d"]:
        """The donor at some offsets; beyond its reach whatever, for the caller to leave out."""
        assert self.table is not None
        return self.table[:, offsets.clamp(max=self.table.shape[1] - 1)]


#: From a write, the place and what passes there now, [N, queries, d], to what shall pass.
New = Callable[[Write, Place, Tensor], Float[Tensor, "N queries d"]]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One mode.

    Attributes
    ----------
    table : callable
        (donor, layer, query head, KV head) to what a write needs of the donor: float32 [offsets, d].
    of_donor : callable
        New outputs from a write's table.
    of_shift : callable
        What a table of differences adds to the outputs, at strength 1.
    of_self : callable
        New outputs with the donor `self`: from the baseline's rows of the running batch.
    """

    table: Callable[[Donor, int, int, int], Array]
    of_donor: New
    of_shift: New
    of_self: New


def _donor_output(write: Write, place: Place, now: Tensor) -> Float[Tensor, "N queries d"]:
    """What the donor holds for the query's offset."""
    return write.at(place.offsets)


def _own_output(write: Write, place: Place, now: Tensor) -> Float[Tensor, "N queries d"]:
    return place.outputs(write.base, write.heads)


def _donor_values(write: Write, place: Place, now: Tensor) -> Float[Tensor, "N queries d"]:
    """The recipient's attention over the donor's values; its own where the donor does not reach."""
    pattern, own = _running(write.rows, write, place)
    values = _held(write, place, pattern.shape[1], beyond=own)
    return now + (pattern @ values - pattern @ own)


def _value_shift(write: Write, place: Place, now: Tensor) -> Float[Tensor, "N queries d"]:
    """The recipient's attention over differences of values; 0 where one of the two does not reach."""
    pattern, own = _running(write.rows, write, place)
    return pattern @ _held(write, place, pattern.shape[1], beyond=torch.zeros_like(own))


def _own_values(write: Write, place: Place, now: Tensor) -> Float[Tensor, "N queries d"]:
    pattern, own = _running(write.rows, write, place)
    _, values = _running(write.base, write, place)
    return now + (pattern @ values - pattern @ own)


def _own_attention(write: Write, place: Place, now: Tensor) -> Float[Tensor, "N queries d"]:
    pattern, own = _running(write.rows, write, place)
    base_pattern, values = _running(write.base, write, place)
    return now + (base_pattern @ values - pattern @ own)


def _held(
    write: Write, place: Place, n_queries: int, beyond: Float[Tensor, "N keys d"]
) -> Float[Tensor, "N keys d"]:
    """What the table holds for each key up to the pass's last query, or `beyond` its reach."""
    end = place.step.first_query + n_queries
    keys = torch.arange(end - beyond.shape[1], end, device=beyond.device)
    offsets = (place.n_prompt - 1 - keys).clamp(min=0)
    inside = offsets < write.key_reach[:, None]
    return torch.where(inside[..., None], write.at(offsets), beyond)


def _running(rows: Ints, write: Write, place: Place) -> tuple[Tensor, Tensor]:
    """Attention [N, queries, keys] and values [N, keys, d] of some rows, as they are in this pass."""
    slots, step = place.attention_slots(rows), place.step
    pattern = step.patterns[place.layer][slots, write.heads]
    return pattern, step.values(place.layer, slots, write.heads // place.group)


RECIPES: dict[Mode, Recipe] = {
    "result": Recipe(
        table=lambda donor, layer, head, kv_head: donor.z[layer, :, head],
        of_donor=_donor_output,
        of_shift=_donor_output,
        of_self=_own_output,
    ),
    "v_only": Recipe(
        table=lambda donor, layer, head, kv_head: donor.value[layer, :, kv_head],
        of_donor=_donor_values,
        of_shift=_value_shift,
        of_self=_own_values,
    ),
    "pattern_v": Recipe(
        table=lambda donor, layer, head, kv_head: donor.composed[layer, :, head],
        of_donor=_donor_output,
        of_shift=_donor_output,
        of_self=_own_attention,
    ),
}


def recipe_of(mode: str) -> Recipe:
    """The recipe of a mode.

    Raises
    ------
    NotImplementedError
        For a mode that has none: it is never computed as another.
    """
    if mode not in RECIPES:
        raise NotImplementedError(f"no recipe for the patch mode {mode!r}")
    return RECIPES[mode]


def output(mode: str, write: Write, place: Place, now: Tensor) -> Float[Tensor, "N queries d"]:
    """What one write makes of what passes now, [N, queries, d], at the queries it is for.

    With strength a and the mode's output t, z becomes z + a * (t - z). Where the write adds, the
    difference of donor and reference stands for t - z. The donor `self` gives t the same way for both:
    it is z of the baseline's row, so that equal rows cancel to exactly 0 at every strength.

    Raises
    ------
    NotImplementedError
        For a mode without a recipe.
    """
    recipe = recipe_of(mode)
    adds = write.adds and write.table is not None
    if adds:
        made = recipe.of_shift(write, place, now)
    else:
        made = (recipe.of_self if write.table is None else recipe.of_donor)(write, place, now)
    if write.strength is None:
        return made
    strength, z = write.strength[:, None, None], now.to(write.strength.dtype)
    change = made.to(strength.dtype) if adds else made.to(strength.dtype) - z
    return (z + strength * change).to(now.dtype)
