"""All groups in one figure: effect by relative depth, and how far their heads agree.

One column for each metric. Colour stands for the emotion, marker and dashes for the model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.image import AxesImage

from phase7.findings.across_groups import Pair, Role, by_layer, measured_roles, pairs
from phase7.findings.group import Group
from phase7.plots.style import SERIES, UNTESTED

_TITLES: dict[Role, str] = {
    "readout": "the emotion's read-out",
    "sentiment_positive": "sentiment_positive",
    "politeness": "politeness",
    "emotion": "the emotion's own metric",
}
_MARKERS = "osD^vPX*<>"
_DASHES = ("-", "--", ":", "-.")


def compared(groups: Sequence[Group]) -> Canvas | None:
    """Draw the figure; None where there is one group or nothing was measured."""
    roles = measured_roles(groups) if len(groups) > 1 else []
    if not roles:
        return None
    found = pairs(groups)
    n = len(groups)
    side = max(2.9, 0.42 * n + 0.6)
    n_rows = (n + 1) // 2
    canvas = Canvas(
        figsize=(2.0 + len(roles) * (side + 0.5), 3.7 + side + 0.2 * n_rows), layout="constrained"
    )
    axes = canvas.subplots(2, len(roles), squeeze=False, height_ratios=(3.0, side))
    image = None
    for column, role in enumerate(roles):
        _by_depth(axes[0, column], groups, role)
        image = _matrix(axes[1, column], groups, found, role, named=column == 0)
    axes[0, 0].set_ylabel("mean |effect| of a layer's heads")
    assert image is not None
    bar = canvas.colorbar(image, ax=list(axes[1]), shrink=0.9, pad=0.02)
    bar.set_label("rank agreement ρ (* q < level)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    canvas.legend(
        handles, labels, loc="outside lower center", ncols=2 if n > 2 else n, frameon=False, fontsize=9
    )
    return canvas


def _by_depth(axis: Axes, groups: Sequence[Group], role: Role) -> None:
    models = list(dict.fromkeys(group.model for group in groups))
    emotions = list(dict.fromkeys(group.emotion for group in groups))
    for i, group in enumerate(groups):
        found, model = by_layer(group, role), models.index(group.model)
        axis.plot(
            found.depth,
            found.mean_size,
            color=SERIES[emotions.index(group.emotion) % len(SERIES)],
            marker=_MARKERS[model % len(_MARKERS)],
            linestyle=_DASHES[model % len(_DASHES)],
            markersize=3.5,
            linewidth=1.3,
            label=_name(group, i),
        )
    axis.set(title=_TITLES[role], xlabel="relative depth", xlim=(0.0, 1.0))
    axis.set_ylim(bottom=0.0)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#eeeeee", zorder=-1)


def _matrix(
    axis: Axes, groups: Sequence[Group], found: Sequence[Pair], role: Role, *, named: bool
) -> AxesImage:
    n = len(groups)
    rho = np.full((n, n), np.nan)
    for pair in found:
        one = pair.agreement[role].rho
        rho[pair.one, pair.other] = rho[pair.other, pair.one] = one
        star = "*" if pair.q_value[role] < min(groups[pair.one].alpha, groups[pair.other].alpha) else ""
        text = "–" if np.isnan(one) else f"{one:+.2f}{star}".replace("-", "−")
        for x, y in ((pair.one, pair.other), (pair.other, pair.one)):
            color = "white" if abs(one) > 0.6 else "black"
            axis.text(x, y, text, ha="center", va="center", fontsize=8.5, color=color)
    axis.set_facecolor(UNTESTED)
    image = axis.imshow(np.ma.masked_invalid(rho), cmap="RdBu_r", vmin=-1.0, vmax=1.0, aspect="equal")
    numbers = [str(i) for i in range(1, n + 1)]
    axis.set_xticks(range(n), numbers)
    axis.set_yticks(range(n), [_name(g, i) for i, g in enumerate(groups)] if named else numbers)
    axis.tick_params(length=0)
    return image


def _name(group: Group, index: int) -> str:
    return f"{index + 1} {group.model} × {group.emotion}"
