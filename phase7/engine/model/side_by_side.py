"""Several prompts' keys and values in one attention.

Prompts differ in length, so their keys, values and patterns fit no tensor together. What the models' own
attention code does with these is little: it repeats, transposes, multiplies and scales them, adds a mask
and takes a softmax over the keys. A :class:`SideBySide` does these part by part, each with the shapes
and hence the bits that its prompt has alone, and refuses whatever else it is asked for. All the rest of
an attention, its products with the weights above all, runs once for all prompts.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from phase7.engine.model.kv_cache import MATMUL, Repeating, SharedKeysOrValues

#: What leaves every number to itself, whatever lies beside it.
_BY_NUMBER = (
    operator.mul,
    operator.truediv,
    torch.tanh,
    torch.mul,
    Tensor.__mul__,
    Tensor.__rmul__,
    Tensor.__truediv__,
)
_ADDITIONS = (operator.add, Tensor.__add__, Tensor.__radd__, torch.add)
#: What leaves every row, head and query to itself.
_BY_PART = (
    torch.nn.functional.softmax,
    torch.softmax,
    torch.nn.functional.dropout,
    Tensor.to,
    *_BY_NUMBER,
    *_ADDITIONS,
)


class SideBySide:
    """Tensors [rows, heads, n, n], or what stands for keys and values, one a prompt.

    Parameters
    ----------
    parts : sequence
        Tensors or :class:`phase7.engine.model.kv_cache.SharedKeysOrValues`.
    flat : Tensor, optional
        All numbers of the parts one after the other, where these are views of it.
    """

    def __init__(self, parts: Sequence[Any], flat: Tensor | None = None) -> None:
        self.parts, self._flat = parts, flat

    @cached_property
    def shape(self) -> torch.Size:
        """As of one tensor that has room for all parts."""
        rows, *rest = zip(*map(self._shape_of, self.parts), strict=True)
        return torch.Size((sum(rows), *map(max, rest)))

    @staticmethod
    def _shape_of(part: Any) -> torch.Size:
        shape: torch.Size = part.shape
        return shape

    def size(self, axis: int | None = None) -> Any:
        """As of a tensor."""
        return self.shape if axis is None else self.shape[axis]

    @property
    def ndim(self) -> int:
        """As of a tensor."""
        return 4

    @property
    def dtype(self) -> torch.dtype:
        """As of a tensor."""
        of_all: torch.dtype = self.parts[0].dtype
        return of_all

    @property
    def device(self) -> torch.device:
        """As of a tensor."""
        of_all: torch.device = self.parts[0].device
        return of_all

    def is_floating_point(self) -> bool:
        """As of a tensor."""
        return self.dtype.is_floating_point

    def transpose(self, first: int, second: int) -> SideBySide:
        """Of the last two axes."""
        if {first % 4, second % 4} != {2, 3}:
            raise TypeError(f"axes {first} and {second} of several prompts' keys")
        return type(self)([part.transpose(first, second) for part in self.parts])

    def repeat_interleave(self, repeats: int, dim: int | None = None) -> SideBySide:
        """Over heads."""
        if dim is None or dim % 4 != 1:
            raise TypeError(f"axis {dim} of several prompts' keys")
        return type(self)([part.repeat_interleave(repeats, dim=dim) for part in self.parts])

    def to(self, *args: Any, **kwargs: Any) -> SideBySide:
        """As of a tensor."""
        return type(self)([part.to(*args, **kwargs) for part in self.parts])

    def __getitem__(self, index: Any) -> Any:
        everything = slice(None)
        if index != (everything, everything, None, everything, everything):
            raise TypeError(f"index {index} of several prompts' keys")
        return Repeating(self)

    def __mul__(self, other: Any) -> SideBySide:
        return self._each(operator.mul, (self, other))

    def __truediv__(self, other: Any) -> SideBySide:
        return self._each(operator.truediv, (self, other))

    def __add__(self, other: Any) -> SideBySide:
        return self._each(operator.add, (self, other))

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in MATMUL and not kwargs:
            return cls._product(*args)
        if func in _BY_PART:
            return cls._each(func, args, kwargs or {})
        raise TypeError(f"{func} of several prompts' keys, values or patterns")

    @classmethod
    def _product(cls, left: Any, right: Any) -> Any:
        """Scores, of a tensor of queries; or what a pattern makes of values, which is a tensor again."""
        if isinstance(left, SideBySide):
            return torch.cat([_times(a, b) for a, b in zip(left.parts, right.parts, strict=True)])
        shapes = [part.shape for part in right.parts]
        each = left.split([shape[0] for shape in shapes])
        if not all(isinstance(part, SharedKeysOrValues) for part in right.parts):
            return type(right)([_times(a, b) for a, b in zip(each, right.parts, strict=True)])
        scores = [torch.Size((*a.shape[:3], shape[3])) for a, shape in zip(each, shapes, strict=True)]
        flat = left.new_empty(sum(shape.numel() for shape in scores))
        for a, b, into in zip(each, right.parts, parts := _views(flat, scores), strict=True):
            b.multiplied(a, into)
        return type(right)(parts, flat)

    @classmethod
    def _each(
        cls, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any] | None = None
    ) -> SideBySide:
        whole = [one for one in args if isinstance(one, SideBySide)]
        if func in _ADDITIONS and len(whole) == 2 and any(map(_adds_nothing, whole)):
            return next((one for one in whole if not _adds_nothing(one)), whole[0])
        for one in args:
            if isinstance(one, Tensor) and one.ndim:
                raise TypeError(f"{func} of several prompts' keys with a tensor of {tuple(one.shape)}")
        made = next((type(one) for one in whole if not _adds_nothing(one)), SideBySide)
        if func in _BY_NUMBER and len(whole) == 1 and whole[0]._flat is not None:
            shapes = [part.shape for part in whole[0].parts]
            flat = func(*[one._flat if one is whole[0] else one for one in args], **(kwargs or {}))
            return made(_views(flat, shapes), flat)
        n_parts = len(whole[0].parts)
        columns = [one.parts if isinstance(one, SideBySide) else [one] * n_parts for one in args]
        return made([func(*each, **(kwargs or {})) for each in zip(*columns, strict=True)])


class _Nothing(SideBySide):
    """A mask of zeros: what it is added to stays as it is."""


def _adds_nothing(one: SideBySide) -> bool:
    return isinstance(one, _Nothing)


def _times(left: Tensor, right: Any) -> Any:
    is_shared = isinstance(right, SharedKeysOrValues) and isinstance(left, Tensor)
    return right.multiplied(left) if is_shared else left @ right


def _views(flat: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    """The parts that lie one after the other."""
    parts = flat.split([shape.numel() for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


class _Layer(DynamicLayer):
    def __init__(self, caches: Sequence[Any], layer: int, n_rows: Callable[[int], list[int]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._each, self._layer, self._n_rows = [cache.layers[layer] for cache in caches], layer, n_rows
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Any, Any]:
        """Append one step's keys and values of all prompts; return all of theirs."""
        n_rows = self._n_rows(self._layer)
        found = [
            one.update(keys, values, *args, **kwargs)
            for one, keys, values in zip(
                self._each, key_states.split(n_rows), value_states.split(n_rows), strict=True
            )
        ]
        return SideBySide([keys for keys, _ in found]), SideBySide([values for _, values in found])

    def get_seq_length(self) -> int:
        """Of the first prompt."""
        length: int = self._each[0].get_seq_length()
        return length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Of the first prompt: each has a mask of its own."""
        sizes: tuple[int, int] = self._each[0].get_mask_sizes(query_length)
        return sizes


def side_by_side(caches: Sequence[Any], n_rows: Callable[[int], list[int]]) -> DynamicCache:
    """A cache that appends to several prompts' caches.

    Parameters
    ----------
    caches : sequence of DynamicCache
        Prefilled and fanned out.
    n_rows : callable
        From a layer to each prompt's rows in its attention.
    """
    cache = DynamicCache()
    cache.layers = [_Layer(caches, layer, n_rows) for layer in range(len(caches[0].layers))]
    return cache


def own_mask(given: Tensor, cache: Any, layer: int) -> Tensor:
    """One prompt's mask, of any [rows, 1, queries, keys]: one token sees all keys of its prompt."""
    n_keys, _ = cache.layers[layer].get_mask_sizes(1)
    return given[:1, :, :, -1:].expand(-1, -1, -1, n_keys)


def masks(given: Tensor, caches: Sequence[Any], layer: int) -> SideBySide:
    """Each prompt's mask."""
    parts = [own_mask(given, cache, layer) for cache in caches]
    is_zero = given.is_floating_point() and not bool(given[:1, :, :, -1:].any())
    return _Nothing(parts) if is_zero else SideBySide(parts)
