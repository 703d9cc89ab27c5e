"""Effect against strength: a panel for each metric, a line for each set."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure as Canvas

from phase7.findings.doses import Source, dose_metrics, doses
from phase7.findings.group import Group
from phase7.vocabulary.guards import MEAN_LN_P
from phase7.vocabulary.readouts import is_readout


def dose_response(group: Group, source: Source) -> Canvas:
    """Draw all sets of one group by strength; hollow where its text left the baseline's range."""
    metrics = dose_metrics(group, source)
    canvas = Canvas(figsize=(1.2 + 3.6 * len(metrics), 4.0), layout="constrained")
    axes = canvas.subplots(1, len(metrics), squeeze=False).ravel()
    sets = {dose.label: dose.n_heads for dose in doses(group, source, metrics[0])}
    colors = colormaps["viridis"](np.linspace(0.0, 0.85, len(sets)))
    for axis, metric in zip(axes, metrics, strict=True):
        axis.axhline(0.0, color="black", linewidth=0.8, zorder=0)
        every = doses(group, source, metric)
        for (label, n_heads), color in zip(sets.items(), colors, strict=True):
            rows = [dose for dose in every if dose.label == label]
            x = [row.strength for row in rows]
            axis.plot(x, [row.effect for row in rows], color=color, label=_name(group, label, n_heads))
            axis.vlines(x, [row.low for row in rows], [row.high for row in rows], color=color)
            for row in rows:
                axis.plot(
                    row.strength, row.effect, "D", color=color, markersize=9 if row.is_chosen else 5,
                    markerfacecolor="white" if row.is_kept is False else color,
                )  # fmt: skip
        what = "Δ" if metric == MEAN_LN_P or not group.has_control else "net Δ"
        unit = " (nats)" if is_readout(metric) or metric == MEAN_LN_P else ""
        axis.set(title=metric, xlabel="strength", ylabel=f"{what}{unit}")
        axis.spines[["top", "right"]].set_visible(False)
    handles, names = axes[0].get_legend_handles_labels()
    canvas.legend(
        handles, names, loc="outside lower center", ncols=len(names), frameon=False, fontsize=9
    )
    half = "discovery" if source == "choice" else "confirmation"
    canvas.suptitle(
        f"{group.model} × {group.emotion}, mode {group.mode}, {half} prompts: hollow where the text no"
        " longer reads as the baseline's",
        fontsize=10.5,
    )
    return canvas


def _name(group: Group, label: str, n_heads: int) -> str:
    """What a set is called in the legend."""
    short = group.short(label)
    return short if len(short) <= 20 and "..." not in short else f"{n_heads} heads"
