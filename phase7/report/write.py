"""Writes the report's files: Markdown, HTML or both, each whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import xarray as xr

from phase7.report.html import render_html
from phase7.report.language import Lang
from phase7.report.render import render_report
from phase7.store import write_text
from phase7.vocabulary.errors import UserError

Format = Literal["md", "html", "both"]

_HTML = (".html", ".htm")
_PAGE = (".md", ".markdown", ".txt", "")


def report_files(path: Path, report_format: Format | None) -> list[Path]:
    """Files of a report, Markdown first.

    Parameters
    ----------
    path : Path
        As the user named it.
    report_format : {"md", "html", "both"} or None
        None: HTML where the name ends so, else Markdown. A name of the other kind changes its suffix.

    Raises
    ------
    UserError
        If `path` names no file, or one of another kind, such as ``.pdf``.
    """
    if not path.name:
        raise UserError(
            expected="the name of a file",
            got=repr(str(path)),
            where="report",
            remedy="name the report, e.g. docs/report.md",
        )
    is_html = path.suffix.lower() in _HTML
    if not is_html and path.suffix.lower() not in _PAGE:
        raise UserError(
            expected="a report that ends in .md or .html",
            got=repr(path.suffix),
            where=str(path),
            remedy="name it .html and print it from a browser, or .md",
        )
    if report_format is None:
        report_format = "html" if is_html else "md"
    page = path.with_suffix(".md") if is_html else path
    document = path if is_html else path.with_suffix(".html")
    return {"md": [page], "html": [document], "both": [page, document]}[report_format]


def write_reports(
    tree: xr.DataTree, paths: list[Path], *, lang: Lang, plots_dir: Path | None
) -> list[Path]:
    """Write the report into each of the files, in the format that its name tells.

    Returns
    -------
    list of Path
        `paths`.

    Raises
    ------
    UserError
        If the tree has no (model, emotion), or one without settings.
    """
    for path in paths:
        if path.suffix.lower() in _HTML:
            text = render_html(tree, lang=lang)
        else:
            text = render_report(tree, lang=lang, plots_dir=plots_dir, report_path=path)
        write_text(path, text)
    return paths
