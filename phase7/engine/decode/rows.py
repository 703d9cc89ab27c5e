"""Which rows of a batch share which layers: nothing is computed that a patch cannot change.

A row patched first in layer L has, up to the heads' outputs in L, exactly the activations of any other
row with the same tokens so far. So each layer has two stages, its *attention* (queries, keys, values,
patterns) and what follows from the heads' outputs on. In each stage a row is either *private* (it has
been patched by then) or a member of a group of rows with equal tokens, which is computed once.

From the first patched layer of every row, and the tokens as they are drawn, follows which slot of each
stage computes each row, and how slots continue those of the stage before. A slot of an attention keeps
its keys and values over the steps, so a group that splits copies them to its new slots. Nothing here
imports torch.

Plain matrix products treat rows in blocks (of 4 or 8 here, by processor and library), and the rows left
over take another path whose last bits differ. So the slots of a layer are filled up to whole blocks: a
row's bits then depend neither on the other rows nor on their number. Packed products
(:mod:`phase7.engine.model.packed`) need no more than two rows for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from phase7.engine.model.blocks import ROW_BLOCK, whole_blocks

Ints = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, kw_only=True)
class Copies:
    """Slots of one layer's attention whose keys and values are copied: `source[i]` to `target[i]`."""

    layer: int
    source: Ints
    target: Ints


