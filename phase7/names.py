"""Names that are safe as a file's, a netCDF group's and a line on a terminal.

What enters: any text. What leaves: letters, digits, ``.``, ``_`` and ``-``; nothing is refused.
"""

from __future__ import annotations

import re


def plain_name(text: str) -> str:
    """`text` with everything else replaced by ``_``; at most 100 characters, no dot in front."""
    plain = re.sub(r"[^\w.-]", "_", text)[:100]
    return re.sub(r"^\.+", "_", plain) or "_"
