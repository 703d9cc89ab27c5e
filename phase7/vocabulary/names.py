"""Names that are safe for files, for netCDF groups and on a terminal.

They are made of letters, digits, ``.``, ``_`` and ``-``. Two results that would get the same name are
refused, since one would overwrite the other.
"""

from __future__ import annotations

import re
import unicodedata

from phase7.vocabulary.errors import UserError


def plain_name(text: str) -> str:
    """`text` with everything else replaced by ``_``; at most 100 bytes, no dot or dash in front."""
    plain = re.sub(r"[^\w.-]", "_", unicodedata.normalize("NFC", text))
    plain = plain.encode()[:100].decode(errors="ignore")
    return re.sub(r"^[.-]+", "_", plain) or "_"


def require_distinct(what: str, names: list[str]) -> None:
    """Refuse a name that stands twice: the second result would overwrite the first."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(
            expected=f"{what} of different names",
            got=f"{twice[0]!r} more than once",
            where=what,
            remedy="rename a folder or file, or run them as separate profiles",
        )
