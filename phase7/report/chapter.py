"""What the sections of one group share: its language, numbering, citations and figures.

What enters: a group and where its figures lie. What leaves: headings, tables, citations. What it
refuses: a citation of a table or row that is not on the page, so that every claim can be traced.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from phase7.findings.figures import Figure
from phase7.findings.group import Cell, Group
from phase7.report.escape import code, escape
from phase7.report.language import Language
from phase7.report.numbers import Numbers
from phase7.report.tables import Row, Table


@dataclass(frozen=True, kw_only=True)
class ShownText:
    """One prompt's texts side by side; `name` and `score` are safe Markdown, the others foreign.

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


class Medium(Protocol):
    """How a page shows what Markdown tables cannot: figures, and texts with their differences."""

    @property
    def note(self) -> str:
        """Key of the phrase that says how to use the figures."""

    def figure(self, figure: Figure, group: Group | None, caption: str) -> str | None:
        """A block that shows a figure (of a group, or of all), or None where it cannot."""

    def texts(self, table: Table, texts: Sequence[ShownText], say: Language) -> str | None:
        """A block that shows texts instead of their table, or None for the table."""


@dataclass(frozen=True, kw_only=True)
class FigureFolder:
    """The medium of the Markdown page: links to figures' files. `plots` None: no figures."""

    plots: Path | None
    page: Path

    @property
    def note(self) -> str:
        """They link to their vector version."""
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


class Page:
    """Tables and citations of one part of the report.

    Parameters
    ----------
    language : Language
    medium : Medium
    index : int
        Number of the part, for anchors: unique on the page.
    prefix : str
        Before the numbers of tables and figures, e.g. ``"2-"``; empty where there is one part.
    """

    def __init__(self, language: Language, medium: Medium, *, index: int, prefix: str = "") -> None:
        self.say, self.medium = language, medium
        self.numbers = Numbers(not_measured=language("not_measured"), no_test=language("no_test"))
        self._index, self._prefix = index, prefix
        self._tables: dict[str, Table] = {}
        self._n_of_section: dict[str, int] = {}
        self._n_figures = 0

    def table(
        self,
        key: str,
        section: str,
        caption: str,
        header: Sequence[str],
        rows: Iterable[Row],
        *,
        n_left: int = 1,
    ) -> str:
        """Number a table, keep it for citations under `key`, and render it."""
        n = self._n_of_section[section] = self._n_of_section.get(section, 0) + 1
        number = f"{self._prefix}{section}.{n}"
        table = Table(
            number=number,
            anchor=f"t{self._index}-{section.lower()}-{n}",
            caption=self.say("table", number=number, caption=caption),
            header=tuple(header),
            rows=tuple(rows),
            n_left=n_left,
        )
        self._tables[key] = table
        return table.render()

    def has_table(self, key: str) -> bool:
        """Whether that table is on the page already."""
        return key in self._tables

    def table_of(self, key: str) -> Table:
        """A table that is on the page already."""
        return self._tables[key]

    def show(self, figure: Figure, group: Group | None, caption: str) -> str | None:
        """Number a figure and show it, or None where the medium cannot."""
        number = f"{self._prefix}{self._n_figures + 1}"
        block = self.medium.figure(figure, group, self.say("figure", number=number, caption=caption))
        self._n_figures += block is not None
        return block

    def cite(self, key: str, row: str | None = None) -> str:
        """Name a table, and one of its rows.

        Raises
        ------
        KeyError
            If the page has no such table, or the table no such row.
        """
        table = self._tables[key]
        if row is None:
            return self.say("cite", number=table.number, anchor=table.anchor)
        if not table.has(row):
            raise KeyError(f"table {table.number} has no row {row!r}")
        return self.say("cite.row", number=table.number, anchor=table.anchor, row=row)

    def claim(self, sentences: Sequence[str], *citations: str) -> str:
        """A bullet of sentences with the places that show their numbers."""
        where = self.say("cited", refs="; ".join(dict.fromkeys(citations)))
        return f"- {self.say.joined(list(sentences))}{where if citations else ''}"


class Chapter(Page):
    """The part of the report on one (model, emotion).

    Parameters
    ----------
    group : Group
    language : Language
    medium : Medium
    index, prefix
        As in :class:`Page`.
    level : int
        Level of its section headings: 2 where the report has one group, else 3.
    figures : sequence of Figure
        Of this group.
    """

    def __init__(
        self,
        group: Group,
        language: Language,
        medium: Medium,
        *,
        index: int,
        prefix: str,
        level: int,
        figures: Sequence[Figure],
    ) -> None:
        super().__init__(language, medium, index=index, prefix=prefix)
        self.group, self._level, self._figures = group, level, figures

    @property
    def name(self) -> str:
        """What to call the group."""
        return f"{escape(self.group.model)} × {escape(self.group.emotion)}"

    @property
    def effect_name(self) -> str:
        """What is tested: net Δ, or Δ without a control."""
        return self.say("net_delta" if self.group.has_control else "delta")

    @property
    def stage_name(self) -> str:
        """What the prompts of the confirmed cells are called."""
        return self.say("stage.confirmation" if self.group.sweep else "stage.all")

    def heading(self, section: int) -> str:
        """Heading of one of the seven sections."""
        return f"{'#' * self._level} {section}. {self.say(f'h.{section}')}"

    def subheading(self, key: str) -> str:
        """Heading inside a section."""
        return f"{'#' * (self._level + 1)} {self.say(key)}"

    def metric_name(self, metric: str) -> str:
        """What a column calls a metric."""
        return "sentiment" if metric == "sentiment_positive" else metric.removeprefix("goemotions_")

    def label(self, label: str) -> str:
        """A head or set in code type."""
        return code(self.group.short(label))

    def row_name(self, cell: Cell, metric: str) -> str:
        """What a row about one metric of one cell is called, and how sentences name the place."""
        return self.say("where", label=self.label(cell.label), mode=cell.mode, metric=code(metric))

    def q(self, value: float, *, measured: bool = True) -> str:
        """A q with its star."""
        return self.numbers.q(value, self.group.alpha, measured=measured)

    def starred(self, value: float, q: float) -> str:
        """A difference, with a star where its q is below the level."""
        return self.numbers.signed(value) + ("*" if q < self.group.alpha else "")

    def figure(self, figure: Figure) -> str | None:
        """A figure with its caption, or None where its file is not there."""
        stage = "stage.discovery" if self.group.sweep else "stage.all"
        caption = self.say(
            f"f.{figure.kind}",
            metric=figure.metric,
            effect=self.effect_name,
            stage=self.say(stage),
        )
        return self.show(figure, self.group, caption)

    def figures_of(self, *kinds: str) -> list[str]:
        """The figures of some kinds that are there."""
        drawn = [self.figure(one) for one in self._figures if one.kind in kinds]
        return [one for one in drawn if one is not None]
