"""Put the report together.

What enters: an effects tree, a language, where figures and report lie. What leaves: the Markdown text.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import xarray as xr

from phase7.plots import groups
from phase7.report import claims, sections
from phase7.report.language import Language, say
from phase7.report.tables import safe
from phase7.report.view import GroupView

_SECTIONS = (
    sections.settings,
    sections.comparison,
    sections.modes,
    sections.by_head,
    sections.texts,
    sections.lengths,
    claims.discussion,
)
#: Which figures follow which section, by the beginning of their name.
_FIGURES = {4: ("heatmap", "intervals"), 6: ("lengths",)}


def render_report(
    tree: xr.DataTree,
    *,
    lang: Language = "ja",
    plots_dir: Path | None = None,
    report_path: Path = Path("docs/phase7_report.md"),
) -> str:
    """The report of an effects tree.

    Parameters
    ----------
    tree : xarray.DataTree
        As of :func:`phase7.open_effects`.
    lang : {"ja", "en"}
        Of headings, notes and sentences.
    plots_dir : Path or None
        Folder with the figures of :func:`phase7.plots.write_plots`; None leaves figures out.
    report_path : Path
        Where the text will lie: figure links are relative to its folder.

    Returns
    -------
    str
        Markdown.
    """
    provenance = json.loads(tree.attrs["provenance"])
    views = [(f"{model}/{emotion}", GroupView(node)) for model, emotion, node in groups(tree)]
    emotions = sorted({view.emotion for _, view in views})
    first = views[0][1]
    lines = [f"# {say(lang, 'title', profile=safe(str(tree.attrs['profile'])))}", ""]
    lines += [f"## {say(lang, 'purpose')}", ""]
    lines += [say(lang, "purpose_text", emotions=", ".join(emotions)), ""]
    key = "net_text" if first.has_control else "no_control_text"
    lines += [say(lang, key, family=first.settings["fdr_family"], alpha=first.alpha), ""]
    for name, view in views:
        if len(views) > 1:
            lines += [f"## {safe(name)}", ""]
        level = "###" if len(views) > 1 else "##"
        for number, section in enumerate(_SECTIONS, start=1):
            lines += [f"{level} {number}. {say(lang, f'h{number}')}", ""]
            lines += section(view, lang)
            lines += _figures(view, number, plots_dir, report_path)
    lines += [f"## {say(lang, 'h8')}", "", *_reproducibility(provenance, lang)]
    return "\n".join(lines).rstrip() + "\n"


def _figures(view: GroupView, number: int, plots_dir: Path | None, report: Path) -> list[str]:
    if plots_dir is None:
        return []
    lines = []
    stem = f"{view.settings['model']}_{view.emotion}"
    for kind in _FIGURES.get(number, ()):
        for path in sorted(plots_dir.glob(f"{stem}_{kind}*.png")):
            link = os.path.relpath(path, report.parent).replace(os.sep, "/")
            lines += [f"![{safe(path.stem)}]({link})", ""]
    return lines


def _reproducibility(provenance: dict[str, Any], lang: Language) -> list[str]:
    check = provenance["self_check"]
    fingerprints = ", ".join(
        f"{name} {model['fingerprint'][:16]}" for name, model in provenance["models"].items()
    )
    packages = ", ".join(f"{name} {version}" for name, version in provenance["packages"].items())
    text = say(
        lang, "repro", seed=provenance["seed"], rows=check["rows"], failures=check["failures"],
        gap=check.get("max_logit_gap", "–"), fingerprint=safe(fingerprints), packages=safe(packages),
    )  # fmt: skip
    return [text, ""]
