"""The report's figures: heatmaps over layer × head, intervals of the strongest heads, lengths.

What enters: the effects tree and a folder. What leaves: one PNG and one SVG for each figure. The
same tree gives the same bytes on the same machine: no dates, no random ids, no display.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from phase7.metrics import METRICS, MODES
from phase7.report.claims import by_length
from phase7.report.figures import Figure, figures, heatmap_cells
from phase7.report.view import Cell, Floats, Group, groups
from phase7.statistics import paired_summary

#: Blue and orange differ for every kind of colour vision (Okabe & Ito 2008); grey by lightness.
_EMOTION, _CONTROL, _NET = "#0072B2", "#767676", "#D55E00"
_UNTESTED = "#d9d9d9"
_STYLE: Any = {
    "font.size": 10.0,
    "axes.titlesize": 10.0,
    "hatch.linewidth": 0.6,
    "svg.hashsalt": "phase7",
    "svg.fonttype": "path",
    "text.parse_math": False,
}
_DPI = 150
#: Rows of the interval plot at most; the tables have every head.
_MOST_ROWS = 16


def write_plots(tree: xr.DataTree, out_dir: Path) -> list[Path]:
    """Draw every figure of every (model, emotion).

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
            with matplotlib.rc_context(_STYLE):
                written += _save(_draw(group, figure), out_dir / figure.stem)
    return written


def _draw(group: Group, figure: Figure) -> Canvas:
    if figure.kind == "intervals":
        return _intervals(group)
    if figure.kind == "lengths":
        return _lengths(group)
    return _heatmaps(group, figure.metric or None)


def _save(canvas: Canvas, stem: Path) -> list[Path]:
    FigureCanvasAgg(canvas)
    png, svg = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")
    canvas.savefig(png, dpi=_DPI, metadata={"Software": None})
    canvas.savefig(svg, metadata={"Date": None, "Creator": None})
    return [png, svg]


# Heatmaps


def _heatmaps(group: Group, metric: str | None) -> Canvas:
    """One panel a mode. `metric` None: the first token's KL."""
    cells = heatmap_cells(group)
    modes = [mode for mode in MODES if any(cell.mode == mode for cell in cells)]
    shape = (group.main.sizes["layer"], group.main.sizes["head"])
    grids = {mode: _grid([c for c in cells if c.mode == mode], metric, shape) for mode in modes}
    norm = _norm(np.stack([values for values, _ in grids.values()]), centred=metric is not None)
    beside = shape[0] <= 1.5 * shape[1]
    n_rows, n_columns = (1, len(modes)) if beside else (len(modes), 1)
    size = 0.27 if max(shape) <= 16 else 0.24
    canvas = Canvas(
        figsize=(
            max(5.6, n_columns * (shape[0] * size + 0.5) + 1.5),
            n_rows * (shape[1] * size + 0.75) + 1.25,
        ),
        layout="constrained",
    )
    axes = canvas.subplots(n_rows, n_columns, squeeze=False).ravel()
    mesh = None
    for axis, mode in zip(axes, modes, strict=True):
        mesh = _panel(axis, *grids[mode], norm, alpha=None if metric is None else group.alpha)
        axis.set_title(f"mode {mode}")
    assert mesh is not None  # figures() names a heatmap only where a cell was measured
    bar = canvas.colorbar(mesh, ax=list(axes), shrink=0.9, pad=0.02)
    effect = "net Δ" if group.has_control else "Δ"
    bar.set_label("mean KL (nats)" if metric is None else f"{effect} {metric}")
    canvas.suptitle(_heatmap_title(group, metric, cells, grids), fontsize=10.5)
    untested = any(bool(np.isnan(values).any()) for values, _ in grids.values())
    _heatmap_legend(canvas, group, significant=metric is not None, untested=untested)
    return canvas


def _grid(cells: Sequence[Cell], metric: str | None, shape: tuple[int, int]) -> tuple[Floats, Floats]:
    """Values and q on [layer, head]; NaN where nothing was tested."""
    values, q_values = np.full(shape, np.nan), np.full(shape, np.nan)
    for cell in cells:
        layer, head = map(int, cell.label.split(":"))
        if metric is None:
            values[layer, head] = cell.mean_over_prompts("kl_first_token")
        else:
            m = METRICS.index(metric)
            values[layer, head] = cell.tested("delta")[m]
            q_values[layer, head] = cell.tested("q_value")[m]
    return values, q_values


