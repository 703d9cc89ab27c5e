"""Heatmaps over layer × head whose cells tell their numbers.

What enters: a group, a metric and the end of the colour scale. What leaves: SVG, a panel a mode; what a
cell tells is in its ``data-tip``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from phase7.findings.figures import heatmap_cells
from phase7.findings.group import Cell, Group
from phase7.findings.reader import modes_in_order
from phase7.report.html.markup import diverging, element, line, sequential, svg, text
from phase7.report.numbers import Numbers

_SIDE, _LEFT, _TOP, _BOTTOM = 20.0, 44.0, 26.0, 42.0
_BAR_STEPS = 21
#: Layers and heads between two labelled ticks where there are more than `_FEW`.
_FEW, _STEP = 16, 5


def heatmap(group: Group, metric: str | None, largest: float, numbers: Numbers) -> str:
    """All panels of one figure, as HTML.

    Parameters
    ----------
    group : Group
    metric : str or None
        None: the first token's KL, a magnitude without a test.
    largest : float
        End of the colour scale.
    numbers : Numbers
        Formats of the page's language.
    """
    cells = heatmap_cells(group)
    modes = modes_in_order([cell.mode for cell in cells])
    panels = [
        _panel(group, [c for c in cells if c.mode == mode], mode, metric, largest, numbers)
        for mode in modes
    ]
    return element("div", *panels, _bar(group, metric, largest, numbers), class_="panels")


def _panel(
    group: Group, cells: Sequence[Cell], mode: str, metric: str | None, largest: float, numbers: Numbers
) -> str:
    n_layers, n_heads = group.main.sizes["layer"], group.main.sizes["head"]
    width, height = n_layers * _SIDE, n_heads * _SIDE
    parts = [
        text(_LEFT, 16, f"mode {mode}", class_="title"),
        element(
            "rect", x=_LEFT, y=_TOP, width=width, height=height, fill="url(#untested)", class_="ground"
        ),
    ]
    marks: list[str] = []
    for cell in cells:
        layer, head = cell.heads.only
        x, y = _LEFT + layer * _SIDE, _TOP + height - (head + 1) * _SIDE
        value = _value(cell, metric)
        if math.isnan(value):
            continue
        fill = sequential(value, largest) if metric is None else diverging(value, largest)
        tip = _tip(group, cell, metric, numbers)
        parts.append(
            element("rect", x=x, y=y, width=_SIDE, height=_SIDE, fill=fill, class_="cell", data_tip=tip)
        )
        if metric is not None and cell.tested_value("q_value", metric) < group.alpha:
            centre = {"cx": x + _SIDE / 2, "cy": y + _SIDE / 2}
            marks.append(element("circle", **centre, r=4.5, class_="ring"))
    parts += marks
    for layer in _ticks(n_layers):
        x = _LEFT + (layer + 0.5) * _SIDE
        parts.append(text(x, _TOP + height + 16, str(layer), text_anchor="middle"))
    for head in _ticks(n_heads):
        y = _TOP + height - (head + 0.5) * _SIDE + 4.5
        parts.append(text(_LEFT - 6, y, str(head), text_anchor="end"))
    parts.append(text(_LEFT + width / 2, _TOP + height + 35, "layer", text_anchor="middle"))
    y = _TOP + height / 2
    parts.append(text(11, y, "head", text_anchor="middle", transform=f"rotate(-90 11 {y:g})"))
    label = f"{metric or 'KL'}, mode {mode}"
    return svg(_LEFT + width + 8, _TOP + height + _BOTTOM, parts, label=label)


def _ticks(n: int) -> Iterator[int]:
    yield from range(0, n, 1 if n <= _FEW else _STEP)


def _value(cell: Cell, metric: str | None) -> float:
    if metric is None:
        return cell.mean_over_prompts("kl_first_token")
    return cell.tested_value("delta", metric)


def _tip(group: Group, cell: Cell, metric: str | None, numbers: Numbers) -> str:
    """Lines of what a cell tells, joined by ``|``."""
    layer, head = cell.heads.only
    place = f"layer {layer}, head {head} ({cell.mode})"
    if metric is None:
        control = cell.mean_over_prompts("control_kl_first_token")
        lines = [f"KL {numbers.nats(cell.mean_over_prompts('kl_first_token'))} nats"]
        if not math.isnan(control):
            lines.append(f"control {numbers.nats(control)} nats")
    else:
        lines = effect_lines(group, cell, metric, numbers)
    return "|".join([place, *lines, f"n = {cell.n_prompts}"])


def effect_lines(group: Group, cell: Cell, metric: str, numbers: Numbers) -> list[str]:
    """Δ, its interval, p and q of one metric of one cell, as lines of plain text."""
    one = cell.effect(metric)
    tested = numbers.interval(one.low, one.high, measured=not math.isnan(one.delta))
    star = "*" if one.q < group.alpha else ""
    test = f"p {numbers.p(one.p)}, q {numbers.p(one.q)}{star}"
    if not group.has_control:
        return [f"Δ {numbers.signed(one.delta)} {tested}", test]
    return [
        f"net Δ {numbers.signed(one.net_delta)} {tested}",
        test,
        f"Δ {numbers.signed(one.delta)}, control Δ {numbers.signed(one.control_delta)}",
    ]


def _bar(group: Group, metric: str | None, largest: float, numbers: Numbers) -> str:
    """The colour scale with the marks' meaning."""
    width, x0, y0 = 220.0, 8.0, 24.0
    step = width / _BAR_STEPS
    shares = np.linspace(0.0 if metric is None else -1.0, 1.0, _BAR_STEPS)
    parts = []
    for i, share in enumerate(shares):
        value = float(share) * (largest or 1.0)
        fill = (sequential if metric is None else diverging)(value, largest or 1.0)
        parts.append(element("rect", x=x0 + i * step, y=y0, width=step + 0.5, height=12.0, fill=fill))
    name = "KL (nats)" if metric is None else f"{'net Δ' if group.has_control else 'Δ'} {metric}"
    parts.append(text(x0, 16, name))
    low = numbers.nats(0.0) if metric is None else numbers.signed(-largest)
    high = numbers.nats(largest) if metric is None else numbers.signed(largest)
    parts.append(text(x0, y0 + 28, low))
    parts.append(text(x0 + width, y0 + 28, high, text_anchor="end"))
    if metric is not None:
        parts.append(text(x0 + width / 2, y0 + 28, "0", text_anchor="middle"))
        parts.append(line(x0 + width / 2, y0, x0 + width / 2, y0 + 16, stroke="#333"))
        parts.append(element("circle", cx=x0 + width + 30, cy=y0 + 6, r=4.5, class_="ring"))
        parts.append(text(x0 + width + 40, y0 + 11, f"q < {group.alpha:g}"))
    box = {"x": x0 + width + 24, "y": y0 + 18, "width": 12.0, "height": 12.0}
    parts.append(element("rect", **box, fill="url(#untested)", class_="ground"))
    parts.append(text(x0 + width + 40, y0 + 28, "not tested"))
    return svg(x0 + width + 120, y0 + 36, parts, label="colour scale")
