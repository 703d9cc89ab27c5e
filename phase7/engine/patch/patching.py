"""Interventions as data, and the hooks that carry them out row by row.

A :class:`Patch` says which heads are replaced, by which mode, with which donor, at which queries. A
:class:`Patcher` compiles the patches of one batch and gives the hooks for
:meth:`phase7.engine.model.bridge.Model.hooked`. Every row of the batch has its own patch; a layer is
written once, by index, for all its rows. What a mode writes is its recipe's matter
(:mod:`phase7.engine.patch.recipes`); where rows lie comes with every pass
(:mod:`phase7.engine.patch.step`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from phase7.engine.model.bridge import Model, output_weight
from phase7.engine.model.gates import Hook
from phase7.engine.patch.donors import Donor
from phase7.engine.patch.recipes import Place, Write, recipe_of
from phase7.engine.patch.step import Ints, Step
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.heads import Head
from phase7.vocabulary.modes import MODE_RECORDS, POSITION_RECORDS, Mode, Positions
from phase7.vocabulary.sites import SiteName

_NEVER = 2**62


@dataclass(frozen=True, kw_only=True)
class Patch:
    """One intervention.

    Attributes
    ----------
    heads : tuple of Head
        Query heads replaced together; empty for the unpatched baseline.
    mode : str
        A name of :data:`phase7.vocabulary.modes.MODE_RECORDS`.
    donor : str
        ``self``, ``zero``, or a name in the batch's donors.
    positions : {"generated", "last", "all"}
    """

    heads: tuple[Head, ...]
    mode: Mode = "result"
    donor: str = "self"
    positions: Positions = "generated"


BASELINE = Patch(heads=())


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
            recipe = recipe_of(one.mode)
            make = recipe.of_self if write.table is None else recipe.of_donor
            new[index] = torch.where(here[..., None], make(write, place, now), now)
        return new

    def _compile(self, patches: Sequence[Patch], n_samples: int) -> dict[int, list[_LayerWrite]]:
        """Group every (row, head) by layer and recipe."""
        groups: dict[tuple[int, Mode, bool], list[tuple[int, int, Patch, int]]] = {}
        for number, patch in enumerate(patches):
            for layer, head in patch.heads:
                key = (layer, patch.mode, patch.donor == "self")
                for sample in range(n_samples):
                    row = number * n_samples + sample
                    groups.setdefault(key, []).append((row, head, patch, sample))
        writes: dict[int, list[_LayerWrite]] = {}
        for (layer, mode, is_self), entries in sorted(groups.items()):
            write = _LayerWrite(
                mode=mode,
                site=self._site(mode),
                write=self._write(layer, mode, is_self, entries),
            )
            writes.setdefault(layer, []).append(write)
        return writes

    def _site(self, mode: Mode) -> SiteName:
        whole = not MODE_RECORDS[mode].reads_pattern
        return "result" if self._use_attn_result and whole else "z"

    def _write(
        self, layer: int, mode: Mode, is_self: bool, entries: list[tuple[int, int, Patch, int]]
    ) -> Write:
        rows, heads, patches, base = zip(*entries, strict=True)
        records = [POSITION_RECORDS[patch.positions] for patch in patches]
        start = self._n_prompt - 1
        donors = [self._donors.get(p.donor) for p in patches]  # None for self and zero
        return Write(
            rows=np.array(rows),
            base=np.array(base),
            heads=self._ints(heads),
            first=self._ints([0 if record.from_start else start for record in records]),
            last=self._ints([start if record.once else _NEVER for record in records]),
            reach=self._ints([_NEVER if d is None else d.z.shape[1] for d in donors]),
            key_reach=self._ints([_NEVER if d is None else d.value.shape[1] for d in donors]),
            table=None if is_self else self._table(layer, mode, heads, patches, donors),
        )

    def _ints(self, values: Sequence[int]) -> Int[Tensor, " N"]:
        return torch.tensor(values, dtype=torch.long, device=self._model.device)

    def _table(
        self,
        layer: int,
        mode: Mode,
        heads: Sequence[int],
        patches: Sequence[Patch],
        donors: Sequence[Donor | None],
    ) -> Float[Tensor, "N offsets d"]:
        """What each donor holds for each entry, padded to the longest reach."""
        model, recipe = self._model, recipe_of(mode)
        pieces = []
        for head, patch, donor in zip(heads, patches, donors, strict=True):
            if donor is not None:
                kv_head = head // (model.n_heads // model.n_kv_heads)
                pieces.append(torch.from_numpy(recipe.table(donor, layer, head, kv_head)))
            elif patch.donor == "zero":
                pieces.append(torch.zeros(1, model.d_head))
            else:
                raise KeyError(f"no donor named {patch.donor!r}")
        table = torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True)
        table = table.to(device=model.device, dtype=model.dtype)
        if self._site(mode) == "result":
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
        raise UserError(
            expected="a model whose attention pattern can be read before its heads' outputs",
            got=f"{model.name}, where it cannot",
            where=f"mode {composed[0]}",
            remedy="use --patch-mode result",
        )