def _norm(values: Floats, *, centred: bool) -> Normalize:
    """Colour limits shared by all panels; a map of only zeros still gets a range."""
    largest = float(np.nanmax(np.abs(values))) or 1e-6
    if centred:
        return TwoSlopeNorm(0.0, vmin=-largest, vmax=largest)
    return Normalize(0.0, largest)


def _panel(
    axis: Axes, values: Floats, q_values: Floats, norm: Normalize, *, alpha: float | None
) -> QuadMesh:
    """Layers to the right, heads upwards; untested cells hatched, those with q < alpha marked.

    `alpha` None: a magnitude, which has no sign and no q.
    """
    n_layers, n_heads = values.shape
    axis.add_patch(
        Rectangle(
            (-0.5, -0.5), n_layers, n_heads, facecolor=_UNTESTED, edgecolor="#8c8c8c",
            hatch="////", linewidth=0.0, zorder=0,
        )
    )  # fmt: skip
    edges = (np.arange(n_layers + 1) - 0.5, np.arange(n_heads + 1) - 0.5)
    mesh = axis.pcolormesh(
        *edges,
        np.ma.masked_invalid(values.T),
        cmap="cividis" if alpha is None else "RdBu_r",
        norm=norm,
        edgecolors="white",
        linewidth=0.4,
    )
    for layer, head in np.argwhere(q_values < (0.0 if alpha is None else alpha)):
        axis.plot(
            layer, head, "o", markersize=5.5, markerfacecolor="white",
            markeredgecolor="black", markeredgewidth=1.2,
        )  # fmt: skip
    axis.set(xlabel="layer", ylabel="head", xlim=edges[0][[0, -1]], ylim=edges[1][[0, -1]])
    axis.set_aspect("equal")
    for own in (axis.xaxis, axis.yaxis):
        own.set_major_locator(MaxNLocator(nbins=16, integer=True, steps=[1, 2, 5, 10]))
    return mesh


def _heatmap_title(
    group: Group, metric: str | None, cells: Sequence[Cell], grids: dict[str, tuple[Floats, Floats]]
) -> str:
    stage = "discovery prompts" if group.sweep else "prompts"
    n = max(cell.n_prompts for cell in cells)
    what = "KL at the first token" if metric is None else metric
    title = f"{group.model} × {group.emotion}: {what}, {n} {stage}"
    if metric is None:
        return title
    n_significant = sum(int((q < group.alpha).sum()) for _, q in grids.values())
    n_tests = sum(int(np.isfinite(q).sum()) for _, q in grids.values())
    return f"{title}\n{n_significant} of {n_tests} cells with q < {group.alpha:g}"


def _heatmap_legend(canvas: Canvas, group: Group, *, significant: bool, untested: bool) -> None:
    handles: list[Any] = []
    if untested:
        handles.append(Patch(facecolor=_UNTESTED, edgecolor="#8c8c8c", hatch="////", label="not tested"))
    if significant:
        handles.append(
            Line2D(
                [], [], marker="o", linestyle="", markerfacecolor="white",
                markeredgecolor="black", label=f"q < {group.alpha:g}",
            )
        )  # fmt: skip
    if handles:
        canvas.legend(handles=handles, loc="outside lower left", ncols=2, frameon=False, fontsize=9)


# Intervals


def _intervals(group: Group) -> Canvas:
    """Δ, control Δ and net Δ with 95 % intervals: a panel a metric, a row a head or set."""
    labels = interval_labels(group)
    metrics = [metric for metric in group.key_metrics if metric in group.measured]
    canvas = Canvas(figsize=(2.2 + 2.9 * len(metrics), 1.7 + 0.42 * len(labels)), layout="constrained")
    axes = canvas.subplots(1, len(metrics), sharey=True, squeeze=False).ravel()
    cells = [group.confirmed[label, group.mode] for label in labels]
    for axis, metric in zip(axes, metrics, strict=True):
        axis.axvline(0.0, color="black", linewidth=0.8, zorder=0)
        for y, cell in enumerate(cells):
            _interval_row(axis, group, cell, metric, float(y))
        axis.set(title=metric, xlabel="change of the mean score", ylim=(len(labels) - 0.5, -0.5))
        axis.grid(axis="y", color="#eeeeee", zorder=-1)
        axis.xaxis.set_major_locator(MaxNLocator(nbins=4))
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(labels)), [group.short(label) for label in labels])
    canvas.suptitle(
        f"{group.model} × {group.emotion}, mode {group.mode}: "
        f"n = {group.n_confirmation} {'confirmation ' if group.sweep else ''}prompts",
        fontsize=10.5,
    )
    _interval_legend(canvas, group)
    return canvas


