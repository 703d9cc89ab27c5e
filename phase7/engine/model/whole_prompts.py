"""Several prompts in one pass from their beginning, every token of each a row.

Prompts differ in length, so they fit no batch without padding, whose keys would change the bits. As rows
of one token each they do. An attention of such rows asks of its keys and values what
:class:`phase7.engine.model.side_by_side.SideBySide` does prompt by prompt; here each prompt's part turns
rows into queries again, and multiplies as the prompt does by itself. Patterns stay in the shape that
they have there, [1, heads, queries, keys].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from phase7.engine.model.bridge import Model
from phase7.engine.model.kv_cache import MATMUL
from phase7.engine.model.packed import packable
from phase7.engine.model.side_by_side import SideBySide

#: Numbers of float32 that torch computes at once, at most: two vectors of a processor. What is left over
#: at a tensor's end takes other code, whose last bits differ for exponentials and the like.
_LANES = 32


def tokens_in_vectors(model: Model) -> int:
    """How many tokens, or a multiple of it, fill whole vectors with every activation of a model.

    Where a prompt ends within a vector, its last numbers have other bits by itself than amid others.
    """
    widths = [side for layer in packable(model.bridge.blocks[0]) for side in layer.weight.shape]
    buffers = model.bridge.original_model.named_buffers()
    # Of rotations, each frequency gives two angles.
    widths += [2 * len(buffer) for name, buffer in buffers if name.endswith("inv_freq")]
    return _LANES // math.gcd(_LANES, *widths)


class _OfPrompt:
    """One prompt's keys or values, as each of its tokens' rows would have them.

    Parameters
    ----------
    whole : float [1, heads, tokens, d]
        Or with the last two axes swapped.
    is_transposed : bool
        Whether they are.
    """

    def __init__(self, whole: Tensor, *, is_transposed: bool = False) -> None:
        self._whole, self._is_transposed = whole, is_transposed

    @property
    def shape(self) -> torch.Size:
        """As of one row for every token."""
        n_tokens = self._whole.shape[3 if self._is_transposed else 2]
        return torch.Size((n_tokens, *self._whole.shape[1:]))

    @property
    def dtype(self) -> torch.dtype:
        """As of a tensor."""
        return self._whole.dtype

    @property
    def device(self) -> torch.device:
        """As of a tensor."""
        return self._whole.device

    def transpose(self, first: int, second: int) -> _OfPrompt:
        """Of the last two axes."""
        return _OfPrompt(self._whole.transpose(first, second), is_transposed=not self._is_transposed)

    def repeat_interleave(self, repeats: int, dim: int) -> _OfPrompt:
        """Over heads."""
        return _OfPrompt(
            self._whole.repeat_interleave(repeats, dim=dim), is_transposed=self._is_transposed
        )

    def to(self, *args: Any, **kwargs: Any) -> _OfPrompt:
        """As of a tensor."""
        return _OfPrompt(self._whole.to(*args, **kwargs), is_transposed=self._is_transposed)

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func not in MATMUL or kwargs or not isinstance(args[1], cls):
            raise TypeError(f"{func} of a whole prompt's keys or values")
        left, right = args
        if right._is_transposed:  # queries, by row
            return left.transpose(0, 2) @ right._whole
        return (left @ right._whole).transpose(0, 2)


class WholePrompts(SideBySide):
    """Keys, values, masks, scores or patterns of several prompts, whose rows are their tokens."""

    @staticmethod
    def _shape_of(part: Any) -> torch.Size:
        """As of rows with one query each."""
        if isinstance(part, _OfPrompt):
            return part.shape
        _, heads, n_queries, n_keys = part.shape
        return torch.Size((n_queries, heads, 1, n_keys))


class _Layer(DynamicLayer):
    def __init__(self, caches: Sequence[Any], layer: int, n_tokens: Sequence[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._each, self._n_tokens = [cache.layers[layer] for cache in caches], list(n_tokens)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Any, Any]:
        """Write every prompt's keys and values into its own cache; return those of all."""
        found = [
            one.update(keys.transpose(0, 2), values.transpose(0, 2), *args, **kwargs)
            for one, keys, values in zip(
                self._each, key_states.split(self._n_tokens), value_states.split(self._n_tokens),
                strict=True,
            )
        ]  # fmt: skip
        keys, values = zip(*found, strict=True)
        return WholePrompts([*map(_OfPrompt, keys)]), WholePrompts([*map(_OfPrompt, values)])

    def get_seq_length(self) -> int:
        """Nothing is held before the pass."""
        return 0

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Of one token: each prompt has a mask of its own."""
        return query_length, 0


def whole_prompts(caches: Sequence[Any], n_tokens: Sequence[int]) -> DynamicCache:
    """A cache that writes several prompts into empty caches of theirs.

    Parameters
    ----------
    caches : sequence of DynamicCache
        All of whose layers keep every token.
    n_tokens : sequence of int
        Of each prompt.
    """
    cache = DynamicCache()
    cache.layers = [_Layer(caches, layer, n_tokens) for layer in range(len(caches[0].layers))]
    return cache


def causal_masks(given: Float[Tensor, "rows one queries keys"], n_tokens: Sequence[int]) -> WholePrompts:
    """Each prompt's mask, 0 for a token and those before it and the dtype's lowest number elsewhere.

    Raises
    ------
    TypeError
        If an attention is given another kind of mask.
    """
    if not given.is_floating_point():
        raise TypeError(f"a mask of {given.dtype}")
    lowest = torch.finfo(given.dtype).min
    return WholePrompts([given.new_full((1, 1, n, n), lowest).triu_(1) for n in n_tokens])
