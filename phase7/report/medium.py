"""How a page shows what Markdown tables cannot: figures, and texts with their differences.

The Markdown page links figures' files (:class:`FigureFolder`); the HTML page has a medium of its own
(:mod:`phase7.report.html.medium`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from phase7.findings.figures import Figure
from phase7.findings.group import Group
from phase7.report.language import Language
from phase7.report.tables import Table


@dataclass(frozen=True, kw_only=True)
class ShownText:
    """One prompt's texts side by side; `name` and `score` are safe Markdown, the others are not escaped.

    Attributes
    ----------
    name, score : str
        What to call the place, and how the score moved.
    prompt, baseline : str
    others : tuple of (str, str)
        Heading (safe) and text: patched, then control where there is one.
    """

    name: str
    score: str
    prompt: str
    baseline: str
    others: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Drawer:
    """All texts of some heads in one mode, to be opened by whoever wants to read them.

    Attributes
    ----------
    name : str
        Safe Markdown.
    texts : callable
        Gives them.
    n : int
        How many.
    """

    name: str
    texts: Callable[[], Sequence[ShownText]]
    n: int


class Medium(Protocol):
    """How a page shows what Markdown tables cannot: figures, and texts with their differences."""

    @property
    def note(self) -> str:
        """Key of the phrase that says how to use the figures."""

    def figure(self, figure: Figure, group: Group | None, caption: str) -> str | None:
        """A block that shows a figure (of a group, or of all), or None where it cannot."""

    def texts(self, table: Table, texts: Sequence[ShownText], say: Language) -> str | None:
        """A block that shows texts instead of their table, or None for the table."""

    def browser(self, drawers: Iterable[Drawer], say: Language) -> str | None:
        """A block to look through texts by heads, mode and prompt, or None where that cannot be."""


@dataclass(frozen=True, kw_only=True)
class FigureFolder:
    """The medium of the Markdown page: links to figures' files. `plots` None: no figures."""

    plots: Path | None
    page: Path

    @property
    def note(self) -> str:
        """Figures link to their vector version."""
        return "read.figures"

    def link(self, stem: str, suffix: str) -> str | None:
        """Address of a figure's file relative to the page, or None where there is no such file."""
        if self.plots is None:
            return None
        path = self.plots / f"{stem}.{suffix}"
        if not path.is_file():
            return None
        relative = os.path.relpath(path.resolve(), self.page.resolve().parent)
        return quote(Path(relative).as_posix())

    def figure(self, figure: Figure, group: Group | None, caption: str) -> str | None:
        """The PNG, linked to its SVG, and its caption."""
        image = self.link(figure.stem, "png")
        if image is None:
            return None
        vector = self.link(figure.stem, "svg") or image
        return f"[![{caption}]({image})]({vector})\n\n*{caption}*"

    def texts(self, table: Table, texts: Sequence[ShownText], say: Language) -> str | None:
        """None: Markdown keeps the table."""
        return None

    def browser(self, drawers: Iterable[Drawer], say: Language) -> str | None:
        """None: Markdown has nothing that opens and closes."""
        return None
