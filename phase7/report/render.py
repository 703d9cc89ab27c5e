"""The whole page: shared parts once, then the seven sections of each (model, emotion).

What enters: the effects tree and where figures and page lie. What leaves: Markdown. The same tree
gives the same text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import xarray as xr

from phase7.findings.figures import GROUPS_STEM, Figure, figures
from phase7.findings.group import groups
from phase7.findings.reader import provenance_of
from phase7.report.chapter import Chapter, FigureFolder, Medium, Page
from phase7.report.language import Language
from phase7.report.sections import comparison, discussion, heads, lengths, modes, settings, shared, texts
from phase7.report.sections import groups as compared_groups

#: Sections 1 to 7; the discussion comes last because it cites the tables of the others.
SECTIONS = (settings, comparison, modes, heads, texts, lengths, discussion)


def render_report(
    tree: xr.DataTree,
    *,
    lang: Literal["ja", "en"] = "ja",
    plots_dir: Path | None,
    report_path: Path,
) -> str:
    """Write the report as one Markdown page.

    Parameters
    ----------
    tree : xarray.DataTree
        An effects tree (docs/effects.md), as :func:`phase7.open_effects` gives it.
    lang : {"ja", "en"}
        Language of headings, labels and sentences.
    plots_dir : Path or None
        Folder of the figures of :func:`phase7.plots.write_plots`. Figures that are not there are
        left out; None leaves out all.
    report_path : Path
        Where the page will be saved: figures are linked relative to its folder. Nothing is written.

    Returns
    -------
    str
        Markdown (CommonMark, tables, inline HTML for anchors and marks), ending in a newline.

    Raises
    ------
    UserError
        If the tree has no (model, emotion), or one without settings.
    """
    medium = FigureFolder(plots=plots_dir, page=report_path)
    return "\n\n".join(page_blocks(tree, Language(lang), medium)) + "\n"


def page_blocks(tree: xr.DataTree, language: Language, medium: Medium) -> list[str]:
    """The blocks of the page, Markdown each, as the medium shows figures and texts.

    Raises
    ------
    UserError
        If the tree has no (model, emotion), or one without settings.
    """
    all_groups = groups(tree)
    several = len(all_groups) > 1
    chapters = [
        Chapter(
            group,
            language,
            medium,
            index=i,
            prefix=f"{i}-" if several else "",
            level=3 if several else 2,
            figures=own,
        )
        for i, (group, own) in enumerate(zip(all_groups, figures(all_groups), strict=True), 1)
    ]
    bodies: list[str] = []
    for i, chapter in enumerate(chapters, 1):
        if several:
            bodies.append(f'<a id="{shared.anchor(i)}"></a>\n\n## {chapter.name}')
        for section in SECTIONS:
            bodies += section.render(chapter)
    page = Page(language, medium, index=0, prefix="")
    beside = _comparison_figure(page) if several else None
    blocks = [
        f"# {language('title')}",
        *shared.purpose(page, chapters),
        *shared.summary(page, chapters),
        *shared.reading(page, chapters),
        *bodies,
        *compared_groups.render(page, chapters, beside),
        *shared.reproducibility(page, chapters, provenance_of(tree), tree.attrs),
    ]
    return [block for block in blocks if block]


def _comparison_figure(page: Page) -> str | None:
    figure = Figure(kind="groups", stem=GROUPS_STEM)
    return page.show(figure, None, page.say("f.groups"))
