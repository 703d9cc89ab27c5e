"""Draws every figure of a tree, into files or in memory.

The same tree gives the same bytes on the same machine: no dates, no random ids, no display.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import matplotlib
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from phase7.findings.figures import GROUPS_STEM, Figure, figures, largest_value
from phase7.findings.group import Group, groups
from phase7.plots.areas import POINTS, Area, areas
from phase7.plots.circuit import circuit
from phase7.plots.compared import compared
from phase7.plots.curve import curve
from phase7.plots.doses import dose_response
from phase7.plots.heatmaps import heatmaps
from phase7.plots.intervals import intervals
from phase7.plots.lengths import lengths
from phase7.plots.style import DPI, STYLE

#: Neither date nor version: the same figure gives the same bytes.
SVG_METADATA = {"Date": None, "Creator": None}


def write_plots(tree: xr.DataTree, out_dir: Path) -> list[Path]:
    """Draw every figure of every (model, emotion), and the one that compares them.

    Parameters
    ----------
    tree : xarray.DataTree
        An effects tree (docs/effects.md).
    out_dir : Path
        Made where it is missing; files of the same names are replaced.

    Returns
    -------
    list of Path
        The files written, PNG and SVG in turn, in the report's order. A metric without a number
        has no figure.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    all_groups = groups(tree)
    for group, own in zip(all_groups, figures(all_groups), strict=True):
        for figure in own:
            with matplotlib.rc_context(STYLE):
                written += _save(draw(group, figure, all_groups), out_dir / figure.stem)
    with matplotlib.rc_context(STYLE):
        whole = compared(all_groups)
        if whole is not None:
            written += _save(whole, out_dir / GROUPS_STEM)
    return written


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A figure in memory: its SVG, the size of it in points, and the areas of its cells."""

    svg: bytes
    width: float
    height: float
    areas: list[Area]


def draw_svg(figure: Figure, group: Group | None, beside: Sequence[Group]) -> Drawn | None:
    """Draw one figure in memory.

    Parameters
    ----------
    figure : Figure
    group : Group or None
        None: the figure that compares all groups.
    beside : sequence of Group
        All groups.

    Returns
    -------
    Drawn or None
        None where there are no groups to compare.
    """
    with matplotlib.rc_context(STYLE):
        canvas = compared(beside) if group is None else draw(group, figure, beside)
        if canvas is None:
            return None
        FigureCanvasAgg(canvas)
        file = BytesIO()
        canvas.savefig(file, format="svg", metadata=SVG_METADATA)
    width, height = (float(inches * POINTS) for inches in canvas.get_size_inches())
    found = [] if group is None else list(areas(canvas, figure, group))
    return Drawn(svg=file.getvalue(), width=width, height=height, areas=found)


def draw(group: Group, figure: Figure, beside: Sequence[Group]) -> Canvas:
    """Draw one figure of a group.

    Parameters
    ----------
    group : Group
    figure : Figure
    beside : sequence of Group
        All groups whose figures of a metric share one colour scale, this one among them.
    """
    if figure.kind == "intervals":
        return intervals(group)
    if figure.kind in ("strengths", "choice"):
        return dose_response(group, figure.kind)
    if figure.kind == "curve":
        return curve(group)
    if figure.kind == "circuit":
        return circuit(group)
    if figure.kind == "lengths":
        return lengths(group)
    metric = figure.metric or None
    return heatmaps(group, metric, largest_value(beside, metric))


def _save(canvas: Canvas, stem: Path) -> list[Path]:
    FigureCanvasAgg(canvas)
    png, svg = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")
    canvas.savefig(png, dpi=DPI, metadata={"Software": None})
    canvas.savefig(svg, metadata=SVG_METADATA)
    return [png, svg]
