"""Intervals of the target and strongest heads: a panel for each metric, a row for each head or set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from phase7.findings.cells import Cell
from phase7.findings.figures import interval_labels, interval_metrics
from phase7.findings.group import Group
from phase7.findings.guards import reads_otherwise
from phase7.plots.style import CONTROL, EMOTION, NET
from phase7.vocabulary.readouts import is_readout


def intervals(group: Group) -> Canvas:
    """Draw Δ, control Δ and net Δ with their 95 % intervals."""
    labels = interval_labels(group)
    metrics = interval_metrics(group)
    canvas = Canvas(figsize=(2.2 + 2.9 * len(metrics), 1.7 + 0.42 * len(labels)), layout="constrained")
    axes = canvas.subplots(1, len(metrics), sharey=True, squeeze=False).ravel()
    for axis, metric in zip(axes, metrics, strict=True):
        axis.axvline(0.0, color="black", linewidth=0.8, zorder=0)
        _, confirmed = group.measured_cells(metric)
        for y, label in enumerate(labels):
            _interval_row(axis, group, confirmed[label, group.mode], metric, float(y))
        axis.set_label(metric)
        unit = "change in nats" if is_readout(metric) else "change of the mean score"
        axis.set(title=metric, xlabel=unit, ylim=(len(labels) - 0.5, -0.5))
        axis.grid(axis="y", color="#eeeeee", zorder=-1)
        axis.xaxis.set_major_locator(MaxNLocator(nbins=4))
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(labels)), [_name(group, label) for label in labels])
    canvas.suptitle(
        f"{group.model} × {group.emotion}, mode {group.mode}: "
        f"n = {group.n_confirmation} {'confirmation ' if group.sweep else ''}prompts",
        fontsize=10.5,
    )
    _interval_legend(canvas, group, any(reads_otherwise(group, label) for label in labels))
    return canvas


def _name(group: Group, label: str) -> str:
    """What a row is called, with a dagger where its texts no longer read as the baseline's."""
    return group.short(label) + (" \u2020" if reads_otherwise(group, label) else "")


def _interval_row(axis: Axes, group: Group, cell: Cell, metric: str, y: float) -> None:
    def stored(prefix: str) -> list[float]:
        return [cell.value(prefix + name, metric) for name in ("delta", "ci_low", "ci_high")]

    def whisker(offset: float, color: str, marker: str, values: Sequence[float], full: bool) -> None:
        centre, low, high = values
        if np.isfinite(low) and np.isfinite(high):
            axis.plot([low, high], [y + offset] * 2, color=color, linewidth=1.6)
        face = color if full else "white"
        axis.plot(
            centre, y + offset, marker, color=color, markersize=5, markerfacecolor=face,
            markeredgewidth=1.3,
        )  # fmt: skip

    significant = cell.tested_value("q_value", metric) < group.alpha
    if not group.has_control:
        whisker(0.0, EMOTION, "o", stored(""), significant)
        return
    whisker(-0.24, EMOTION, "o", stored(""), True)
    whisker(0.0, CONTROL, "s", stored("control_"), True)
    whisker(0.24, NET, "D", stored("net_"), significant)


def _interval_legend(canvas: Canvas, group: Group, has_daggers: bool) -> None:
    significant = f"(filled: q < {group.alpha:g})"
    if group.has_control:
        entries = [
            (EMOTION, "o", "Δ, emotion donor"),
            (CONTROL, "s", "Δ, control donor"),
            (NET, "D", f"net Δ {significant}"),
        ]
    else:
        entries = [(EMOTION, "o", f"Δ, emotion donor {significant}")]
    handles = [
        Line2D([], [], color=color, marker=marker, markersize=5, label=label)
        for color, marker, label in entries
    ]
    canvas.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9,
        title="\u2020 texts no longer read as the baseline's" if has_daggers else None, title_fontsize=9,
    )  # fmt: skip
