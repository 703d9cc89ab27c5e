"""The folder ``store/``: finished work, each piece in one file that is whole or absent.

:class:`Store` keeps what was computed (captures, generations, scores) and finds it again by its key.
The folder also holds converted models and effects files, with checksums of their own.
``docs/reliability.md`` says what is promised.
"""

from phase7.store.inventory import StoredEntry
from phase7.store.memo import VERSION, Store, canonical
from phase7.store.sums import Damaged
from phase7.store.writing import atomic_path, writable_folder, write_bytes, write_text

__all__ = [
    "VERSION",
    "Damaged",
    "Store",
    "StoredEntry",
    "atomic_path",
    "canonical",
    "writable_folder",
    "write_bytes",
    "write_text",
]
