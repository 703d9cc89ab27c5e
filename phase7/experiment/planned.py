"""A profile's file with other numbers in it; its comments stay."""

from __future__ import annotations

import re
from collections.abc import Mapping

_HEADER = re.compile(r"\s*\[([^\[\]]+)\]\s*(#.*)?")


def with_numbers(toml: str, numbers: Mapping[tuple[str, str], int]) -> str:
    """Set whole numbers in the text of a TOML file.

    Parameters
    ----------
    toml : str
        With tables written as ``[table]``.
    numbers : mapping of (table, key) to int
        A key that its table lacks is added, and so is a table that is not there.

    Returns
    -------
    str
        To be read again by the caller and compared with what was meant: a key that is written in another
        way than on a line of its own is not found.
    """
    lines, left = toml.splitlines(), dict(numbers)
    tables = [
        ("", -1),
        *((m[1].strip(), i) for i, line in enumerate(lines) if (m := _HEADER.fullmatch(line))),
    ]
    for place in reversed(range(len(tables))):
        table, start = tables[place]
        end = tables[place + 1][1] if place + 1 < len(tables) else len(lines)
        for (of, key), number in [item for item in left.items() if item[0][0] == table]:
            own = re.compile(rf"\s*{re.escape(key)}\s*=")
            at = next((i for i in range(start + 1, end) if own.match(lines[i])), None)
            if at is None:
                lines.insert(start + 1, f"{key} = {number}")
                end += 1
            else:
                lines[at] = f"{key} = {number}"
            del left[of, key]
    for table in dict.fromkeys(of for of, _ in left):
        lines += ["", f"[{table}]"]
        lines += [f"{key} = {number}" for (of, key), number in left.items() if of == table]
    return "\n".join(lines) + "\n"
