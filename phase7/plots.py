"""Figures of the effects.

What enters: an effects tree. What leaves: for every (model, emotion) PNG and SVG files of heatmaps
(layer × head), an interval plot of the tested heads and sets, and detection by length. The same tree
gives the same bytes on the same machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from phase7.metrics import METRICS
from phase7.store import atomic_path

#: The GoEmotions label that is an emotion's own; others share their name with it.
_LABEL = {"apology": "remorse"}
_STYLE = {
    "font.size": 10,
    "svg.hashsalt": "phase7",
    "svg.fonttype": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
}
#: A heatmap of fewer tested heads would be mostly hatching.
_ENOUGH_HEADS = 10
_EMOTION, _CONTROL, _NET = "#0072B2", "#999999", "#D55E00"  # Okabe and Ito's colour-blind-safe set


def own_metric(emotion: str) -> str | None:
    """The GoEmotions metric of an emotion, or None if GoEmotions has no such label."""
    name = f"goemotions_{_LABEL.get(emotion, emotion)}"
    return name if name in METRICS else None


def headline_metrics(dataset: xr.Dataset, emotion: str) -> list[str]:
    """Measured metrics worth a figure: sentiment, politeness, the emotion's label and keywords."""
    wanted = ["sentiment_positive", "politeness", own_metric(emotion), f"{emotion}_keywords"]
    measured = dataset.baseline.notnull().any("prompt")
    return [m for m in wanted if m in METRICS and bool(measured.sel(metric=m))]


def groups(tree: xr.DataTree) -> Iterator[tuple[str, str, xr.DataTree]]:
    """Model, emotion and node of every group, in order."""
    for model, node in sorted(tree.children.items()):
        for emotion, group in sorted(node.children.items()):
            yield model, emotion, group


def write_plots(tree: xr.DataTree, out_dir: Path) -> list[Path]:
    """Draw every figure as PNG and SVG.

    Returns
    -------
    list of Path
        The files written, in the order of the report.
    """
    written: list[Path] = []
    for model, emotion, group in groups(tree):
        stem = f"{model}_{emotion}"
        for name, figure in _figures(group, emotion):
            for suffix in ("png", "svg"):
                path = out_dir / f"{stem}_{name}.{suffix}"
                with atomic_path(path) as temporary, mpl.rc_context(_STYLE):
                    metadata = {"Software": None} if suffix == "png" else {"Date": None}
                    figure.savefig(temporary, format=suffix, dpi=110, metadata=metadata)
                written.append(path)
    return written


def _figures(group: xr.DataTree, emotion: str) -> Iterator[tuple[str, Figure]]:
    main = group.to_dataset()
    settings = json.loads(main.attrs["settings"])
    source = group["sweep"].to_dataset() if "sweep" in group.children else main
    stage = "discovery prompts" if "sweep" in group.children else "all prompts"
    metrics = headline_metrics(main, emotion)
    with mpl.rc_context(_STYLE):
        for mode in source["mode"].values:
            tested = source.sel(mode=mode)
            if int((tested.n_prompts > 0).sum()) >= _ENOUGH_HEADS:
                yield f"heatmap_{mode}", _heatmaps(tested, metrics, settings, stage)
        yield "intervals", _intervals(group, metrics, settings)
        if "lengths" in group.children:
            yield "lengths", _lengths(group["lengths"].to_dataset(), settings)


def _heatmaps(tested: xr.Dataset, metrics: list[str], settings: dict[str, Any], stage: str) -> Figure:
    """Net Δ of each metric, and the first-token KL, over layer × head."""
    net = _prefix(settings)
    alpha = settings["alpha"]
    n_panels = len(metrics) + 1
    layers, heads = tested.sizes["layer"], tested.sizes["head"]
    figure = Figure(figsize=(2.2 + 0.30 * heads * n_panels + 1.1 * n_panels, 1.6 + 0.23 * layers))
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, n_panels, squeeze=False)[0]
    for axis, metric in zip(axes, metrics, strict=False):
        values = tested[f"{net}delta"].sel(metric=metric).values
        significant = tested[f"{net}q_value"].sel(metric=metric).values < alpha
        limit = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 1.0
        _heatmap(axis, values, significant, "RdBu_r", -(limit or 1.0), limit or 1.0)
        axis.set_title(f"{'net ' if net else ''}Δ {_short(metric)}", fontsize=10)
    kl = tested.kl_first_token.mean("prompt").values
    _heatmap(axes[-1], kl, np.zeros(kl.shape, bool), "viridis", 0.0, float(np.nanmax(kl)) or 1.0)
    axes[-1].set_title("KL, first token (nats)", fontsize=10)
    axes[0].set_ylabel("layer")
    n = int(tested.n_prompts.max())
    figure.suptitle(
        f"{settings['model']}, {settings['emotion']}, mode {tested['mode'].item()}: one head patched"
        f" at a time, {n} {stage}\n• q < {alpha:g}; hatched: not tested",
        fontsize=10,
    )
    figure.tight_layout()
    return figure


