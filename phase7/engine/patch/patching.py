"""The hooks that carry out the patches of one batch, row by row.

A :class:`Patcher` compiles patches (:mod:`phase7.engine.patch.intervention`) and gives the hooks for
:meth:`phase7.engine.model.bridge.Model.hooked`. Every row of the batch has its own patch; a layer is
written once, by index, for all its rows. What a mode writes is its recipe's matter
(:mod:`phase7.engine.patch.recipes`); where rows lie comes with every pass
(:mod:`phase7.engine.patch.step`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from phase7.engine.model.bridge import Model, output_weight
from phase7.engine.model.gates import Hook
from phase7.engine.model.outputs import check_site
from phase7.engine.patch.donors import Array, Donor
from phase7.engine.patch.intervention import BASELINE, Patch
from phase7.engine.patch.recipes import Place, Write, output, recipe_of
from phase7.engine.patch.step import Ints, Step
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.modes import MODE_RECORDS, Mode, position_record
from phase7.vocabulary.sites import SITES, SiteName

__all__ = ["BASELINE", "Patch", "Patcher", "unreadable_pattern"]

_NEVER = 2**62


class _Group(NamedTuple):
    """What the entries of one write have in common."""

    layer: int
    mode: Mode
    is_self: bool
    adds: bool
    is_plain: bool
    site: SiteName


class _Entry(NamedTuple):
    """One (row, head) to patch; the baseline's row with the same sample is `sample`.

    What passes at a site of a unit is taken for the output of a head 0, the only one.
    """

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
        if not patches[0].is_baseline:
            raise ValueError("patch 0 must be the baseline")
        self._model, self._n_prompt, self._donors = model, n_prompt, donors
        self._use_attn_result = use_attn_result
        _check_modes(model, patches)
        for site in sorted({unit.site for patch in patches for unit in patch.sited if unit.site}):
            check_site(model, site)
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
            if has_heads:
                return self._apply(layer, old, writes, step(), is_attended=is_attended)
            return self._apply(layer, old[:, :, None], writes, step(), is_attended=is_attended)[:, :, 0]

        has_heads = "head" in SITES[site].axes
        is_attended = SITES[site].reads_attended and self._model.is_parallel
        return write

    def _apply(
        self,
        layer: int,
        old: Float[Tensor, "slots queries heads d"],
        writes: Sequence[_LayerWrite],
        step: Step,
        *,
        is_attended: bool,
    ) -> Float[Tensor, "slots queries heads d"]:
        group = self._model.n_heads // self._model.n_kv_heads
        place = Place(
            layer=layer,
            old=old,
            step=step,
            n_prompt=self._n_prompt,
            group=group,
            is_attended=is_attended,
        )
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
            of_heads = self._site(patch.mode)
            places = [(*head, of_heads) for head in patch.every_head(self._model.n_heads)]
            places += [(unit.layer, 0, unit.site) for unit in patch.units if unit.site is not None]
            for layer, head, site in places:
                group = _Group(layer, patch.mode, is_self, adds, patch.is_plain, site)
                for sample in range(n_samples):
                    row = number * n_samples + sample
                    groups.setdefault(group, []).append(_Entry(row, head, patch, sample))
        writes: dict[int, list[_LayerWrite]] = {}
        for group, entries in sorted(groups.items()):
            write = _LayerWrite(mode=group.mode, site=group.site, write=self._write(group, entries))
            writes.setdefault(group.layer, []).append(write)
        return writes

    def _site(self, mode: Mode) -> SiteName:
        whole = not MODE_RECORDS[mode].reads_pattern
        return "result" if self._use_attn_result and whole else "z"

    def _write(self, group: _Group, entries: Sequence[_Entry]) -> Write:
        rows, heads, patches, base = zip(*entries, strict=True)
        records = [position_record(patch.positions) for patch in patches]
        start, held = self._n_prompt - 1, partial(_held, group=group)
        sources = [self._sources(patch) for patch in patches]
        return Write(
            rows=np.array(rows),
            base=np.array(base),
            heads=self._ints(heads),
            first=self._ints([0 if r.first is None else start + r.first for r in records]),
            last=self._ints([_NEVER if r.last is None else start + r.last for r in records]),
            reach=self._ints([min((len(held(d)) for d in s), default=_NEVER) for s in sources]),
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
        model, layer = self._model, group.layer
        width = model.d_head if "head" in SITES[group.site].axes else int(model.bridge.cfg.d_model)
        pieces = []
        for head, some in zip(heads, sources, strict=True):
            held = [torch.from_numpy(self._given(group, donor, head)) for donor in some]
            if not held:
                pieces.append(torch.zeros(1, width))
            elif not group.adds:
                pieces.append(held[0])
            else:
                reach = min(len(one) for one in held)
                pieces.append(held[0][:reach] - held[1][:reach])
        table = torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True)
        table = table.to(device=model.device, dtype=model.dtype)
        if group.site == "result":
            table = table @ output_weight(model, layer)[self._ints(heads)]
        return table

    def _given(self, group: _Group, donor: Donor, head: int) -> Array:
        """What a donor holds for one entry, by offset: float32 [offsets, d]."""
        recipe, kv_head = recipe_of(group.mode), head // (self._model.n_heads // self._model.n_kv_heads)
        if "head" in SITES[group.site].axes:
            return recipe.table(donor, group.layer, head, kv_head)
        return _held(donor, group)


def _held(donor: Donor, group: _Group) -> Array:
    """Outputs of a donor by offset, whose number is how far it reaches: [offsets, ...]."""
    if "head" in SITES[group.site].axes:
        z: Array = donor.z[group.layer]
        return z
    found = {(unit.site, unit.layer): held for unit, held in donor.units.items()}
    if (group.site, group.layer) not in found:
        raise KeyError(f"no {group.site}:{group.layer} in this donor")
    return found[group.site, group.layer]


def _pattern_hook(layer: int, step: Callable[[], Step]) -> Hook:
    def read(pattern: Tensor, hook: Any) -> None:
        step().patterns[layer] = pattern

    return read


def _check_modes(model: Model, patches: Sequence[Patch]) -> None:
    """Refuse the composed modes where the model's attention pattern cannot be read in time."""
    modes = {patch.mode for patch in patches if not patch.is_baseline}
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
