"""How the HTML page shows figures and texts.

Figures are the SVG of :mod:`phase7.plots`, as images, with areas over them that tell their numbers. Each
block is one line of HTML: the Markdown around it passes it through untouched.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from phase7.findings.figures import Figure
from phase7.findings.group import Group
from phase7.report.html.markup import attribute, element
from phase7.report.html.texts import article
from phase7.report.html.tips import overlay
from phase7.report.language import Language
from phase7.report.medium import Drawer, ShownText
from phase7.report.numbers import Numbers
from phase7.report.tables import Table

#: Prompts whose texts a page holds at most, beside the chosen ones: a few megabytes.
MOST_TEXTS = 1_000


@dataclass(frozen=True, kw_only=True, eq=False)
class HtmlMedium:
    """The medium of the HTML page.

    Attributes
    ----------
    groups : sequence of Group
        All of the tree: a metric has one colour scale over them.
    numbers : Numbers
    inline : callable
        From one line of Markdown to HTML.
    """

    groups: Sequence[Group]
    numbers: Numbers
    inline: Callable[[str], str]

    @property
    def note(self) -> str:
        """Figures show their numbers where they are pointed at."""
        return "read.figures.html"

    def figure(self, figure: Figure, group: Group | None, caption: str) -> str | None:
        """The figure's SVG as an image under its areas; None for a comparison without a number."""
        # Imported late: a build that finds everything done draws nothing.
        from phase7.plots import draw_svg

        drawn = draw_svg(figure, group, self.groups)
        if drawn is None:
            return None
        data = b64encode(drawn.svg).decode("ascii")
        shown = f'<img src="data:image/svg+xml;base64,{data}" alt="{attribute(caption)}">'
        if group is not None and drawn.areas:
            shown += overlay(group, drawn, self.numbers)
        scroller = element("div", element("div", shown, class_="drawn"), class_="scroll", tabindex=0)
        return element("figure", element("figcaption", self.inline(caption)), scroller)

    def texts(self, table: Table, texts: Sequence[ShownText], say: Language) -> str | None:
        """One article for each prompt, under the table's caption and anchor."""
        caption = element("p", element("strong", self.inline(table.caption)), class_="caption")
        articles = [article(one, self.inline(one.score), say) for one in texts]
        return element("div", caption, *articles, class_="texts", id=table.anchor)

    def browser(self, drawers: Iterable[Drawer], say: Language) -> str | None:
        """One closed drawer for each heads and mode, with an article for each prompt."""
        left, made, n_out = MOST_TEXTS, [], 0
        for drawer in drawers:
            if drawer.n > left:
                n_out += 1
                continue
            left -= drawer.n
            summary = element("summary", self.inline(drawer.name))
            articles = [article(one, self.inline(one.score), say) for one in drawer.texts()]
            made.append(element("details", summary, *articles, class_="drawer"))
        if not made:
            return None
        rest = [element("p", self.inline(say("texts.left_out", n=n_out)))] if n_out else []
        return element("div", element("p", say("texts.all")), *made, *rest, class_="browser")
