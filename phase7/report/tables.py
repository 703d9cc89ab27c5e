"""Markdown tables that can be cited by number and row.

Cells must be safe Markdown already. A row of another width, a cell that would break the table, and two
rows of one name raise ValueError.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: A pipe that is not escaped, or a line break.
_BREAKS = re.compile(r"(?<!\\)[|]|[\n\r]")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row.

    Attributes
    ----------
    name : str
        What a citation calls it; unique in its table. Markdown.
    cells : tuple of str
        Markdown, one for each column.
    """

    name: str
    cells: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A numbered table.

    Attributes
    ----------
    number : str
        ``"<section>.<n>"``.
    anchor : str
        HTML id that citations link to.
    caption : str
        With its number, e.g. "Table 2.1: …". Markdown.
    header : tuple of str
    rows : tuple of Row
    n_left : int
        Columns aligned to the left, counted from the first; the others are numbers.
    """

    number: str
    anchor: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[Row, ...]
    n_left: int = 1

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        if len(set(names)) != len(names):
            raise ValueError(f"table {self.number}: rows of one name among {names}")
        for cells in (self.header, *(row.cells for row in self.rows)):
            if len(cells) != len(self.header):
                raise ValueError(f"table {self.number}: {len(cells)} cells in {cells}")
            for cell in cells:
                if _BREAKS.search(cell):
                    raise ValueError(f"table {self.number}: unsafe cell {cell!r}")

    def render(self) -> str:
        """The table with its caption and anchor."""
        rule = [":---" if i < self.n_left else "---:" for i in range(len(self.header))]
        lines = [f'<a id="{self.anchor}"></a>**{self.caption}**', ""]
        for cells in (self.header, rule, *(row.cells for row in self.rows)):
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def has(self, name: str) -> bool:
        """Whether a row of that name exists."""
        return any(row.name == name for row in self.rows)
