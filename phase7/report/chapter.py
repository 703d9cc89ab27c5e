"""What sections write on: numbered tables and figures, citations, headings; and what a section is.

A :class:`Chapter` is the part of the report on one (model, emotion), a :class:`Report` the whole page.
Only what is on the page can be cited, so that every claim can be traced.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

from phase7.findings.cells import Cell
from phase7.findings.figures import Figure
from phase7.findings.group import Group
from phase7.findings.guards import reads_otherwise
from phase7.report.escape import code, escape
from phase7.report.language import Language
from phase7.report.medium import Medium
from phase7.report.numbers import Numbers
from phase7.report.tables import Row, Table

#: Marks heads and sets whose texts have left the range of the baseline's.
DAGGER = "\u2020"

Part = TypeVar("Part", bound="Page", contravariant=True)


@dataclass(frozen=True, kw_only=True)
class Section(Generic[Part]):
    """One section of the report.

    Attributes
    ----------
    name : str
        What other sections call it when they refer to it; unique in a chapter.
    title : str
        Key of its heading in :mod:`phase7.report.language`.
    render : callable
        From the chapter (or the whole report) to blocks of Markdown, without the heading. No blocks: the
        section is left out.
    mark : str
        Begins the numbers of its tables where it stands outside the chapters: ``"S"`` for table S.1.
        A chapter's sections are numbered by their place instead.
    """

    name: str
    title: str
    render: Callable[[Part], list[str]]
    mark: str = ""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The sections of a report, in order.

    Attributes
    ----------
    before, after : tuple of Section
        Once for the report, before and after the chapters.
    chapter : tuple of Section
        For each (model, emotion); a section's place is its number.
    """

    before: tuple[Section[Report], ...]
    chapter: tuple[Section[Chapter], ...]
    after: tuple[Section[Report], ...]

    def __post_init__(self) -> None:
        names = [one.name for one in self.chapter] + [one.name for one in self.before + self.after]
        if len(set(names)) != len(names):
            raise ValueError(f"sections of one name among {names}")

    def number(self, name: str) -> int:
        """Number of a chapter's section.

        Raises
        ------
        KeyError
            If the chapter has no section of that name.
        """
        names = [section.name for section in self.chapter]
        if name not in names:
            raise KeyError(f"no section {name!r} among {names}")
        return names.index(name) + 1


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
        self._n_tables: Counter[str] = Counter()
        self._shown: list[Figure] = []
        self._section = ""

    def write(self, section: Section[Self]) -> list[str]:
        """The section's heading and blocks; nothing where it has nothing to say."""
        part = copy.copy(self)  # what is numbered and can be cited is shared
        part._section = self.number(section)
        blocks = section.render(part)
        return [self.heading(section), *blocks] if blocks else []

    def number(self, section: Section[Self]) -> str:
        """What the numbers of the section's tables begin with."""
        return section.mark

    def heading(self, section: Section[Self]) -> str:
        """The section's heading."""
        return f"## {self.say(section.title)}"

    def table(
        self,
        key: str,
        caption: str,
        header: Sequence[str],
        rows: Iterable[Row],
        *,
        n_left: int = 1,
    ) -> str:
        """Number a table, keep it for citations under `key`, and render it.

        Raises
        ------
        ValueError
            If the section has neither a number nor a mark.
        """
        if not self._section:
            raise ValueError(f"table {key!r} stands in a section without a number or mark")
        self._n_tables[self._section] += 1
        n = self._n_tables[self._section]
        number = f"{self._prefix}{self._section}.{n}"
        table = Table(
            number=number,
            anchor=f"t{self._index}-{self._section.lower()}-{n}",
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
        number = f"{self._prefix}{len(self._shown) + 1}"
        block = self.medium.figure(figure, group, self.say("figure", number=number, caption=caption))
        if block is not None:
            self._shown.append(figure)
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
    contents : Contents
        Its sections, and with them their numbers.
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
        contents: Contents,
        *,
        index: int,
        prefix: str,
        level: int,
        figures: Sequence[Figure],
    ) -> None:
        super().__init__(language, medium, index=index, prefix=prefix)
        self.group, self._contents = group, contents
        self._level, self._figures = level, figures

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

    @property
    def anchor(self) -> str:
        """HTML id of the chapter."""
        return f"group-{self._index}"

    def number(self, section: Section[Self]) -> str:
        """The section's place in the chapter, from 1."""
        return str(self._contents.number(section.name))

    def heading(self, section: Section[Self]) -> str:
        """The section's number and title."""
        return f"{'#' * self._level} {self.number(section)}. {self.say(section.title)}"

    def sections(self, *names: str) -> str:
        """Numbers of the named sections, for a sentence that refers to them: a range, or one by one."""
        found = sorted(self._contents.number(name) for name in names)
        first, last = found[0], found[-1]
        if len(found) > 2 and last - first == len(found) - 1:
            return self.say("sections.range", first=first, last=last)
        return self.say.listed([str(number) for number in found])

    def subheading(self, key: str) -> str:
        """Heading inside a section."""
        return f"{'#' * (self._level + 1)} {self.say(key)}"

    def metric_name(self, metric: str) -> str:
        """What a column calls a metric."""
        return "sentiment" if metric == "sentiment_positive" else metric.removeprefix("goemotions_")

    def label(self, label: str) -> str:
        """A head or set in code type, with a dagger where its texts no longer read as the baseline's."""
        return code(self.group.short(label)) + (DAGGER if reads_otherwise(self.group, label) else "")

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
        swept = self.group.is_swept(figure.metric or None)
        stage = "stage.discovery" if swept else "stage.confirmation" if self.group.sweep else "stage.all"
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


class Report(Page):
    """The whole page, for the sections that it has once.

    Parameters
    ----------
    chapters : sequence of Chapter
        Written already, or not to be cited.
    record : mapping
        Provenance of the run; empty where the tree has none.
    attrs : mapping
        Attributes of the tree's root.
    language, medium
        As in :class:`Page`.
    """

    def __init__(
        self,
        chapters: Sequence[Chapter],
        record: Mapping[str, Any],
        attrs: Mapping[Any, Any],
        language: Language,
        medium: Medium,
    ) -> None:
        super().__init__(language, medium, index=0)
        self.chapters, self.record, self.attrs = chapters, record, attrs
