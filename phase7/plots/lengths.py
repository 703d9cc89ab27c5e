"""Share of changed texts, and number of significant tests, by generation length."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from phase7.findings.facts import by_length
from phase7.findings.group import Group
from phase7.plots.style import EMOTION, NET


def lengths(group: Group) -> Canvas:
    """Draw both panels for one group."""
    rows = by_length(group)
    data = group.child("lengths")
    assert data is not None  # figures() names this one only where lengths were measured
    canvas = Canvas(figsize=(8.6, 3.5), layout="constrained")
    left, right = canvas.subplots(1, 2)
    x = np.arange(len(rows))
    ticks = [f"{row.length}" for row in rows[:-1]] + [f"{rows[-1].length} (all)"]
    for one in data["changed_share"].stack(cell=("head_set", "mode")).transpose("cell", "length").values:
        left.plot(x, 100 * one, "-", color="#bbbbbb", linewidth=0.8, zorder=1)
    mean = [100 * row.changed for row in rows]
    left.plot(x, mean, "o-", color=EMOTION, linewidth=2, zorder=3, label="mean over all cells")
    left.plot([], [], "-", color="#bbbbbb", linewidth=0.8, label="one cell")
    left.set(ylabel="texts changed (%)", ylim=(0, 104), title="Texts that differ from the baseline")
    left.legend(frameon=False, fontsize=9, loc="best")
    found = [row.n_significant for row in rows]
    right.bar(x, found, width=0.55, color=NET)
    for at, row in zip(x, rows, strict=True):
        text = f"{row.n_significant} / {row.n_tests}"
        right.annotate(text, (at, row.n_significant), ha="center", va="bottom", fontsize=9)
    right.set(ylabel="significant tests", title=f"Tests with q < {group.alpha:g}")
    right.set_ylim(0, max(1.0, 1.18 * max(found)))
    right.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    for axis in (left, right):
        axis.set_xticks(x, ticks)
        axis.set_xlabel("generated tokens")
        axis.spines[["top", "right"]].set_visible(False)
    canvas.suptitle(f"{group.model} × {group.emotion}", fontsize=10.5)
    return canvas
