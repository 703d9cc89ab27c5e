"""Heatmaps over layer × head, of one metric's effect or of the first token's KL."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from phase7.findings.cells import Cell, Floats
from phase7.findings.figures import grid, heatmap_cells
from phase7.findings.group import Group
from phase7.findings.reader import modes_in_order
from phase7.findings.tables import effect_grid, level, primary_mode
from phase7.plots.style import HATCH, UNTESTED
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.readouts import is_readout


def heatmaps(group: Group, metric: str | None, largest: float) -> Canvas:
    """Draw one panel for each mode.

    Parameters
    ----------
    group : Group
    metric : str or None
        None: the first token's KL.
    largest : float
        End of the colour scale, shared by all groups' figures of one metric.
    """
    cells = heatmap_cells(group, metric)
    modes = modes_in_order([cell.mode for cell in cells])
    shape = (group.main.sizes["layer"], group.main.sizes["head"])
    grids = {mode: _grids(group, [c for c in cells if c.mode == mode], metric) for mode in modes}
    norm = _norm(largest, centred=metric is not None)
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
        axis.set_label(mode)
    assert mesh is not None  # figures() names a heatmap only where a cell was measured
    bar = canvas.colorbar(mesh, ax=list(axes), shrink=0.9, pad=0.02)
    effect = "net Δ" if group.has_control else "Δ"
    bar.set_label("mean KL (nats)" if metric is None else _with_unit(f"{effect} {metric}", metric))
    canvas.suptitle(_heatmap_title(group, metric, cells, grids), fontsize=10.5)
    untested = any(bool(np.isnan(values).any()) for values, _ in grids.values())
    marked = metric is not None and any(bool((q < group.alpha).any()) for _, q in grids.values())
    _heatmap_legend(canvas, group, significant=marked, untested=untested)
    return canvas


def _with_unit(label: str, metric: str) -> str:
    return f"{label} (nats)" if is_readout(metric) else label


def _grids(group: Group, cells: Sequence[Cell], metric: str | None) -> tuple[Floats, Floats]:
    """Values and q on [layer, head]; NaN where nothing was tested."""
    if metric is None:
        values = grid(group, cells, lambda cell: cell.mean_over_prompts("kl_first_token"))
        return values, np.full_like(values, np.nan)
    return (
        grid(group, cells, lambda cell: cell.tested_value("delta", metric)),
        grid(group, cells, lambda cell: cell.tested_value("q_value", metric)),
    )


def _norm(largest: float, *, centred: bool) -> Normalize:
    """Colour limits, centred on 0 for what has a sign; a map of only zeros still gets a range."""
    largest = largest or 1e-6
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
            (-0.5, -0.5), n_layers, n_heads, facecolor=UNTESTED, edgecolor=HATCH,
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
    group: Group, metric: str | None, cells: Sequence[Cell], grids: Mapping[Any, tuple[Floats, Floats]]
) -> str:
    stage = "discovery prompts" if group.is_swept(metric) else "prompts"
    n = max(cell.n_prompts for cell in cells)
    what = "KL at the first token" if metric is None else metric
    how = " predicted to first order" if metric is not None and group.is_predicted(metric) else ""
    title = f"{group.model} × {group.emotion}: {what}{how}, {n} {stage}"
    if metric is None:
        return title
    n_significant = sum(int((q < group.alpha).sum()) for _, q in grids.values())
    n_tests = sum(int(np.isfinite(q).sum()) for _, q in grids.values())
    return f"{title}\n{n_significant} of {n_tests} cells with q < {group.alpha:g}"


def _heatmap_legend(canvas: Canvas, group: Group, *, significant: bool, untested: bool) -> None:
    handles: list[Any] = []
    if untested:
        handles.append(Patch(facecolor=UNTESTED, edgecolor=HATCH, hatch="////", label="not tested"))
    if significant:
        handles.append(
            Line2D(
                [], [], marker="o", linestyle="", markerfacecolor="white",
                markeredgecolor="black", label=f"q < {group.alpha:g}",
            )
        )  # fmt: skip
    if handles:
        canvas.legend(handles=handles, loc="outside lower left", ncols=2, frameon=False, fontsize=9)


def draw_heatmap(
    effects: xr.Dataset, metric: str, mode: str | None, ax: Axes | None, limit: float | None = None
) -> Axes:
    """Draw one metric of one Dataset; behind ``dataset.phase7.heatmap``.

    Parameters
    ----------
    effects : xarray.Dataset
        A group or its sweep.
    metric : str
    mode : str or None
        None: the primary mode.
    ax : matplotlib.axes.Axes or None
        None: a new figure.
    limit : float or None
        The effect at the ends of the colour scale; None: the largest |effect|.

    Raises
    ------
    UserError
        If the metric or mode is unknown, or nothing was measured.
    """
    mode = primary_mode(effects) if mode is None else mode
    made = effect_grid(effects, metric, mode)
    values, q_values = (np.asarray(made[name].values, float) for name in ("effect", "q_value"))
    if limit is not None:
        _require_positive(limit)
    if not np.isfinite(values).any():
        raise UserError(
            expected="a metric with at least one measured cell",
            got=f"none for {metric} in mode {mode}",
            where="heatmap",
            remedy="take a metric and mode that effects.phase7.to_dataframe() lists",
        )
    if ax is None:
        from matplotlib import pyplot

        n_layers, n_heads = values.shape
        size = (max(5.6, 0.27 * n_layers + 2.0), 0.27 * n_heads + 1.6)
        _, ax = pyplot.subplots(figsize=size, layout="constrained")
    norm = _norm(float(np.nanmax(np.abs(values))) if limit is None else limit, centred=True)
    mesh = _panel(ax, values, q_values, norm, alpha=level(effects))
    stored = "net Δ" if "net" in str(made["effect"].attrs.get("long_name", "")) else "Δ"
    ax.figure.colorbar(mesh, ax=ax, pad=0.02).set_label(_with_unit(f"{stored} {metric}", metric))
    place = "/".join(str(effects.attrs[k]) for k in ("model", "emotion") if k in effects.attrs)
    ax.set_title(f"{place}: {metric}, mode {mode}".removeprefix(": "))
    return ax


def _require_positive(limit: float) -> None:
    if not 0 < limit < math.inf:
        raise UserError(
            expected="a positive number",
            got=repr(limit)[:80],
            where="heatmap: limit",
            remedy="leave it out, or give the largest effect of all maps that are to be compared",
        )
