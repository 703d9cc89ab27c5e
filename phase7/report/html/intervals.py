"""Interval plots whose rows tell their numbers: a panel a metric, a row a head or set.

What enters: a group. What leaves: SVG; what a mark tells is in its ``data-tip``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from phase7.findings.figures import interval_labels
from phase7.findings.group import Cell, Group
from phase7.report.html.heatmap import effect_lines
from phase7.report.html.markup import CONTROL, EMOTION, NET, element, line, svg, text
from phase7.report.numbers import Numbers

_LABELS, _PLOT, _ROW, _TOP, _BOTTOM, _MARGIN = 150.0, 260.0, 36.0, 28.0, 40.0, 16.0
Whisker = tuple[float, float, float]


def intervals(group: Group, numbers: Numbers) -> str:
    """All panels of one group with their legend, as HTML."""
    labels = interval_labels(group)
    metrics = [metric for metric in group.key_metrics if metric in group.measured]
    cells = [group.confirmed[label, group.mode] for label in labels]
    panels = [_panel(group, cells, metric, numbers) for metric in metrics]
    return element("div", *panels, _legend(group), class_="panels fit")


def _panel(group: Group, cells: Sequence[Cell], metric: str, numbers: Numbers) -> str:
    rows = [_whiskers(group, cell, metric) for cell in cells]
    finite = [v for row in rows for _, whisker in row for v in whisker if math.isfinite(v)]
    low, high = min([0.0, *finite]), max([0.0, *finite])
    span = (high - low) or 1.0

    def place(value: float) -> float:
        return _LABELS + _MARGIN + (value - low) / span * (_PLOT - 2 * _MARGIN)

    height = len(cells) * _ROW
    bottom = _TOP + height
    parts = [
        text(_LABELS, 16, metric, class_="title"),
        line(place(0.0), _TOP, place(0.0), bottom, stroke="#333", stroke_width=1),
        line(_LABELS, bottom, _LABELS + _PLOT, bottom, stroke="#999", stroke_width=1),
    ]
    for i, (cell, row) in enumerate(zip(cells, rows, strict=True)):
        parts += _row(group, cell, metric, numbers, row, _TOP + i * _ROW, place)
    ends = [(low, "start")] if low < 0 else []
    ends += [(high, "end")] if high > 0 else []
    for value, anchor in ends:
        parts.append(text(place(value), bottom + 18, numbers.signed(value), text_anchor=anchor))
    if len(ends) < 2 or min(place(0.0) - place(low), place(high) - place(0.0)) > 60:
        parts.append(text(place(0.0), bottom + 18, "0", text_anchor="middle"))
    return svg(_LABELS + _PLOT + 8, bottom + _BOTTOM, parts, label=f"{metric}: intervals")


def _row(
    group: Group,
    cell: Cell,
    metric: str,
    numbers: Numbers,
    whiskers: Sequence[tuple[str, Whisker]],
    top: float,
    place: object,
) -> list[str]:
    assert callable(place)
    name = group.short(cell.label)
    tip = "|".join([f"{name} ({cell.mode})", *effect_lines(group, cell, metric, numbers)])
    parts = [text(_LABELS - 8, top + _ROW / 2 + 4.5, name, text_anchor="end")]
    significant = cell.tested_value("q_value", metric) < group.alpha
    for i, (color, (centre, low, high)) in enumerate(whiskers):
        y = top + _ROW * (i + 1) / (len(whiskers) + 1)
        if math.isfinite(low) and math.isfinite(high):
            parts.append(line(place(low), y, place(high), y, stroke=color, stroke_width=2.2))
        if math.isfinite(centre):
            full = significant or (group.has_control and i < len(whiskers) - 1)
            fill = color if full else "#fff"
            dot = {"cx": float(place(centre)), "cy": y, "r": 4.0, "stroke": color, "stroke_width": 1.6}
            parts.append(element("circle", **dot, fill=fill))
    # On top, so that the whole row tells its numbers.
    area = {"x": 0.0, "y": top, "width": _LABELS + _PLOT, "height": _ROW}
    parts.append(element("rect", **area, class_="area", data_tip=tip))
    return parts


def _whiskers(group: Group, cell: Cell, metric: str) -> list[tuple[str, Whisker]]:
    def stored(prefix: str) -> Whisker:
        centre, low, high = (cell.value(prefix + n, metric) for n in ("delta", "ci_low", "ci_high"))
        return centre, low, high

    if not group.has_control:
        return [(EMOTION, stored(""))]
    return [
        (EMOTION, stored("")),
        (CONTROL, stored("control_")),
        (NET, stored("net_")),
    ]


def _legend(group: Group) -> str:
    note = f"(filled: q < {group.alpha:g})"
    entries = [(EMOTION, "Δ, emotion donor" + ("" if group.has_control else f" {note}"))]
    if group.has_control:
        entries += [(CONTROL, "Δ, control donor"), (NET, f"net Δ {note}")]
    parts = []
    for i, (color, name) in enumerate(entries):
        y = 14.0 + 20.0 * i
        parts.append(line(4, y, 28, y, stroke=color, stroke_width=2.2))
        parts.append(element("circle", cx=16.0, cy=y, r=4.0, fill=color))
        parts.append(text(36, y + 4.5, name))
    return svg(240, 20.0 * len(entries) + 8, parts, label="legend")