def interval_labels(group: Group) -> list[str]:
    """Rows of the interval plot: sets, targets, then the sweep's strongest, then other heads.

    Heads that nothing puts first come by their largest |d_z|. At most 16, all in the primary mode.
    """
    here = [label for label in group.labels if (label, group.mode) in group.confirmed]
    sets = [label for label in here if "," in label]

    def size(label: str) -> float:
        sizes = np.abs(group.confirmed[label, group.mode].tested("effect_size"))
        return float(np.nanmax(sizes)) if np.isfinite(sizes).any() else -1.0

    others = sorted(here, key=lambda label: (-size(label), here.index(label)))
    wanted = dict.fromkeys([group.target, *sets, *group.target_heads, *group.strongest, *others])
    return [label for label in wanted if label in here][:_MOST_ROWS]


def _interval_row(axis: Axes, group: Group, cell: Cell, metric: str, y: float) -> None:
    m = METRICS.index(metric)

    def whisker(offset: float, color: str, marker: str, values: Sequence[float], full: bool) -> None:
        centre, low, high = values
        if np.isfinite(low) and np.isfinite(high):
            axis.plot([low, high], [y + offset] * 2, color=color, linewidth=1.6)
        face = color if full else "white"
        axis.plot(
            centre, y + offset, marker, color=color, markersize=5, markerfacecolor=face,
            markeredgewidth=1.3,
        )  # fmt: skip

    significant = bool(cell.tested("q_value")[m] < group.alpha)
    plain = [float(cell.column(name)[m]) for name in ("delta", "ci_low", "ci_high")]
    if not group.has_control:
        whisker(0.0, _EMOTION, "o", plain, significant)
        return
    net = [float(cell.column(f"net_{name}")[m]) for name in ("delta", "ci_low", "ci_high")]
    whisker(-0.24, _EMOTION, "o", plain, True)
    whisker(0.0, _CONTROL, "s", _control(group, cell, m), True)
    whisker(0.24, _NET, "D", net, significant)


def _control(group: Group, cell: Cell, m: int) -> tuple[float, float, float]:
    """Control Δ with its interval, which the tree does not hold: the bootstrap of the others."""
    control = np.asarray(cell.arrays["control_patched"], float)[m]
    difference = control - np.asarray(cell.arrays["baseline"], float)[m]
    summary = paired_summary(difference, seed=int(group.settings.get("seed", 0)), n_tail=0)
    centre = float(cell.column("control_delta")[m])
    return centre, float(summary.ci_low), float(summary.ci_high)


def _interval_legend(canvas: Canvas, group: Group) -> None:
    significant = f"(filled: q < {group.alpha:g})"
    if group.has_control:
        entries = [
            (_EMOTION, "o", "Δ, emotion donor"),
            (_CONTROL, "s", "Δ, control donor"),
            (_NET, "D", f"net Δ {significant}"),
        ]
    else:
        entries = [(_EMOTION, "o", f"Δ, emotion donor {significant}")]
    handles = [
        Line2D([], [], color=color, marker=marker, markersize=5, label=label)
        for color, marker, label in entries
    ]
    canvas.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9
    )


# Lengths


def _lengths(group: Group) -> Canvas:
    """Share of changed texts, and share of significant tests, by generation length."""
    rows = by_length(group)
    data = group.child("lengths")
    assert data is not None  # figures() names this one only where lengths were measured
    canvas = Canvas(figsize=(8.6, 3.5), layout="constrained")
    left, right = canvas.subplots(1, 2)
    x = np.arange(len(rows))
    ticks = [f"{row.length}" for row in rows[:-1]] + [f"{rows[-1].length} (all)"]
    shares = data.sortby("length")["changed_share"]
    for index in np.ndindex(shares.shape[1:]):
        one = shares.values[(slice(None), *index)]
        left.plot(x, 100 * one, "-", color="#bbbbbb", linewidth=0.8, zorder=1)
    mean = [100 * row.changed for row in rows]
    left.plot(x, mean, "o-", color=_EMOTION, linewidth=2, zorder=3, label="mean over all cells")
    left.plot([], [], "-", color="#bbbbbb", linewidth=0.8, label="one cell")
    left.set(ylabel="texts changed (%)", ylim=(0, 104), title="Texts that differ from the baseline")
    left.legend(frameon=False, fontsize=9, loc="best")
    found = [row.n_significant for row in rows]
    right.bar(x, found, width=0.55, color=_NET)
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
