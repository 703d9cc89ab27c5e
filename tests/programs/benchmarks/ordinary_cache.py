"""Ordinary KV caches for phase7's sweep: what its shared-prefix cache is timed against.

The slots and the layers that rows share are the same; only the storage differs. Every slot has the prompt's
keys and values in its own part of one tensor a layer, and attention is given views of it. It is written as
carefully as the cache it stands beside: the tensors are allocated once, for all tokens of the batch, and the
next batch takes the same memory; the prompt is copied to a slot when the slot is first used; a step writes
its tokens in place; and rows that part copy the generated tokens only.

In grouped-query models, transformers' attention copies ordinary keys and values to every query head at each
step, which the shared-prefix cache spares. :class:`GroupedLayer` spares it too, with the prompt still stored by
slot, so that the two savings can be told apart.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from transformers.cache_utils import Cache, DynamicLayer

from phase7.engine.decode import loop, running
from phase7.engine.model.buffers import Buffers
from phase7.engine.model.kv_cache import SharedKeysOrValues


class OrdinaryLayer(DynamicLayer):
    """One layer's keys and values by slot.

    Parameters
    ----------
    prefilled : DynamicLayer
        The prompt's, of one row.
    keys, values : float [slots, kv_heads, S + n_new, d]
        Uninitialised room for the prompt's S tokens and all that will be generated.
    """

    def __init__(self, prefilled: DynamicLayer, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self._prompt, self._whole = (prefilled.keys, prefilled.values), (keys, values)
        self._n_prompt = self._n_tokens = int(prefilled.keys.shape[2])
        self._n_filled = 0  # slots that hold the prompt
        self.is_initialized = True
        self.keys, self.values = self._held()

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write one step's keys and values of the first slots; return all of theirs."""
        n_used, start = key_states.shape[0], self._n_tokens
        self._fill(n_used)
        self._n_tokens += key_states.shape[2]
        for whole, new in zip(self._whole, (key_states, value_states), strict=True):
            whole[:n_used, :, start : self._n_tokens] = new
        self.keys, self.values = self._held()
        return self.keys[:n_used], self.values[:n_used]

    def get_seq_length(self) -> int:
        """Tokens held."""
        return self._n_tokens

    def copy_slots(self, source: torch.Tensor, target: torch.Tensor) -> None:
        """Copy the generated tokens; the prompt is the same in every slot."""
        for whole in self._whole:
            generated = whole[:, :, self._n_prompt : self._n_tokens]
            generated.index_copy_(0, target, generated.index_select(0, source))

    def _fill(self, n_used: int) -> None:
        if n_used > self._n_filled:
            for whole, prompt in zip(self._whole, self._prompt, strict=True):
                whole[self._n_filled : n_used, :, : self._n_prompt] = prompt
            self._n_filled = n_used

    def _held(self) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = (whole[:, :, : self._n_tokens] for whole in self._whole)
        return keys, values


class GroupedLayer(OrdinaryLayer):
    """The same storage, multiplied with all query heads of a KV head at once."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Any, Any]:
        """As an ordinary layer; what it returns shares an empty prompt."""
        keys, values = super().update(key_states, value_states)
        nothing = keys[:1, :, :0]
        return (
            SharedKeysOrValues(nothing, keys, self._n_tokens),
            SharedKeysOrValues(nothing, values, self._n_tokens),
        )


@contextlib.contextmanager
def stored_by(layer: type[OrdinaryLayer]) -> Iterator[None]:
    """Let `generate` keep its keys and values in such layers for a while."""

    def fan_out(cache: Cache, *, n_slots: int, n_new: int, buffers: Buffers, share: bool = True) -> None:
        for number, prefilled in enumerate(cache.layers):
            taken = []
            for name, prompt in (("keys", prefilled.keys), ("values", prefilled.values)):
                _, kv_heads, n_prompt, d = prompt.shape
                shape = (n_slots, kv_heads, n_prompt + n_new, d)
                taken.append(buffers.take(number, name, shape, prompt))
            cache.layers[number] = layer(prefilled, *taken)

    with (
        mock.patch.object(running, "fan_out", fan_out),
        mock.patch.object(loop, "copy_slots", layer.copy_slots),
    ):
        yield
