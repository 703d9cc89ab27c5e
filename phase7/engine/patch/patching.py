"""Interventions as data, and the hooks that carry them out row by row.

A :class:`Patch` says which heads are patched, by which mode, with which donor, at which queries, how
strongly, and whether the donor's output replaces the head's or a difference of two donors is added to
it. A :class:`Patcher` compiles the patches of one batch and gives the hooks for
:meth:`phase7.engine.model.bridge.Model.hooked`. Every row of the batch has its own patch; a layer is
written once, by index, for all its rows. What a mode writes is its recipe's matter
(:mod:`phase7.engine.patch.recipes`); where rows lie comes with every pass
(:mod:`phase7.engine.patch.step`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from phase7.engine.model.bridge import Model, output_weight
from phase7.engine.model.gates import Hook
from phase7.engine.patch.donors import Donor
from phase7.engine.patch.recipes import Place, Write, output, recipe_of
from phase7.engine.patch.step import Ints, Step
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.heads import Head
from phase7.vocabulary.modes import MODE_RECORDS, POSITION_RECORDS, Mode, Positions
from phase7.vocabulary.sites import SiteName

_NEVER = 2**62
_LARGEST = torch.finfo(torch.float32).max


@dataclass(frozen=True, kw_only=True)
class Patch:
    """One intervention.

    Attributes
    ----------
    heads : tuple of Head
        Query heads patched together; empty for the unpatched baseline.
    mode : str
        A name of :data:`phase7.vocabulary.modes.MODE_RECORDS`.
    donor : str
        ``self``, ``zero``, or a name in the batch's donors.
    positions : {"generated", "last", "all"}
    write : {"replace", "add"}
        With z a head's output and t(d) what the mode makes of donor d: z becomes
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
        or what is added is `zero` or lacks a reference.
    """

    heads: tuple[Head, ...]
    mode: Mode = "result"
    donor: str = "self"
    positions: Positions = "generated"
    write: Literal["replace", "add"] = "replace"
    strength: float = 1.0
    reference: str = ""

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

    @property
    def is_plain(self) -> bool:
        """Whether the mode's output is written as it is, with no arithmetic on it."""
        return self.write == "replace" and self.strength == 1


BASELINE = Patch(heads=())


class _Group(NamedTuple):
    """What the entries of one write have in common."""

    layer: int
    mode: Mode
    is_self: bool
    adds: bool
    is_plain: bool


class _Entry(NamedTuple):
    """One (row, head) to patch; the baseline's row with the same sample is `sample`."""

    row: int
    head: int
    patch: Patch
    sample: int


@dataclass(frozen=True, kw_only=True, eq=False)
class _LayerWrite:
    """A write with the mode and the site it belongs to."""

    mode: Mode
    site: SiteName
    write: Write

    @property
    def composes(self) -> bool:
        """Whether the write reads the running attention."""
        record = MODE_RECORDS[self.mode]
        return record.reads_pattern if self.write.table is None else record.pattern == "recipient"

    def without(self, rows: Ints) -> _LayerWrite:
        return _LayerWrite(mode=self.mode, site=self.site, write=self.write.without(rows))


