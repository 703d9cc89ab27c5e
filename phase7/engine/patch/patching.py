"""Interventions as data, and the hooks that carry them out row by row.

What enters: patches (which heads, which recipe, which donor, which positions), donors, and the shape of
one decode loop. What leaves: hooks for :meth:`phase7.engine.model.bridge.Model.hooked`. Every row of the
batch has its own patch; a layer is written once, by index, for all rows. Where a row lies in a layer's
batch, and in that of its attention, is said by :class:`phase7.engine.decode.rows.SharedLayers`.

All recipes end in one write, at z (the head's output before W_O) of the named query head alone:

- `result` writes the donor's z, `pattern_v` the donor's attention over the donor's values;
- `v_only`, and every composed recipe of the donor `self`, write z + (composition with the donor -
  composition with the recipient), both by one kernel, so that equal inputs cancel to exactly 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from phase7.engine.decode.rows import SharedLayers
from phase7.engine.model.bridge import Model, output_weight
from phase7.engine.model.gates import Hook
from phase7.engine.model.kv_cache import values_of
from phase7.engine.patch.donors import Donor
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.heads import Head, format_heads
from phase7.vocabulary.modes import Mode, Positions

_NEVER = 2**62


@dataclass(frozen=True, kw_only=True)
class Patch:
    """One intervention.

    Attributes
    ----------
    heads : tuple of Head
        Query heads replaced together; empty for the unpatched baseline.
    mode : {"result", "v_only", "pattern_v"}
    donor : str
        ``self``, ``zero``, or a name in the batch's donors.
    positions : {"generated", "last", "all"}
    """

    heads: tuple[Head, ...]
    mode: Mode = "result"
    donor: str = "self"
    positions: Positions = "generated"

    @property
    def label(self) -> str:
        """A canonical string for keys and messages."""
        return f"{format_heads(self.heads)}|{self.mode}|{self.donor}|{self.positions}"


BASELINE = Patch(heads=())


@dataclass(kw_only=True)
class _Write:
    """All writes of one recipe in one layer; row i of each tensor is one (row, head).

    `table` is what the donor holds by offset: z or composed values (by query offset) for a replacing
    write, values (by key offset) for an attending one; None for the donor `self`, which reads
    `base` rows of the running batch instead.
    """

    mode: Mode
    rows: np.ndarray[Any, np.dtype[Any]]  # [N]
    base: np.ndarray[Any, np.dtype[Any]]  # [N] baseline row with the same sample
    heads: Tensor  # [N]
    first: Tensor  # [N] first patched query
    last: Tensor  # [N] last patched query
    reach: Tensor  # [N] query offsets the donor reaches
    key_reach: Tensor  # [N] key offsets the donor reaches
    table: Tensor | None  # [N, offsets, d]

    @property
    def composes(self) -> bool:
        return self.mode == "v_only" or (self.mode == "pattern_v" and self.table is None)

    def without(self, rows: np.ndarray[Any, np.dtype[np.int64]]) -> _Write:
        """Without the entries of some rows."""
        kept = ~np.isin(self.rows, list(rows))
        index = torch.from_numpy(np.flatnonzero(kept)).to(self.heads.device)
        tensors = ("heads", "first", "last", "reach", "key_reach")
        return replace(
            self,
            rows=self.rows[kept],
            base=self.base[kept],
            table=None if self.table is None else self.table[index],
            **{name: getattr(self, name)[index] for name in tensors},
        )


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
        Write mode `result` at `hook_result`, per head after W_O, instead of at z.
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
        self._patterns: dict[int, Tensor] = {}
        self._first_query, self._cache, self._layout = 0, None, SharedLayers([-1], model.n_layers)
        self._composing = [i for i, ws in self._writes.items() if any(w.composes for w in ws)]

    def at(self, first_query: int, cache: Any, layout: SharedLayers) -> None:
        """Say which absolute position the next forward pass starts at, with which cache and rows."""
        self._first_query, self._cache, self._layout = first_query, cache, layout

    def drop(self, rows: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        """Patch these rows no more."""
        for layer, writes in self._writes.items():
            writes[:] = [write.without(rows) for write in writes]
            self._patterns.pop(layer, None)

    def hooks(self) -> dict[str, dict[int, Hook]]:
        """Keyword arguments for `Model.hooked`."""
        hooks: dict[str, dict[int, Hook]] = {
            "z": {i: self._z_hook(i) for i, writes in self._writes.items() if self._at_z(writes)},
            "pattern": {i: self._pattern_hook(i) for i in self._composing},
        }
        if self._use_attn_result:
            hooks["result"] = {
                i: self._result_hook(i)
                for i, writes in self._writes.items()
                if len(self._at_z(writes)) < len(writes)
            }
        return hooks

    def _at_z(self, writes: list[_Write]) -> list[_Write]:
        return [w for w in writes if not (self._use_attn_result and w.mode == "result")]

    def _pattern_hook(self, layer: int) -> Hook:
        def read(pattern: Tensor, hook: Any) -> None:
            self._patterns[layer] = pattern

        return read

    def _z_hook(self, layer: int) -> Hook:
        def write(z: Tensor, hook: Any) -> Tensor:
            return self._apply(layer, z, self._at_z(self._writes[layer]))

        return write

    def _result_hook(self, layer: int) -> Hook:
        def write(result: Tensor, hook: Any) -> Tensor:
            writes = [w for w in self._writes[layer] if w.mode == "result"]
            return self._apply(layer, result, writes)

        return write

    def _apply(
        self, layer: int, old: Float[Tensor, "rows queries heads d"], writes: list[_Write]
    ) -> Float[Tensor, "rows queries heads d"]:
        queries = torch.arange(old.shape[1], device=old.device)
        positions = queries + self._first_query
        offsets = (self._n_prompt - 1 - positions).clamp(min=0)
        new = old.clone()
        for write in writes:
            here = (positions >= write.first[:, None]) & (positions <= write.last[:, None])
            here &= offsets < write.reach[:, None]
            index = (self._slots(layer, write.rows)[:, None], queries, write.heads[:, None])
            current = old[index]
            if write.composes:
                replacement = current + self._composed_change(layer, write)
            elif write.table is None:
                base = self._slots(layer, write.base)
                replacement = old[base[:, None], queries, write.heads[:, None]]
            else:
                reached = offsets.clamp(max=write.table.shape[1] - 1)
                replacement = write.table[:, reached]
            new[index] = torch.where(here[..., None], replacement, current)
        return new

    def _composed_change(self, layer: int, write: _Write) -> Float[Tensor, "N queries d"]:
        """Composition with the donor minus composition with the recipient."""
        pattern = self._patterns[layer]
        cached = self._cache.layers[layer]  # type: ignore[attr-defined]
        kv_heads = write.heads // (self._model.n_heads // self._model.n_kv_heads)
        slots = self._attention_slots(layer, write.rows)
        own_pattern = pattern[slots, write.heads]
        own_value = values_of(cached, slots, kv_heads)
        donor_pattern = own_pattern
        if write.table is None:
            base = self._attention_slots(layer, write.base)
            donor_value = values_of(cached, base, kv_heads)
            if write.mode == "pattern_v":
                donor_pattern = pattern[base, write.heads]
        else:
            n_keys = own_value.shape[1]
            end = self._first_query + pattern.shape[2]
            keys = torch.arange(end - n_keys, end, device=pattern.device)
            offsets = (self._n_prompt - 1 - keys).clamp(min=0)
            reached = offsets.clamp(max=write.table.shape[1] - 1)
            inside = offsets < write.key_reach[:, None]
            donor_value = torch.where(inside[..., None], write.table[:, reached], own_value)
        return donor_pattern @ donor_value - own_pattern @ own_value

    def _slots(self, layer: int, rows: np.ndarray[Any, np.dtype[Any]]) -> Tensor:
        return torch.from_numpy(self._layout.slots(layer)[rows]).to(self._model.device)

    def _attention_slots(self, layer: int, rows: np.ndarray[Any, np.dtype[Any]]) -> Tensor:
        return torch.from_numpy(self._layout.attention_slots(layer)[rows]).to(self._model.device)

    def _compile(self, patches: Sequence[Patch], n_samples: int) -> dict[int, list[_Write]]:
        """Group every (row, head) by layer and recipe."""
        groups: dict[tuple[int, Mode, bool], list[tuple[int, int, Patch, int]]] = {}
        for number, patch in enumerate(patches):
            for layer, head in patch.heads:
                key = (layer, patch.mode, patch.donor == "self")
                for sample in range(n_samples):
                    row = number * n_samples + sample
                    groups.setdefault(key, []).append((row, head, patch, sample))
        writes: dict[int, list[_Write]] = {}
        for (layer, mode, is_self), entries in sorted(groups.items()):
            writes.setdefault(layer, []).append(self._write(layer, mode, is_self, entries))
        return writes

    def _write(
        self, layer: int, mode: Mode, is_self: bool, entries: list[tuple[int, int, Patch, int]]
    ) -> _Write:
        rows, heads, patches, base = zip(*entries, strict=True)
        first = [0 if p.positions == "all" else self._n_prompt - 1 for p in patches]
        last = [self._n_prompt - 1 if p.positions == "last" else _NEVER for p in patches]
        donors = [self._donors.get(p.donor) for p in patches]  # None for self and zero
        return _Write(
            mode=mode,
            rows=np.array(rows),
            base=np.array(base),
            heads=self._ints(heads),
            first=self._ints(first),
            last=self._ints(last),
            reach=self._ints([_NEVER if d is None else d.z.shape[1] for d in donors]),
            key_reach=self._ints([_NEVER if d is None else d.value.shape[1] for d in donors]),
            table=None if is_self else self._table(layer, mode, heads, patches, donors),
        )

    def _ints(self, values: Sequence[int]) -> Tensor:
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
        model = self._model
        pieces = []
        for head, patch, donor in zip(heads, patches, donors, strict=True):
            if donor is None:
                if patch.donor != "zero":
                    raise KeyError(f"no donor named {patch.donor!r}")
                pieces.append(torch.zeros(1, model.d_head))
            elif mode == "v_only":
                kv_head = head // (model.n_heads // model.n_kv_heads)
                pieces.append(torch.from_numpy(donor.value[layer, :, kv_head]))
            elif mode == "pattern_v":
                pieces.append(torch.from_numpy(donor.composed[layer, :, head]))
            else:
                pieces.append(torch.from_numpy(donor.z[layer, :, head]))
        table = torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True)
        table = table.to(device=model.device, dtype=model.dtype)
        if self._use_attn_result and mode == "result":
            weight = output_weight(model, layer)[self._ints(heads)]
            table = table @ weight
        return table


def _check_modes(model: Model, patches: Sequence[Patch]) -> None:
    """Refuse the composed modes where the model's attention pattern cannot be read in time."""
    composed = sorted({patch.mode for patch in patches if patch.heads} - {"result"})
    if composed and model.pattern_site is None:
        raise UserError(
            expected="a model whose attention pattern can be read before its heads' outputs",
            got=f"{model.name}, where it cannot",
            where=f"mode {composed[0]}",
            remedy="use --patch-mode result",
        )
