"""The numbers that a figure shows where it is pointed at: transparent areas over its image.

An area carries its lines in ``data-tip``, joined by ``|``; the page's script shows them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from phase7.findings.cells import Cell
from phase7.findings.group import Group
from phase7.report.html.markup import attribute, element
from phase7.report.numbers import Numbers

if TYPE_CHECKING:
    from phase7.plots import Drawn


def overlay(group: Group, drawn: Drawn, numbers: Numbers) -> str:
    """A rectangle over each area of a figure, as an SVG of the figure's size."""
    parts = []
    for area in drawn.areas:
        box = {"x": area.x, "y": area.y, "width": area.width, "height": area.height}
        tip = "|".join(_lines(group, area.cell, area.metric, numbers))
        parts.append(element("rect", **box, class_="area", data_tip=tip))
    size = f"0 0 {attribute(drawn.width)} {attribute(drawn.height)}"
    return element("svg", *parts, viewBox=size, aria_hidden="true")


def _lines(group: Group, cell: Cell, metric: str | None, numbers: Numbers) -> list[str]:
    """The cell's name, its numbers and the prompts behind them, as lines of plain text."""
    name = group.short(cell.label)
    if cell.heads.is_single:
        layer, head = cell.heads.only
        name = f"layer {layer}, head {head}"
    if metric is None:
        lines = [f"KL {numbers.nats(cell.mean_over_prompts('kl_first_token'))} nats"]
        control = cell.mean_over_prompts("control_kl_first_token")
        if not math.isnan(control):
            lines.append(f"control {numbers.nats(control)} nats")
    else:
        lines = _effect(group, cell, metric, numbers)
    return [f"{name} ({cell.mode})", *lines, f"n = {cell.n_prompts}"]


def _effect(group: Group, cell: Cell, metric: str, numbers: Numbers) -> list[str]:
    """Δ, its interval, p and q of one metric."""
    one = cell.effect(metric)
    tested = numbers.interval(one.low, one.high, measured=not math.isnan(one.delta))
    test = f"p {numbers.p(one.p)}, q {numbers.q(one.q, group.alpha)}"
    if not group.has_control:
        return [f"Δ {numbers.signed(one.delta)} {tested}", test]
    return [
        f"net Δ {numbers.signed(one.net_delta)} {tested}",
        test,
        f"Δ {numbers.signed(one.delta)}, control Δ {numbers.signed(one.control_delta)}",
    ]
