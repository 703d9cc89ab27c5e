"""A KV cache whose rows share the prompt.

All rows of a batch start from one prompt, so its keys and values are the same in every row; copying
them to each (and, in grouped-query models, to each query head) at every step is most of the cost of
a plain cache. Here the prompt is stored once, and the attention of all rows over it is one matrix
product; only the generated tokens are stored by row, and multiplied in whole chunks of tokens,
because a product over memory with gaps takes up to four times as long.

The models' own attention code runs unchanged: it is handed a :class:`SharedKeysOrValues`, which
knows the few operations that attention does with keys and values, and becomes an ordinary tensor
for any other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from phase7.engine.model.blocks import whole_blocks
from phase7.engine.model.buffers import Buffers

#: All names that a matrix product goes by.
MATMUL = (torch.matmul, Tensor.matmul, Tensor.__matmul__)

#: Generated tokens that room is made for at a time.
_CHUNK = 8


def shares_layers(cache: Cache) -> bool:
    """Whether every layer of a prefilled cache can hold groups of rows in slots.

    Layers of a kind that drops old tokens (sliding windows) cannot.
    """
    layers: list[Any] = cache.layers
    return keeps_every_token(cache) and all(layer.is_initialized for layer in layers)


def keeps_every_token(cache: Cache) -> bool:
    """Whether a cache has no layer of a kind that drops old tokens."""
    return all(type(layer) is DynamicLayer for layer in cache.layers)


def fan_out(cache: Cache, *, n_slots: int, n_new: int, buffers: Buffers, share: bool = True) -> None:
    """Give a cache of one row `n_slots` slots that share what it holds, with room for `n_new` tokens.

    The cache lives until the next one takes the same buffers. Layers of a kind that drops old tokens
    (sliding windows) are copied by slot instead; all are if `share` is False.
    """
    layers: list[Any] = cache.layers
    for number, layer in enumerate(layers):
        if share and type(layer) is DynamicLayer and layer.is_initialized:
            own = [
                _Own(buffers.take(number, name, (n_slots, held.shape[1], n_new, held.shape[3]), held))
                for name, held in (("keys", layer.keys), ("values", layer.values))
                if held is not None  # None only before the prefill
            ]
            layers[number] = SharedPrefixLayer(layer, *own)
        else:
            layer.batch_repeat_interleave(n_slots)


def copy_slots(layer: Any, source: Int[Tensor, " N"], target: Int[Tensor, " N"]) -> None:
    """Copy the generated tokens' keys and values from slots to slots of a shared layer."""
    for own in (layer.own_keys, layer.own_values):
        held = own.tokens[:, :, : layer.n_own]
        held.index_copy_(0, target, held.index_select(0, source))


def values_of(
    layer: Any, slots: Int[Tensor, " N"], kv_heads: Int[Tensor, " N"]
) -> Float[Tensor, "N keys d"]:
    """The values of some (slot, KV head), of a plain or a shared layer."""
    if not isinstance(layer, SharedPrefixLayer):
        values: Tensor = getattr(layer, "seen_values", layer.values)[slots, kv_heads]
        return values
    prefix, own = layer.shared_values[0, kv_heads], layer.own_values.tokens[slots, kv_heads]
    return torch.cat([prefix, own[:, : layer.n_own]], dim=1)


class _Own:
    """Keys or values of the generated tokens by slot, in memory without gaps.

    Parameters
    ----------
    memory : float [slots, kv_heads, n, d]
        Enough for all n tokens; what it holds does not matter.

    Attributes
    ----------
    tokens : float [slots, kv_heads, room, d]
        Room for a multiple of :data:`_CHUNK` tokens, or for all; zeros where none has been written.
    """

    def __init__(self, memory: Tensor) -> None:
        self._memory, self.tokens = memory, memory[:, :, :0]

    def write(self, new: Tensor, start: int) -> None:
        """Write the tokens from `start` on of the first slots, and make room for them if need be."""
        end = start + new.shape[2]
        if end > self.tokens.shape[2]:
            self._make_room(min(whole_blocks(end, _CHUNK), self._memory.shape[2]), start)
        self.tokens[: new.shape[0], :, start:end] = new

    def _make_room(self, room: int, n_held: int) -> None:
        held = self.tokens[:, :, :n_held].clone()
        n_slots, kv_heads, _, d = self._memory.shape
        shape = (n_slots, kv_heads, room, d)
        self.tokens = self._memory.view(-1)[: math.prod(shape)].view(shape)
        self.tokens[:, :, :n_held] = held
        self.tokens[:, :, n_held:] = 0


