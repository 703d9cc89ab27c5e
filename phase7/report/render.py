"""The whole page: shared parts once, then the seven sections of each (model, emotion).

What enters: the effects tree and where figures and page lie. What leaves: Markdown. The same tree
gives the same text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import xarray as xr

from phase7.report.chapter import Chapter, FigureFolder, Page
from phase7.report.figures import figures
from phase7.report.language import Language
from phase7.report.sections import (
    comparison,
    discussion,
    heads,
    lengths,
    modes,
    settings,
    shared,
    texts,
)
from phase7.report.view import groups, root_record

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
    language = Language(lang)
    all_groups = groups(tree)
    several = len(all_groups) > 1
    folder = FigureFolder(plots=plots_dir, page=report_path)
    chapters = [
        Chapter(
            group,
            language,
            index=i,
            prefix=f"{i}-" if several else "",
            level=3 if several else 2,
            figures=own,
            folder=folder,
        )
        for i, (group, own) in enumerate(zip(all_groups, figures(all_groups), strict=True), 1)
    ]
    bodies: list[str] = []
    for i, chapter in enumerate(chapters, 1):
        if several:
            bodies.append(f'<a id="{shared.anchor(i)}"></a>\n\n## {chapter.name}')
        for section in SECTIONS:
            bodies += section.render(chapter)
    page = Page(language, index=0)
    blocks = [
        f"# {language('title')}",
        *shared.purpose(page, chapters),
        *shared.summary(page, chapters),
        *shared.reading(page, chapters),
        *bodies,
        *shared.reproducibility(page, chapters, root_record(tree), tree.attrs),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"