def _heatmap(axis: Any, values: Any, marked: Any, cmap: str, low: float, high: float) -> None:
    axis.set_facecolor("#dddddd")
    missing = np.isnan(values)
    axis.pcolor(
        np.ma.masked_array(np.ones(values.shape), ~missing), cmap="Greys", vmin=0, vmax=5,
        hatch="///", edgecolor="#bbbbbb", linewidth=0,
    )  # fmt: skip
    image = axis.pcolormesh(np.ma.masked_invalid(values), cmap=cmap, vmin=low, vmax=high)
    rows, columns = np.nonzero(marked)
    axis.plot(columns + 0.5, rows + 0.5, "o", color="black", markersize=4)
    n_rows, n_columns = values.shape
    axis.set_yticks(np.arange(0, n_rows, 2 if n_rows > 16 else 1) + 0.5)
    axis.set_yticklabels(range(0, n_rows, 2 if n_rows > 16 else 1), fontsize=8)
    axis.set_xticks(np.arange(n_columns) + 0.5)
    axis.set_xticklabels(range(n_columns), fontsize=8)
    axis.set_xlabel("head")
    axis.invert_yaxis()
    axis.figure.colorbar(image, ax=axis, fraction=0.08, pad=0.04).ax.tick_params(labelsize=8)


def _intervals(group: xr.DataTree, metrics: list[str], settings: dict[str, Any]) -> Figure:
    """Δ, control Δ and net Δ of every tested head and set, primary mode."""
    mode = settings["patch_mode"]
    rows = list(tested_rows(group, mode))
    figure = Figure(figsize=(1.6 + 3.0 * max(1, len(metrics)), 1.7 + 0.36 * len(rows)))
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, max(1, len(metrics)), sharey=True, squeeze=False)[0]
    for axis, metric in zip(axes, metrics, strict=False):
        axis.axvline(0, color="black", linewidth=0.8)
        for y, (_, row) in enumerate(rows):
            cell = row.sel(metric=metric)
            axis.plot([cell.ci_low, cell.ci_high], [y - 0.18] * 2, color=_EMOTION, linewidth=1.6)
            axis.plot(cell.delta, y - 0.18, "o", color=_EMOTION, markersize=4)
            if settings["control"]:
                axis.plot(cell.control_delta, y, "s", color=_CONTROL, markersize=4)
                ends = [cell.net_ci_low, cell.net_ci_high]
                axis.plot(ends, [y + 0.18] * 2, color=_NET, linewidth=1.6)
                filled = bool(cell.net_q_value < settings["alpha"])
                axis.plot(
                    cell.net_delta, y + 0.18, "D", color=_NET, markersize=4.5,
                    markerfacecolor=_NET if filled else "white",
                )  # fmt: skip
        axis.set_title(_short(metric), fontsize=10)
        axis.set_xlabel("Δ")
    axes[0].set_yticks(range(len(rows)))
    axes[0].set_yticklabels([label for label, _ in rows], fontsize=9)
    axes[0].invert_yaxis()
    handles = [
        mpl.lines.Line2D([], [], color=_EMOTION, marker="o", label="Δ, emotion donor (95 %)"),
        mpl.lines.Line2D([], [], color=_CONTROL, marker="s", linestyle="", label="Δ, control donor"),
        mpl.lines.Line2D([], [], color=_NET, marker="D", label="net Δ (95 %), filled: q < 0.05"),
    ]
    figure.legend(
        handles=handles[: 3 if settings["control"] else 1], loc="lower center", ncols=3, fontsize=9
    )
    figure.suptitle(
        f"{settings['model']}, {settings['emotion']}, mode {mode}:"
        f" {settings['n_confirmation_prompts']} prompts",
        fontsize=10,
    )
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    return figure


def _lengths(lengths: xr.Dataset, settings: dict[str, Any]) -> Figure:
    """Share of changed texts, and detected effects, by continuation length."""
    net = _prefix(settings)
    figure = Figure(figsize=(7.5, 3.0))
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    x = np.arange(lengths.sizes["length"])
    share = lengths.changed_share.mean(["head_set", "mode"], skipna=True).values
    left.plot(x, share, "o-", color=_EMOTION)
    left.set_ylim(0, 1.02)
    left.set_ylabel("share of texts changed")
    count = (lengths[f"{net}q_value"] < settings["alpha"]).sum(["head_set", "mode", "metric"]).values
    right.bar(x, count, color=_NET, width=0.55)
    right.set_ylabel(f"effects with q < {settings['alpha']:g}")
    right.yaxis.get_major_locator().set_params(integer=True)
    for axis in (left, right):
        axis.set_xticks(x)
        axis.set_xticklabels([str(n) for n in lengths.length.values])
        axis.set_xlabel("continuation length (tokens)")
    figure.tight_layout()
    return figure


def tested_rows(group: xr.DataTree, mode: str) -> Iterator[tuple[str, xr.Dataset]]:
    """Label and statistics of every tested head, then set, in one mode."""
    main = group.to_dataset().sel(mode=mode)
    for layer, head in np.argwhere(main.n_prompts.values > 0):
        yield f"{layer}:{head}", main.isel(layer=layer, head=head)
    if "head_sets" in group.children:
        sets = group["head_sets"].to_dataset().sel(mode=mode)
        for label in sets.head_set.values:
            row = sets.sel(head_set=label)
            if int(row.n_prompts) > 0:
                yield str(label), row


def _prefix(settings: dict[str, Any]) -> str:
    return "net_" if settings["control"] else ""


def _short(metric: str) -> str:
    return metric.removeprefix("goemotions_").replace("_", " ")
