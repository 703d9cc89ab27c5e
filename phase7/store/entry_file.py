"""The bytes of an entry: one safetensors file that nobody's code is needed to read.

The file opens with ``safetensors`` by itself. Its arrays are those of :mod:`phase7.store.payload`; its
one metadata string, ``phase7``, is the header in JSON: magic, SHA-256, size of the arrays, version,
key, and with which libraries the value was made. The SHA-256 is that of the whole file with the 64
digits themselves set to zero, and it is compared before anything else is read: a flipped bit, a cut or
an appended byte anywhere is noticed.

Nothing is compressed: activations hardly shrink (7 %), and compressed ones take nine times as long to
read and thirty times as long to write.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from safetensors.numpy import load, save

from phase7.store.payload import decode, encode
from phase7.store.sums import Damaged

SUFFIX = ".safetensors"

#: Raise it when the bytes change in a way that this module cannot read.
FILE_VERSION = 2

_MAGIC = "phase7-entry"
_ZEROS = "0" * 64
_SUM = re.compile(
    rb'\{\\"magic\\":\\"phase7-entry\\"'
    rb',\\"sha256\\":\\"([0-9a-f]{64})\\",\\"n_bytes\\":(\d{1,18}),'
)
_WITHIN = 256  # the metadata come first, and the sum first in them


@dataclass(frozen=True)
class Checked:
    """An entry whose bytes are those that were written.

    Attributes
    ----------
    key : str
        The canonical string of the key that it answers.
    made_with : mapping or None
        With which libraries it was made, if it says.
    value : callable
        Decodes the value; raises :class:`~phase7.store.sums.Damaged` if that cannot be done here.
    """

    key: str
    made_with: Mapping[str, Any] | None
    value: Callable[[], Any]


def pack(key: str, value: Any, made_with: Mapping[str, Any] | None = None) -> bytes:
    """The file of an entry: equal arguments give equal bytes.

    Raises
    ------
    TypeError
        If the value holds anything that cannot be stored.
    """
    arrays = encode(value)
    header: dict[str, Any] = {
        "magic": _MAGIC,
        "sha256": _ZEROS,
        "n_bytes": sum(array.nbytes for array in arrays.values()),
        "version": FILE_VERSION,
        "key": key,
    }
    if made_with is not None:
        header["made_with"] = dict(sorted(made_with.items()))
    data = bytearray(save(arrays, {"phase7": json.dumps(header, separators=(",", ":"))}))
    found = _SUM.search(data, 0, _WITHIN)
    if found is None:  # another order of the header would be another format
        raise RuntimeError("this version of safetensors does not write the metadata first")
    start, end = found.span(1)
    data[start:end] = hashlib.sha256(data).hexdigest().encode("ascii")
    return bytes(data)


def check(data: bytes) -> Checked:
    """Compare an entry's bytes with its checksum; decode nothing yet.

    Raises
    ------
    Damaged
        If they are not those that were written.
    """
    found = _SUM.search(data, 0, _WITHIN)
    if found is None:
        raise Damaged("not an entry of this store")
    n_header = int.from_bytes(data[:8], "little")
    n_written = 8 + n_header + int(found[2])
    if n_written != len(data):
        raise Damaged(f"{len(data)} bytes where {n_written} were written")
    if _sum(data, *found.span(1)) != found[1].decode("ascii"):
        raise Damaged("its SHA-256 is not the one that was written")
    try:
        header = json.loads(json.loads(data[8 : 8 + n_header])["__metadata__"]["phase7"])
        version, key, made_with = header["version"], header["key"], header.get("made_with")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged("not an entry of this store") from error
    if version != FILE_VERSION:
        raise Damaged(f"an entry of version {version} where version {FILE_VERSION} is known")
    return Checked(str(key), made_with, lambda: _value(data))


def _value(data: bytes) -> Any:
    try:
        return decode(load(data))
    except MemoryError:
        raise
    except Exception as error:  # whole, but these libraries cannot read it
        raise Damaged(f"cannot be read with the libraries here ({type(error).__name__})") from error


def _sum(data: bytes, start: int, end: int) -> str:
    """SHA-256 of the file with the digits from `start` to `end` set to zero."""
    whole = memoryview(data)
    digest = hashlib.sha256(whole[:start])
    digest.update(_ZEROS.encode("ascii"))
    digest.update(whole[end:])
    return digest.hexdigest()
