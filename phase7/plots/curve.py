"""Effect against the number of heads: nested sets, random sets and the sum of single heads."""

from __future__ import annotations

from functools import partial
from operator import mul

import numpy as np
from matplotlib.figure import Figure as Canvas

from phase7.findings.curve import n_prompts, steps
from phase7.findings.group import Group
from phase7.plots.style import CONTROL, EMOTION, NET


def curve(group: Group) -> Canvas:
    """Draw the curve of one group in nats, with the share of prompting on the right."""
    rows = steps(group)
    canvas = Canvas(figsize=(7.2, 4.0), layout="constrained")
    axis = canvas.subplots()
    x = np.arange(len(rows))
    effect = np.array([row.effect for row in rows])
    ends = np.array([[row.low, row.high] for row in rows]).T
    axis.axhline(0.0, color="black", linewidth=0.8, zorder=0)
    low, high = (np.array([getattr(row, f"random_{end}") for row in rows]) for end in ("low", "high"))
    n_random = max(row.n_random for row in rows)
    if n_random:
        label = f"random sets, 5 to 95 % of {n_random}"
        axis.fill_between(x, low, high, color=CONTROL, alpha=0.25, linewidth=0, label=label)
    singles = np.array([row.singles for row in rows])
    if np.isfinite(singles).any():
        axis.plot(x, singles, "--", color=EMOTION, linewidth=1.4, label="sum of the heads one by one")
    axis.vlines(x, *ends, color=NET, linewidth=1.6)
    axis.plot(x, effect, "D-", color=NET, markersize=5, label="first heads together, 95 % interval")
    axis.set_xticks(x, [f"{row.n_heads}" for row in rows])
    what = "net Δ" if group.has_control else "Δ"
    axis.set(xlabel="heads patched together", ylabel=f"{what} {group.emotion_readout} (nats)")
    unit = next((row.effect / row.share for row in rows if np.isfinite(row.share) and row.share), None)
    if unit is not None:
        scale = 100.0 / unit
        right = axis.secondary_yaxis("right", functions=(partial(mul, scale), partial(mul, 1.0 / scale)))
        right.set_ylabel("share of prompting (%)")
    axis.spines["top"].set_visible(False)
    axis.legend(frameon=False, fontsize=9, loc="best")
    canvas.suptitle(
        f"{group.model} × {group.emotion}, mode {group.mode}: n = {n_prompts(group)} prompts",
        fontsize=10.5,
    )
    return canvas