class SharedLayers:
    """The slots of one batch.

    Parameters
    ----------
    first_patched : sequence of int, length n_rows
        First patched layer of each row; `n_layers` for an unpatched row, -1 for a row that shares
        nothing.
    n_layers : int
    row_block : int
        The slots of a stage are filled up to a multiple of it.
    share_attention : bool, or sequence of bool of length n_rows
        False makes a row private from its first patched layer's attention on.

    Attributes
    ----------
    n_changes : int
        How often rows have changed their slots.
    """

    def __init__(
        self,
        first_patched: Sequence[int] | Ints,
        n_layers: int,
        row_block: int = ROW_BLOCK,
        *,
        share_attention: bool | Sequence[bool] | np.ndarray[Any, np.dtype[np.bool_]] = True,
    ) -> None:
        self.n_rows, self.n_layers, self._row_block = len(first_patched), n_layers, row_block
        self._n_stages = 2 * n_layers
        first = np.asarray(first_patched, dtype=np.int64)
        self._first = np.where(first < 0, 0, 2 * first + np.asarray(share_attention))
        self._history = np.zeros(self.n_rows, dtype=np.int64)
        self._n_histories = 1
        self._alive = np.ones(self.n_rows, dtype=bool)
        self.n_changes = 0
        self._place()

    @property
    def histories(self) -> Ints:
        """A number for each row (int64 [n_rows]), the same for rows with the same tokens so far."""
        return self._history

    def slots(self, layer: int) -> Ints:
        """The slot that computes each row in `layer` (int64 [n_rows]); -1 for a dropped row."""
        slots: Ints = self._slot[_outputs(layer)]
        return slots

    def attention_slots(self, layer: int) -> Ints:
        """The slot that computes each row's attention in `layer`, up to the heads' outputs."""
        slots: Ints = self._slot[_attention(layer)]
        return slots

    def n_slots(self, layer: int) -> int:
        """Slots in `layer`, filled up to whole blocks."""
        return self._n_slots(_outputs(layer))

    def n_attention_slots(self, layer: int) -> int:
        """Slots in the attention of `layer`, filled up to whole blocks."""
        return self._n_slots(_attention(layer))

    def entering(self, layer: int) -> Ints:
        """For each slot of `layer`, the slot of the layer below (in layer 0: the row) it continues.

        Slots that only fill a block continue what slot 0 continues.
        """
        below = self.slots(layer - 1) if layer else np.arange(self.n_rows)
        entering: Ints = below[self._representatives(_outputs(layer))]
        return entering

    def attending(self, layer: int) -> Ints:
        """For each slot of the attention of `layer`, a slot of the layer that holds its input."""
        attending: Ints = self.slots(layer)[self._representatives(_attention(layer))]
        return attending

    def leaving(self, layer: int) -> Ints:
        """For each slot of `layer`, the slot of its attention whose outputs it continues."""
        leaving: Ints = self.attention_slots(layer)[self._representatives(_outputs(layer))]
        return leaving

    def parts_at(self, gate: Literal["layer", "attention", "outputs"], layer: int) -> bool:
        """Whether slots before and behind a gate of a layer are others; else each continues itself.

        Then a slot that only fills a block may continue itself too.
        """
        at = {"layer": _outputs(layer - 1), "attention": _outputs(layer), "outputs": _attention(layer)}
        behind = _attention(layer) if gate == "attention" else _outputs(layer)
        return self._kind[at[gate]] != self._kind[behind]

    def extend(self, tokens: Ints) -> list[Copies]:
        """Note each row's next token (int64 [n_rows]) and split the groups that no longer agree."""
        pairs = np.stack([self._history, np.where(self._alive, tokens, -1)])
        _, history = np.unique(pairs, axis=1, return_inverse=True)
        self._history = history.reshape(-1)
        n_histories = int(self._history.max()) + 1
        if n_histories == self._n_histories:
            return []
        self._n_histories = n_histories
        self._note_change()
        copies = []
        for stages, rows in zip(self._alike, self._grouped, strict=True):
            source, target = self._split(stages, rows)
            copies += [
                Copies(layer=layer, source=source, target=target)
                for layer in range(self.n_layers)
                if source.size and _attention(layer) in stages
            ]
        return copies

    def drop(self, rows: Ints) -> list[Copies]:
        """Drop rows that are finished; the others move together, so each layer's slots are copied.

        Returns for every layer, as `source`, the old slot of each new slot.
        """
        self._alive[rows] = False
        old = self._slot
        self._place()
        moved = []
        for layer in range(self.n_layers):
            stage = _attention(layer)
            source = old[stage][self._representatives(stage)]
            moved.append(Copies(layer=layer, source=source, target=np.arange(source.size)))
        return moved

    def _place(self) -> None:
        """Give every living row a slot in every stage: private rows first, in a fixed order."""
        self._note_change()
        rows = np.flatnonzero(self._alive)
        rows = rows[np.argsort(self._first[rows], kind="stable")]
        self._slot = np.full((self._n_stages, self.n_rows), -1, dtype=np.int64)
        self._n_used = np.zeros(self._n_stages, dtype=np.int64)
        n_private = np.searchsorted(self._first[rows], np.arange(self._n_stages), side="right")
        # Stages with the same private rows have the same groups, in the same slots.
        self._kind: list[int] = n_private.tolist()
        self._alike: list[Ints] = []
        self._grouped: list[Ints] = []  # by these
        for n in np.unique(n_private):
            stages = np.flatnonzero(n_private == n)
            private, grouped = rows[:n], rows[n:]
            _, group = np.unique(self._history[grouped], return_inverse=True)
            self._slot[stages[:, None], private] = np.arange(n)
            self._slot[stages[:, None], grouped] = n + group
            self._n_used[stages] = n + (int(group.max()) + 1 if group.size else 0)
            self._grouped.append(grouped)
            self._alike.append(stages)

    def _note_change(self) -> None:
        self.n_changes += 1
        self._represented: Ints | None = None

    def _split(self, stages: Ints, rows: Ints) -> tuple[Ints, Ints]:
        """Give each new group a slot in stages that group these rows; a group's first child keeps its.

        Returns the new slots' parents' slots, and the new slots, the same in all of these stages.
        """
        stage = stages[0]
        _, first, group = np.unique(self._history[rows], return_index=True, return_inverse=True)
        parents = self._slot[stage, rows[first]]
        is_new = np.ones(parents.size, dtype=bool)
        is_new[np.unique(parents, return_index=True)[1]] = False
        slots = parents.copy()
        slots[is_new] = self._n_used[stage] + np.arange(int(is_new.sum()))
        self._slot[stages[:, None], rows] = slots[group]
        self._n_used[stages] += int(is_new.sum())
        return parents[is_new], slots[is_new]

    def _n_slots(self, stage: int) -> int:
        return whole_blocks(int(self._n_used[stage]), self._row_block)

    def _representatives(self, stage: int) -> Ints:
        """One row of each slot; slots that fill a block take slot 0's."""
        if self._represented is None:
            self._represented = self._represent()
        representatives: Ints = self._represented[stage, : self._n_slots(stage)]
        return representatives

    def _represent(self) -> Ints:
        """The same of every stage, [n_stages, n] with the most slots of any."""
        rows = np.flatnonzero(self._alive)
        slots = self._slot[:, rows]
        n_most = whole_blocks(int(self._n_used.max()), self._row_block)
        represented = np.repeat(rows[np.argmin(slots, axis=1)][:, None], n_most, axis=1)
        represented[np.arange(self._n_stages)[:, None], slots] = rows
        return represented


def _attention(layer: int) -> int:
    return 2 * layer


def _outputs(layer: int) -> int:
    return 2 * layer + 1
