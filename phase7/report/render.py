"""The whole page as Markdown: its contents written in order, the chapters for each (model, emotion).

The same tree gives the same text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import xarray as xr

from phase7.findings.figures import figures
from phase7.findings.group import groups
from phase7.findings.reader import provenance_of
from phase7.report.chapter import Chapter, Contents, Report
from phase7.report.contents import CONTENTS
from phase7.report.language import Language
from phase7.report.medium import FigureFolder, Medium


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


def page_blocks(
    tree: xr.DataTree, language: Language, medium: Medium, contents: Contents = CONTENTS
) -> list[str]:
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
            contents,
            index=i,
            prefix=f"{i}-" if several else "",
            level=3 if several else 2,
            figures=own,
        )
        for i, (group, own) in enumerate(zip(all_groups, figures(all_groups), strict=True), 1)
    ]
    bodies: list[str] = []
    for chapter in chapters:
        if several:
            bodies.append(f'<a id="{chapter.anchor}"></a>\n\n## {chapter.name}')
        for section in contents.chapter:
            bodies += chapter.write(section)
    report = Report(chapters, provenance_of(tree), tree.attrs, language, medium)
    before, after = (
        [block for section in sections for block in report.write(section)]
        for sections in (contents.before, contents.after)
    )
    blocks = [f"# {language('title')}", *before, *bodies, *after]
    return [block for block in blocks if block]
