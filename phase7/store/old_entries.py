"""Entries that versions before safetensors wrote, read without running anything that they ask for.

Such a file is a JSON header in its first line and, behind it, what ``joblib.dump`` wrote: a pickle,
compressed by zlib, in which each array is a small object followed by the array's bytes. A pickle names
what shall be called while it is read. The reader here knows three names, those that an array needs,
and has a class of its own for each; whatever else a file names is not looked up, let alone called. The
store rewrites each entry in today's form when it is first used.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import pickle
import sys
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from phase7.store.entry_file import Checked
from phase7.store.payload import DTYPES
from phase7.store.sums import Damaged

SUFFIX = ".joblib"

_MAGIC = "phase7-entry"
_VERSION = 1
_TYPES = {f"{np.dtype(name).kind}{np.dtype(name).itemsize}": np.dtype(name) for name in DTYPES}
_ARRAY_FIELDS = {"subclass", "shape", "order", "dtype", "allow_mmap", "numpy_array_alignment_bytes"}
_NDARRAY = "numpy.ndarray"


def check(data: bytes) -> Checked:
    """Compare an old entry's bytes with its checksum; decode nothing yet.

    Raises
    ------
    Damaged
        If they are not those that were written.
    """
    head, _, payload = data.partition(b"\n")
    try:
        parsed = json.loads(head)
        key, n_bytes, made_with = str(parsed["key"]), parsed["n_bytes"], parsed.get("made_with")
        wanted = header(key, payload, made_with)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged("not an entry of this store") from error
    if n_bytes != len(payload):
        raise Damaged(f"{len(payload)} bytes where {n_bytes} were written")
    if head != wanted:
        raise Damaged("its SHA-256 is not the one that was written")
    return Checked(key, made_with, lambda: _value(payload))


def header(key: str, payload: bytes, made_with: Mapping[str, Any] | None = None) -> bytes:
    """The first line of an old entry: a function of what it says, so any change to it shows."""
    first: dict[str, Any] = {
        "magic": _MAGIC,
        "version": _VERSION,
        "key": key,
        "sha256": hashlib.sha256(payload).hexdigest(),
        "n_bytes": len(payload),
    }
    if made_with is not None:
        first["made_with"] = dict(sorted(made_with.items()))
        first["header_sha256"] = hashlib.sha256(json.dumps(first).encode()).hexdigest()
    return json.dumps(first).encode()


def _value(payload: bytes) -> Any:
    try:
        return _plain(_Reader(io.BytesIO(zlib.decompress(payload))).load())
    except MemoryError:
        raise
    except Exception as error:  # whatever the pickle asks for, whatever is wrong with it
        raise Damaged(
            "an older version's entry that holds more than arrays, numbers and text"
            f" ({type(error).__name__})"
        ) from error


class _Reader(pickle.Unpickler):
    """Reads built-in containers and the three names that joblib writes for an array."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        array = type("_Array", (_ArrayInFile,), {"file": file})
        self._known: dict[tuple[str, str], Any] = {
            ("joblib.numpy_pickle", "NumpyArrayWrapper"): array,
            ("numpy", "dtype"): _Type,
            ("numpy", "ndarray"): _NDARRAY,
        }

    def find_class(self, module: str, name: str) -> Any:
        """One of the three; everything else is refused without being imported."""
        try:
            return self._known[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name}") from None


class _Type:
    """Stands for ``numpy.dtype``."""

    def __init__(self, code: Any, *options: Any) -> None:
        self.dtype = _TYPES[code]

    def __setstate__(self, state: Any) -> None:
        if state[1] not in ("|", "<" if sys.byteorder == "little" else ">"):
            raise pickle.UnpicklingError("another byte order")


class _ArrayInFile:
    """Stands for joblib's wrapper of an array whose bytes follow in the file."""

    file: io.BytesIO
    array: np.ndarray[Any, Any] | None = None

    def __setstate__(self, state: Any) -> None:
        if not (isinstance(state, dict) and state.keys() <= _ARRAY_FIELDS):
            raise pickle.UnpicklingError("not an array of joblib's")
        shape, dtype = tuple(state["shape"]), state["dtype"].dtype
        if state["subclass"] != _NDARRAY or not all(type(n) is int and n >= 0 for n in shape):
            raise pickle.UnpicklingError("not a plain array")
        if state.get("numpy_array_alignment_bytes") is not None:  # padding: its length, then itself
            self.file.read(self.file.read(1)[0])
        flat = np.frombuffer(bytearray(self.file.read(math.prod(shape) * dtype.itemsize)), dtype)
        in_order = {"C": lambda: flat.reshape(shape), "F": lambda: flat.reshape(shape[::-1]).T}
        self.array = in_order[state["order"]]()


def _plain(node: Any) -> Any:
    """The value with its arrays in place, if it holds nothing but what the store keeps."""
    kind = type(node)
    if node is None or kind in (bool, int, float, str):
        return node
    if kind in (list, tuple):
        return kind(_plain(item) for item in node)
    if kind is dict and all(type(key) in (str, int) for key in node):
        return {key: _plain(item) for key, item in node.items()}
    if isinstance(node, _ArrayInFile) and node.array is not None:
        return node.array
    raise pickle.UnpicklingError(f"a {kind.__name__}")