class SharedPrefixLayer(DynamicLayer):
    """One layer of the cache: shared tensors [1, kv_heads, S, d] and the generated tokens' by slot.

    A step may use only the first few slots.
    """

    def __init__(self, prefilled: DynamicLayer, own_keys: _Own, own_values: _Own) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.shared_keys = cast("Tensor", prefilled.keys)  # None only before the prefill
        self.shared_values = cast("Tensor", prefilled.values)
        self.own_keys, self.own_values = own_keys, own_values
        self.n_own = 0
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Any, Any]:
        """Append one step's keys and values of the first slots; return all of theirs."""
        n_used = key_states.shape[0]
        self.own_keys.write(key_states, self.n_own)
        self.own_values.write(value_states, self.n_own)
        self.n_own += key_states.shape[2]
        return (
            SharedKeysOrValues(self.shared_keys, self.own_keys.tokens[:n_used], self.n_own),
            SharedKeysOrValues(self.shared_values, self.own_values.tokens[:n_used], self.n_own),
        )

    def get_seq_length(self) -> int:
        """Tokens held, shared ones included."""
        return int(self.shared_keys.shape[2]) + self.n_own

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys that `query_length` more queries will see."""
        return self.get_seq_length() + query_length, 0


class SharedKeysOrValues:
    """Keys or values [rows, heads, tokens, d] stored as a shared part and a part by row.

    Attention asks it for its shape, repeats it over query heads, transposes it and multiplies it;
    these stay cheap. Anything else sees the ordinary tensor.

    Parameters
    ----------
    shared : float [1, kv_heads, S, d]
    own : float [slots, kv_heads, room, d]
    n_own : int
        Tokens in `own`; zeros follow.
    n_repeats : int
        Query heads for each KV head, once repeated.
    transposed : bool
        Whether the last two axes are swapped.
    """

    def __init__(
        self,
        shared: Tensor,
        own: Tensor,
        n_own: int,
        *,
        n_repeats: int = 1,
        transposed: bool = False,
    ) -> None:
        self.shared, self.own, self.n_own = shared, own, n_own
        self.n_repeats, self.transposed = n_repeats, transposed

    @property
    def shape(self) -> torch.Size:
        """Shape as an ordinary tensor."""
        rows, heads, _, d = self.own.shape
        tokens = self.shared.shape[2] + self.n_own
        last = (d, tokens) if self.transposed else (tokens, d)
        return torch.Size((rows, heads * self.n_repeats, *last))

    def size(self, axis: int | None = None) -> Any:
        """As of a tensor."""
        return self.shape if axis is None else self.shape[axis]

    def transpose(self, first: int, second: int) -> Any:
        """Swapping the last two axes stays cheap."""
        if {first % 4, second % 4} == {2, 3}:
            return self._with(transposed=not self.transposed)
        return self.dense().transpose(first, second)

    def repeat_interleave(self, repeats: int, dim: int | None = None) -> Any:
        """Repeating over heads stays cheap."""
        if dim is not None and dim % 4 == 1 and self.n_repeats == 1:
            return self._with(n_repeats=repeats)
        return self.dense().repeat_interleave(repeats, dim=dim)

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """A conversion that changes nothing stays cheap."""
        shared = self.shared.to(*args, **kwargs)
        if shared is self.shared:
            return self
        return SharedKeysOrValues(
            shared,
            self.own.to(*args, **kwargs),
            self.n_own,
            n_repeats=self.n_repeats,
            transposed=self.transposed,
        )

    def __getitem__(self, index: Any) -> Any:
        everything = slice(None)
        if index == (everything, everything, None, everything, everything):
            return Repeating(self)
        return self.dense()[index]

    def __getattr__(self, name: str) -> Any:
        if name in ("dtype", "device", "is_cuda", "requires_grad"):
            return getattr(self.own, name)
        return getattr(self.dense(), name)

    def dense(self) -> Tensor:
        """The ordinary tensor."""
        rows = self.own.shape[0]
        own = self.own[:, :, : self.n_own]
        whole = torch.cat([self.shared.expand(rows, -1, -1, -1), own], dim=2)
        if self.n_repeats > 1:
            whole = whole.repeat_interleave(self.n_repeats, dim=1)
        return whole.transpose(2, 3) if self.transposed else whole

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in MATMUL and not kwargs:
            left, right = args
            if isinstance(left, Tensor) and isinstance(right, cls) and left.ndim == 4:
                return right.multiplied(left)
        dense = [a.dense() if isinstance(a, cls) else a for a in args]
        named = {k: a.dense() if isinstance(a, cls) else a for k, a in (kwargs or {}).items()}
        return func(*dense, **named)

    def multiplied(self, left: Tensor, into: Tensor | None = None) -> Tensor:
        """left [rows, heads, queries, x] @ self: scores (transposed) or weighted values.

        `into`: memory without gaps for scores, of their shape.
        """
        assert into is None or self.transposed
        rows, heads, n_queries, width = left.shape
        kv_heads, n_shared = self.shared.shape[1], self.shared.shape[2]
        by_kv = left.reshape(rows, kv_heads, -1, width)  # query heads of one KV head side by side
        if self.transposed:
            shared = self._over_rows(by_kv, self.shared[0].transpose(1, 2))
            own = by_kv @ self.own.transpose(2, 3)
            place = None if into is None else into.view(*own.shape[:-1], -1)
            product = torch.cat([shared, own[..., : self.n_own]], dim=-1, out=place)
        else:
            product = self._over_rows(by_kv[..., :n_shared], self.shared[0])
            own, room = by_kv[..., n_shared:], self.own.shape[2] - self.n_own
            if room:
                own = torch.nn.functional.pad(own, (0, room))
            product = product + own @ self.own
        return product.reshape(rows, heads, n_queries, -1)

    @staticmethod
    def _over_rows(by_kv: Tensor, shared: Tensor) -> Tensor:
        """[rows, kv_heads, m, x] times [kv_heads, x, y] as one product a KV head."""
        rows, kv_heads, m, width = by_kv.shape
        stacked = by_kv.transpose(0, 1).reshape(kv_heads, rows * m, width)
        fill = whole_blocks(rows * m) - rows * m
        if fill:
            stacked = torch.nn.functional.pad(stacked, (0, 0, 0, fill))
        product = (stacked @ shared)[:, : rows * m]
        return product.reshape(kv_heads, rows, m, -1).transpose(0, 1)

    def _with(self, *, n_repeats: int | None = None, transposed: bool | None = None) -> Any:
        return SharedKeysOrValues(
            self.shared,
            self.own,
            self.n_own,
            n_repeats=self.n_repeats if n_repeats is None else n_repeats,
            transposed=self.transposed if transposed is None else transposed,
        )


class Repeating:
    """Keys or values between ``x[:, :, None]`` and ``reshape``: how transformers repeats KV heads.

    Parameters
    ----------
    whole : SharedKeysOrValues or SideBySide
    """

    def __init__(self, whole: Any) -> None:
        self._whole, self._n_repeats = whole, 1

    def expand(self, *shape: int) -> Repeating:
        """To [rows, kv_heads, repeats, tokens, d]."""
        self._n_repeats = shape[2]
        return self

    def reshape(self, *shape: int) -> Any:
        """To [rows, heads, tokens, d]."""
        repeated = self._whole.repeat_interleave(self._n_repeats, dim=1)
        if tuple(repeated.shape) != shape:
            raise ValueError(f"expected the shape {tuple(repeated.shape)}, got {shape}")
        return repeated