class Patcher:
    """The hooks of one batch.

    Parameters
    ----------
    model : Model
    patches : sequence of Patch
        Patch p with sample s is row ``p * n_samples + s``; patch 0 must be the baseline.
    n_samples : int
    donors : mapping of str to Donor
    n_prompt : int
        Tokens in the recipient prompt; the query at n_prompt - 1 gives the first generated token.
    use_attn_result : bool
        Write outputs that are taken whole at `hook_result`, per head after W_O, instead of at z.
    """

    def __init__(
        self,
        model: Model,
        patches: Sequence[Patch],
        *,
        n_samples: int,
        donors: Mapping[str, Donor],
        n_prompt: int,
        use_attn_result: bool = False,
    ) -> None:
        if patches[0].heads:
            raise ValueError("patch 0 must be the baseline")
        self._model, self._n_prompt, self._donors = model, n_prompt, donors
        self._use_attn_result = use_attn_result
        _check_modes(model, patches)
        self._writes = self._compile(patches, n_samples)

    def drop(self, rows: Ints) -> None:
        """Stop patching rows whose texts have ended."""
        for layer, writes in self._writes.items():
            self._writes[layer] = [write.without(rows) for write in writes]

    def hooks(self, step: Callable[[], Step]) -> dict[SiteName, dict[int, Hook]]:
        """The hooks by site and layer, for `Model.hooked`.

        Parameters
        ----------
        step : callable
            Gives the pass that is running; called by every hook.
        """
        hooks: dict[SiteName, dict[int, Hook]] = {}
        for layer, writes in self._writes.items():
            for site in {write.site for write in writes}:
                hooks.setdefault(site, {})[layer] = self._write_hook(layer, site, step)
            if any(write.composes for write in writes):
                hooks.setdefault("pattern", {})[layer] = _pattern_hook(layer, step)
        return hooks

    def _write_hook(self, layer: int, site: SiteName, step: Callable[[], Step]) -> Hook:
        def write(old: Tensor, hook: Any) -> Tensor:
            writes = [write for write in self._writes[layer] if write.site == site]
            return self._apply(layer, old, writes, step())

        return write

    def _apply(
        self,
        layer: int,
        old: Float[Tensor, "slots queries heads d"],
        writes: Sequence[_LayerWrite],
        step: Step,
    ) -> Float[Tensor, "slots queries heads d"]:
        group = self._model.n_heads // self._model.n_kv_heads
        place = Place(layer=layer, old=old, step=step, n_prompt=self._n_prompt, group=group)
        new = old.clone()
        for one in writes:
            write, positions = one.write, place.positions
            here = (positions >= write.first[:, None]) & (positions <= write.last[:, None])
            here &= place.offsets < write.reach[:, None]
            index = (place.slots(write.rows)[:, None], place.queries, write.heads[:, None])
            now = old[index]
            made = output(one.mode, write, place, now)
            new[index] = torch.where(here[..., None], made, now)
        return new

    def _compile(self, patches: Sequence[Patch], n_samples: int) -> dict[int, list[_LayerWrite]]:
        """Group every (row, head) by layer, recipe and kind of write."""
        groups: dict[_Group, list[_Entry]] = {}
        for number, patch in enumerate(patches):
            adds, is_self = patch.write == "add", patch.donor == "self"
            for layer, head in patch.heads:
                group = _Group(layer, patch.mode, is_self, adds, patch.is_plain)
                for sample in range(n_samples):
                    row = number * n_samples + sample
                    groups.setdefault(group, []).append(_Entry(row, head, patch, sample))
        writes: dict[int, list[_LayerWrite]] = {}
        for group, entries in sorted(groups.items()):
            write = _LayerWrite(
                mode=group.mode, site=self._site(group.mode), write=self._write(group, entries)
            )
            writes.setdefault(group.layer, []).append(write)
        return writes

    def _site(self, mode: Mode) -> SiteName:
        whole = not MODE_RECORDS[mode].reads_pattern
        return "result" if self._use_attn_result and whole else "z"

    def _write(self, group: _Group, entries: Sequence[_Entry]) -> Write:
        rows, heads, patches, base = zip(*entries, strict=True)
        records = [POSITION_RECORDS[patch.positions] for patch in patches]
        start = self._n_prompt - 1
        sources = [self._sources(patch) for patch in patches]
        return Write(
            rows=np.array(rows),
            base=np.array(base),
            heads=self._ints(heads),
            first=self._ints([0 if record.from_start else start for record in records]),
            last=self._ints([start if record.once else _NEVER for record in records]),
            reach=self._ints([min((d.z.shape[1] for d in s), default=_NEVER) for s in sources]),
            key_reach=self._ints([min((d.value.shape[1] for d in s), default=_NEVER) for s in sources]),
            table=None if group.is_self else self._table(group, heads, sources),
            adds=group.adds,
            strength=None if group.is_plain else self._strengths(patches),
        )

    def _sources(self, patch: Patch) -> tuple[Donor, ...]:
        """The donor, then the reference if any; nothing for the donors `self` and `zero`."""
        named = patch.donor not in ("self", "zero")
        names = [name for name in (patch.donor if named else "", patch.reference) if name]
        for name in names:
            if name not in self._donors:
                raise KeyError(f"no donor named {name!r}")
        return () if patch.donor == "self" else tuple(self._donors[name] for name in names)

    def _strengths(self, patches: Sequence[Patch]) -> Float[Tensor, " N"]:
        strengths = [patch.strength for patch in patches]
        return torch.tensor(strengths, dtype=torch.float32, device=self._model.device)

    def _ints(self, values: Sequence[int]) -> Int[Tensor, " N"]:
        return torch.tensor(values, dtype=torch.long, device=self._model.device)

    def _table(
        self, group: _Group, heads: Sequence[int], sources: Sequence[tuple[Donor, ...]]
    ) -> Float[Tensor, "N offsets d"]:
        """What each donor holds for each entry, minus its reference's, padded to the longest reach."""
        model, recipe, layer = self._model, recipe_of(group.mode), group.layer
        pieces = []
        for head, some in zip(heads, sources, strict=True):
            kv_head = head // (model.n_heads // model.n_kv_heads)
            held = [torch.from_numpy(recipe.table(donor, layer, head, kv_head)) for donor in some]
            if not held:
                pieces.append(torch.zeros(1, model.d_head))
            elif not group.adds:
                pieces.append(held[0])
            else:
                reach = min(len(one) for one in held)
                pieces.append(held[0][:reach] - held[1][:reach])
        table = torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True)
        table = table.to(device=model.device, dtype=model.dtype)
        if self._site(group.mode) == "result":
            table = table @ output_weight(model, layer)[self._ints(heads)]
        return table


def _pattern_hook(layer: int, step: Callable[[], Step]) -> Hook:
    def read(pattern: Tensor, hook: Any) -> None:
        step().patterns[layer] = pattern

    return read


def _check_modes(model: Model, patches: Sequence[Patch]) -> None:
    """Refuse the composed modes where the model's attention pattern cannot be read in time."""
    modes = {patch.mode for patch in patches if patch.heads}
    composed = sorted(mode for mode in modes if MODE_RECORDS[mode].reads_pattern)
    if composed and model.pattern_site is None:
        raise unreadable_pattern(model.name, composed[0])


def unreadable_pattern(model: str, mode: Mode) -> UserError:
    """The error for a mode that needs an attention pattern which this model does not show in time."""
    return UserError(
        expected="a model whose attention pattern can be read before its heads' outputs",
        got=f"{model}, where it cannot",
        where=f"mode {mode}",
        remedy="use --patch-mode result",
    )
