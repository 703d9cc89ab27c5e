"""Values as entries hold them: strategies that draw them, and equality to the bit and the type."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from phase7.store.payload import DTYPES

text = st.text(st.characters(exclude_categories=()), max_size=6)  # halves of surrogate pairs too
scalars = st.none() | st.booleans() | st.integers() | st.floats() | text


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """An array of any bits (NaN payloads too), shape and order; axes of length 0 and no axes included."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    n_bytes = int(np.prod(shape, dtype=int)) * dtype.itemsize
    bits = draw(st.binary(min_size=n_bytes, max_size=n_bytes))
    if dtype.kind == "b":
        bits = bytes(byte & 1 for byte in bits)
    array = np.frombuffer(bits, dtype).reshape(shape).copy()
    view = draw(st.sampled_from(("as it is", "transposed", "every second", "backwards")))
    if view == "transposed":
        return array.T
    if array.ndim and view != "as it is":
        return array[::2] if view == "every second" else array[::-1]
    return array


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = (
        text | st.integers() | st.sampled_from(["$array", "$dict", "json", "__metadata__", "a/b", "1"])
    )
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.lists(inner, max_size=3).map(tuple)
            | st.dictionaries(keys, inner, max_size=3)
        ),
        max_leaves=8,
    )


values = nested(scalars | arrays())


def is_same(one: Any, other: Any) -> bool:
    """Equal with equal types, to the bit of every float; the order of a dict counts, an array's strides not."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray | np.generic):
        same_kind = one.dtype == other.dtype and one.shape == other.shape
        return same_kind and np.asarray(one).tobytes() == np.asarray(other).tobytes()
    if isinstance(one, dict):
        return is_same(list(one.items()), list(other.items()))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, float):
        return struct.pack(">d", one) == struct.pack(">d", other)
    return bool(one == other)
