"""How the HTML page shows figures and texts.

What enters: figures with their groups, texts. What leaves: blocks of HTML on one line each, so that the
Markdown around them passes them through untouched.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from phase7.findings.figures import Figure, largest_value
from phase7.findings.group import Group
from phase7.report.html.heatmap import heatmap
from phase7.report.html.intervals import intervals
from phase7.report.html.markup import attribute, element
from phase7.report.html.texts import article
from phase7.report.language import Language
from phase7.report.medium import ShownText
from phase7.report.numbers import Numbers
from phase7.report.tables import Table


@dataclass(frozen=True, kw_only=True, eq=False)
class HtmlMedium:
    """The medium of the HTML page.

    Attributes
    ----------
    groups : sequence of Group
        All of the tree: a metric has one colour scale over them.
    plots : Path or None
        Folder of the figures of :func:`phase7.plots.write_plots`: what is not drawn here (lengths, the
        comparison of groups) is embedded from there, or left out.
    numbers : Numbers
    inline : callable
        From one line of Markdown to HTML.
    """

    groups: Sequence[Group]
    plots: Path | None
    numbers: Numbers
    inline: Callable[[str], str]

    @property
    def note(self) -> str:
        """They tell their numbers where they are touched."""
        return "read.figures.html"

    def figure(self, figure: Figure, group: Group | None, caption: str) -> str | None:
        """An interactive drawing, or the figure's SVG as an image."""
        drawn = self._drawn(figure, group) or self._embedded(figure, caption)
        if drawn is None:
            return None
        scroller = element("div", drawn, class_="scroll", tabindex=0)
        return element("figure", element("figcaption", self.inline(caption)), scroller)

    def texts(self, table: Table, texts: Sequence[ShownText], say: Language) -> str | None:
        """An article a prompt, under the table's caption and anchor."""
        caption = element("p", element("strong", self.inline(table.caption)), class_="caption")
        articles = [article(one, self.inline(one.score), say) for one in texts]
        return element("div", caption, *articles, class_="texts", id=table.anchor)

    def _drawn(self, figure: Figure, group: Group | None) -> str | None:
        if group is None or figure.kind in ("lengths", "groups"):
            return None
        if figure.kind == "intervals":
            return intervals(group, self.numbers)
        metric = figure.metric or None
        return heatmap(group, metric, largest_value(self.groups, metric), self.numbers)

    def _embedded(self, figure: Figure, caption: str) -> str | None:
        path = None if self.plots is None else self.plots / f"{figure.stem}.svg"
        if path is None or not path.is_file():
            return None
        data = b64encode(path.read_bytes()).decode("ascii")
        return f'<img src="data:image/svg+xml;base64,{data}" alt="{attribute(caption)}">'
