"""A stored value as arrays and JSON, and back.

A value is built from None, bool, int, float, str, list, tuple, dict with str or int keys, NumPy arrays
and NumPy scalars. Arrays are kept as they are, under their path in the value (``z``,
``texts/24/baseline``; an array that is the whole value is called ``value``). Everything else is JSON.
What JSON has no word for is an object with one key that begins with ``$``:

=========================== ====================================================================
``{"$array": name}``        an array
``{"$scalar": name}``       a NumPy scalar, kept as an array without axes
``{"$float": hex}``         a float that is not finite, as its 8 bytes, highest first
``{"$tuple": [...]}``       a tuple
``{"$dict": [[k, v]...]}``  a dict with int keys, or with a key that begins with ``$``
=========================== ====================================================================

Values come back equal, with equal types, and arrays in C order. Nothing else can be stored: a subclass
or a class of one's own would have to be made by running code that the file names.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

#: Types that an array may have, in the machine's byte order.
DTYPES = (
    "bool", "float16", "float32", "float64", "int8", "int16", "int32", "int64",
    "uint8", "uint16", "uint32", "uint64",
)  # fmt: skip

#: The name of the JSON text among the arrays, as bytes in UTF-8.
JSON_NAME = "json"

_RESERVED = (JSON_NAME, "__metadata__")  # the latter is safetensors' own


def encode(value: Any) -> Arrays:
    """The arrays of a value, the JSON text of the rest among them.

    Raises
    ------
    TypeError
        If the value holds anything that cannot be stored.
    """
    arrays: Arrays = {}
    try:
        tree = _encoded(value, (), arrays)
        text = json.dumps(tree, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (ValueError, RecursionError) as error:  # an int of thousands of digits; a list within itself
        raise TypeError(f"an entry cannot hold this value: {error}") from error
    # Half a surrogate pair, which is a str but no UTF-8, passes as it is.
    arrays[JSON_NAME] = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)
    return arrays


def decode(arrays: Mapping[str, NDArray[Any]]) -> Any:
    """The value that :func:`encode` made these arrays of.

    Raises
    ------
    KeyError, TypeError, ValueError
        If they are not what it makes.
    """
    text = arrays[JSON_NAME].tobytes().decode("utf-8", "surrogatepass")
    return _decoded(json.loads(text), arrays)


def _encoded(value: Any, path: tuple[str, ...], arrays: Arrays) -> Any:
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return value if math.isfinite(value) else {"$float": struct.pack(">d", value).hex()}
    if kind in (list, tuple):
        items = [_encoded(item, (*path, str(i)), arrays) for i, item in enumerate(value)]
        return items if kind is list else {"$tuple": items}
    if kind is dict:
        return _encoded_dict(value, path, arrays)
    if kind is np.ndarray or isinstance(value, np.generic):
        array = np.asarray(value, order="C")
        if array.dtype.name in DTYPES and array.dtype.isnative:
            name = _name(path, arrays)
            arrays[name] = array
            return {"$array" if kind is np.ndarray else "$scalar": name}
        raise TypeError(f"an entry cannot hold an array of {array.dtype}{_place(path)}")
    raise TypeError(f"an entry cannot hold a {kind.__module__}.{kind.__qualname__}{_place(path)}")


def _encoded_dict(value: dict[Any, Any], path: tuple[str, ...], arrays: Arrays) -> dict[str, Any]:
    for key in value:
        if type(key) not in (str, int):
            raise TypeError(
                f"an entry cannot hold the key {key!r}, which is no str or int{_place(path)}"
            )
    items = [(key, _encoded(item, (*path, str(key)), arrays)) for key, item in value.items()]
    if any(type(key) is int or key.startswith("$") for key in value):
        return {"$dict": [list(item) for item in items]}
    return dict(items)


def _decoded(node: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    if isinstance(node, list):
        return [_decoded(item, arrays) for item in node]
    if not isinstance(node, dict):
        return node
    tag: str
    inner: Any
    tag, inner = next(iter(node.items()), ("", None))
    if not tag.startswith("$"):
        return {key: _decoded(item, arrays) for key, item in node.items()}
    if tag == "$array":
        return arrays[inner]
    if tag == "$scalar":
        return arrays[inner][()]
    if tag == "$float":
        return struct.unpack(">d", bytes.fromhex(inner))[0]
    if tag == "$tuple":
        return tuple(_decoded(item, arrays) for item in inner)
    if tag == "$dict":
        return {key: _decoded(item, arrays) for key, item in inner}
    raise ValueError(f"unknown kind {tag}")


def _name(path: tuple[str, ...], arrays: Arrays) -> str:
    """A name for the array at this path; with a mark behind it where another one has it."""
    name = "/".join(path).encode("utf-8", "backslashreplace").decode() or "value"
    while name in arrays or name in _RESERVED:
        name += "'"
    return name


def _place(path: tuple[str, ...]) -> str:
    return f" (at {'/'.join(path)})" if path else ""
