"""Which part of a figure stands for which cell, so that a page can tell a cell's numbers there."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from phase7.findings.cells import Cell
from phase7.findings.figures import Figure, heatmap_cells, interval_labels, interval_metrics
from phase7.findings.group import Group

#: Units of an SVG file of matplotlib's by inch.
POINTS = 72.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Area:
    """A rectangle of a figure's SVG, in points from its upper left corner.

    Attributes
    ----------
    cell : Cell
        Whose numbers are drawn there.
    metric : str or None
        Of which metric; None: the first token's KL.
    x, y, width, height : float
    """

    cell: Cell
    metric: str | None
    x: float
    y: float
    width: float
    height: float


def areas(canvas: Canvas, figure: Figure, group: Group) -> Iterator[Area]:
    """The areas of a figure that was saved already: before that nothing has its place.

    A heatmap has one for each square with a number, an interval plot for each row of each panel.
    """
    panels = {str(axis.get_label()): axis for axis in canvas.axes}
    if figure.kind == "intervals":
        for metric in interval_metrics(group):
            _, confirmed = group.measured_cells(metric)
            left, right = panels[metric].get_xlim()
            for y, label in enumerate(interval_labels(group)):
                cell = confirmed[label, group.mode]
                yield _area(panels[metric], (left, y + 0.5), (right, y - 0.5), cell, metric)
    elif figure.kind in ("heatmap", "kl"):
        metric_or_kl = figure.metric or None
        for cell in heatmap_cells(group, metric_or_kl):
            if not math.isnan(_value(cell, metric_or_kl)):
                x, y = cell.heads.only
                corners = (x - 0.5, y - 0.5), (x + 0.5, y + 0.5)
                yield _area(panels[cell.mode], *corners, cell, metric_or_kl)


def _value(cell: Cell, metric: str | None) -> float:
    if metric is None:
        return cell.mean_over_prompts("kl_first_token")
    return cell.tested_value("delta", metric)


def _area(
    axis: Axes, lower: tuple[float, float], upper: tuple[float, float], cell: Cell, metric: str | None
) -> Area:
    """From two corners in data coordinates, the lower left one first."""
    canvas = axis.get_figure(root=True)
    assert canvas is not None
    (left, bottom), (right, top) = axis.transData.transform([lower, upper]) * POINTS / canvas.dpi
    height = canvas.get_figheight() * POINTS
    return Area(
        cell=cell, metric=metric, x=left, y=height - top, width=right - left, height=top - bottom
    )
