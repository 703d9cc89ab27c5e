"""Answers from an effects store as tables: strongest heads, all tests, effects by layer.

They work on Datasets of :mod:`phase7.effects.datasets`, in memory or dask-backed, and refuse an
unknown metric or mode and a Dataset without tests. :mod:`phase7.accessor` offers them as methods of
``dataset.phase7`` and ``tree.phase7``; :mod:`phase7.findings.comparison` sets groups beside each
other.

An *effect* here is the tested one: mean net Δ where a control ran, else mean Δ. The *primary mode* is
the group's own where it was tested, else the first tested of result, v_only, pattern_v.
"""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterable
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr

from phase7.findings.reader import (
    fitted,
    grid_size,
    in_order,
    level_of,
    main_mode,
    prefix_of,
    settings_of,
)
from phase7.statistics import relative_depth
from phase7.vocabulary.errors import UserError, or_meant
from phase7.vocabulary.heads import HeadSet

Order = Literal["effect", "effect_size", "q_value"]

#: Statistics of the tested effect: name here -> name in the store without its prefix.
_STATISTICS = {
    "effect": "delta",
    "ci_low": "ci_low",
    "ci_high": "ci_high",
    "p_value": "p_value",
    "q_value": "q_value",
    "effect_size": "effect_size",
}
_EXAMPLE = 'tree["smollm2/gratitude"].to_dataset()'

_SPECIFIC = ("delta", "ci_low", "ci_high", "p_value", "q_value")


def to_dataframe(effects: xr.Dataset) -> pd.DataFrame:
    """Every tested cell and measured metric as one row.

    Parameters
    ----------
    effects : xarray.Dataset
        A group, its ``sweep`` or its ``head_sets``.

    Returns
    -------
    pandas.DataFrame
        Columns: model and emotion where known, layer and head (or head_set), mode, metric, then every
        statistic that the store has for a cell and metric, ``n_prompts`` and ``changed_share``.
        Per-prompt scores are left out: ``effects["patched"].to_dataframe()`` has them.

    Raises
    ------
    UserError
        If the Dataset holds no tests.
    """
    effects = in_order(effects)
    dims = (*_cell_dims(effects), "metric")
    names: list[Hashable] = [
        name for name, one in effects.data_vars.items() if set(one.dims) == set(dims)
    ]
    names += [name for name in ("n_prompts", "changed_share") if name in effects]
    frame = effects[names].to_dataframe(dim_order=list(dims)).reset_index()
    frame = frame[(frame["n_prompts"] > 0) & frame["delta"].notna()].reset_index(drop=True)
    kept = [*dims, *(str(name) for name in names)]
    return _named(frame[kept], effects)


def top_heads(
    effects: xr.Dataset,
    metric: str,
    n: int = 10,
    *,
    mode: str | None = None,
    by: Order = "effect",
) -> pd.DataFrame:
    """The heads (or head sets) that move a metric most.

    Parameters
    ----------
    effects : xarray.Dataset
        A group, its ``sweep`` or its ``head_sets``.
    metric : str
        One of the 35 metrics, e.g. ``"politeness"``.
    n : int
        Rows at most.
    mode : str, optional
        A patch mode; ``"all"`` ranks every tested (head, mode); default: the primary mode.
    by : {"effect", "effect_size", "q_value"}
        Largest |effect|, largest |d_z|, or smallest q first.

    Returns
    -------
    pandas.DataFrame
        One row a cell, strongest first: layer and head (or head_set), mode, ``effect`` (unit of the
        metric), ``ci_low`` and ``ci_high`` (95 %), ``p_value``, ``q_value``, ``effect_size`` (d_z),
        ``n_prompts``, ``significant`` (q below the group's level) and ``net`` (whether the control is
        subtracted). Untested cells and unmeasured metrics have no row.

    Raises
    ------
    UserError
        If the metric or mode is unknown, or the Dataset holds no tests.
    """
    if by not in ("effect", "effect_size", "q_value"):
        raise unknown("order", by, ["effect", "effect_size", "q_value"])
    frame = _tested(in_order(effects), metric, mode)
    key = frame["q_value"] if by == "q_value" else -frame[by].abs()
    order = pd.DataFrame({"key": key, "size": -frame["effect"].abs()}).sort_values(
        ["key", "size"], kind="stable"
    )
    return _named(frame.loc[order.index[:n]].reset_index(drop=True), effects)


def specificity(effects: xr.Dataset, metric: str, mode: str | None = None) -> pd.DataFrame:
    """Every tested cell beside the donors of other emotions.

    Parameters
    ----------
    effects : xarray.Dataset
        A group or its ``head_sets``.
    metric : str
    mode : str, optional
        A patch mode, or ``"all"``; default: the primary mode.

    Returns
    -------
    pandas.DataFrame
        One row a cell and other emotion: layer and head (or head_set), mode, ``against``, ``effect``
        (the tested effect), ``other_delta`` (the other emotion's), ``specific_delta`` with
        ``specific_ci_low``, ``specific_ci_high``, ``specific_p_value``, ``specific_q_value``, and
        ``specificity``, the verdict on the cell.

    Raises
    ------
    UserError
        If the metric or mode is unknown, or no other emotion's donor ran.
    """
    effects = in_order(effects)
    dims = list(_cell_dims(effects))
    if "specific_delta" not in effects:
        raise _wrong("a group with donors of other emotions", "one whose run compared none")
    chosen = effects if mode == "all" else effects.sel(mode=[_known_mode(effects, mode)])
    chosen = _at(chosen, metric, None)
    names = ["other_delta", *(f"specific_{name}" for name in _SPECIFIC), "specificity"]
    effect = f"{prefix_of(effects)}delta"
    frame = chosen[[effect, *names]].to_dataframe(dim_order=[*dims, "against"]).reset_index()
    frame = frame.rename(columns={effect: "effect"})[[*dims, "against", "effect", *names]]
    return _named(frame[frame["specific_delta"].notna()].reset_index(drop=True), effects)


def effect_grid(effects: xr.Dataset, metric: str, mode: str | None = None) -> xr.Dataset:
    """The tested effect of single heads on one metric.

    Parameters
    ----------
    effects : xarray.Dataset
        A group, its ``sweep``, or what ``measure`` returned; sets of several heads have no place.
    metric : str
    mode : str, optional
        Default: the primary mode.

    Returns
    -------
    xarray.Dataset
        Dims (layer, head), all of the model's; ``effect``, ``ci_low``, ``ci_high``, ``p_value``,
        ``q_value`` and ``effect_size``, NaN where not tested, with the store's attributes.

    Raises
    ------
    UserError
        If the metric or mode is unknown, or the Dataset holds no single heads.
    """
    effects = in_order(_by_place(effects) if "head_set" in _cell_dims(effects) else effects)
    effects = fitted(effects, **grid_size(effects, settings_of(effects)))
    here = _at(effects, metric, primary_mode(effects) if mode is None else mode)
    prefix = prefix_of(effects)
    return xr.Dataset(
        {
            name: here[f"{prefix}{stored}"].drop_vars(["metric", "mode"]).transpose("layer", "head")
            for name, stored in _STATISTICS.items()
        },
        attrs=effects.attrs,
    )


def largest_effect(several: Iterable[xr.Dataset], metric: str, mode: str | None = None) -> float | None:
    """The largest |effect| in the grids of several Datasets; None where none of them has one.

    Parameters
    ----------
    several : iterable of xarray.Dataset
        What cannot be drawn, such as a group that lacks the metric, is passed over.
    metric : str
    mode : str, optional
        Default: the primary mode of each.
    """
    sizes = []
    for effects in several:
        with contextlib.suppress(UserError):
            sizes.append(np.abs(effect_grid(effects, metric, mode)["effect"].values).ravel())
    found = np.concatenate([np.empty(0), *sizes])
    found = found[np.isfinite(found)]
    return float(found.max()) if found.size and found.max() > 0 else None


def _by_place(effects: xr.Dataset) -> xr.Dataset:
    """The single heads among head sets, on (layer, head)."""
    labels = [HeadSet.parse(str(label)) for label in effects["head_set"].values]
    heads = [(i, one.only) for i, one in enumerate(labels) if one.is_single]
    if not heads:
        raise _wrong("single heads (a group or its sweep)", "sets of several heads only")
    place = {
        "layer": ("head_set", [head.layer for _, head in heads]),
        "head": ("head_set", [head.head for _, head in heads]),
    }
    chosen = effects.isel(head_set=[i for i, _ in heads]).drop_vars("head_set")
    return chosen.assign_coords(place).set_index(head_set=["layer", "head"]).unstack("head_set")


def layer_effects(effects: xr.Dataset, metric: str, mode: str | None = None) -> pd.DataFrame:
    """Effect by layer: how far the heads of each layer move a metric.

    Returns
    -------
    pandas.DataFrame
        One row a layer with a tested head: layer, depth ((layer + 0.5) / layers), ``mean_size`` and
        ``largest_size`` (mean and maximum of |effect| over its heads, unit of the metric),
        ``n_heads`` tested and ``n_significant``.

    Raises
    ------
    UserError
        As :func:`effect_grid`.
    """
    grid = effect_grid(effects, metric, mode)
    depth = relative_depth(grid.sizes["layer"])
    rows = []
    for layer in grid.indexes["layer"]:
        here = grid.sel(layer=layer)
        size = np.abs(here["effect"].values)
        if not np.isfinite(size).any():
            continue
        row = {
            "layer": int(layer),
            "depth": float(depth[layer]),
            "mean_size": float(np.nanmean(size)),
            "largest_size": float(np.nanmax(size)),
            "n_heads": int(np.isfinite(size).sum()),
            "n_significant": int((here["q_value"].values < level(effects)).sum()),
        }
        rows.append(row)
    return _named(pd.DataFrame(rows), effects)


def primary_mode(effects: xr.Dataset) -> str:
    """The group's own mode where it was tested, else the first tested.

    Raises
    ------
    UserError
        If the Dataset holds no tests.
    """
    counts = effects.get("n_prompts", None)
    if counts is None or "mode" not in counts.dims:
        raise _wrong("a Dataset with tested cells", "one without")
    run = counts.max([dim for dim in counts.dims if dim != "mode"])
    tested = [str(mode) for mode in run["mode"].values if float(run.sel(mode=mode)) > 0]
    if not tested:
        raise _wrong("at least one tested cell", "none")
    return main_mode(str(settings_of(effects).get("patch_mode", "")), tested)


def level(effects: xr.Dataset) -> float:
    """The level of q that the group declares; 0.05 where it declares none."""
    return level_of(settings_of(effects))


def _tested(effects: xr.Dataset, metric: str, mode: str | None) -> pd.DataFrame:
    """One row a tested cell with a number for `metric`."""
    dims = list(_cell_dims(effects))
    chosen = effects if mode == "all" else effects.sel(mode=[_known_mode(effects, mode)])
    chosen = _at(chosen, metric, None)
    prefix = prefix_of(effects)
    names = {f"{prefix}{stored}": name for name, stored in _STATISTICS.items()}
    frame = chosen[[*names, "n_prompts"]].to_dataframe(dim_order=dims).reset_index()
    frame = frame.rename(columns=names)[[*dims, *_STATISTICS, "n_prompts"]]
    frame = frame[(frame["n_prompts"] > 0) & frame["effect"].notna()]
    return frame.assign(significant=frame["q_value"] < level(effects), net=bool(prefix))


def _cell_dims(effects: xr.Dataset) -> tuple[str, ...]:
    """Dims of a cell: (layer, head, mode) or (head_set, mode)."""
    dims = set(effects["n_prompts"].dims) if "n_prompts" in effects else set()
    for wanted in (("layer", "head", "mode"), ("head_set", "mode")):
        if dims == set(wanted) and "delta" in effects:
            return wanted
    raise _wrong(
        "a group, its sweep or its head_sets",
        f"a Dataset of {sorted(map(str, effects.data_vars))}"[:100],
    )


def _at(effects: xr.Dataset, metric: str, mode: str | None) -> xr.Dataset:
    metrics = [str(name) for name in effects["metric"].values]
    if metric not in metrics:
        raise unknown("metric", metric, metrics)
    effects = effects.sel(metric=metric)
    return effects if mode is None else effects.sel(mode=_known_mode(effects, mode))


def _known_mode(effects: xr.Dataset, mode: str | None) -> str:
    if mode is None:
        return primary_mode(effects)
    modes = [str(name) for name in effects["mode"].values]
    if mode not in modes:
        raise unknown("mode", mode, modes)
    return mode


def _named(frame: pd.DataFrame, effects: xr.Dataset) -> pd.DataFrame:
    """The frame with model and emotion in front, where the Dataset tells them."""
    for place, name in enumerate(n for n in ("model", "emotion") if n in effects.attrs):
        frame.insert(place, name, str(effects.attrs[name]))
    return frame


def unknown(what: str, got: str, known: list[str]) -> UserError:
    """The error for a name that is not one of those that are known."""
    return UserError(
        expected=f"a {what} of the effects store",
        got=repr(got),
        where=what,
        remedy=or_meant(got, known, f"name one of {', '.join(known)}"),
    )


def _wrong(expected: str, got: str) -> UserError:
    return UserError(
        expected=expected, got=got, where="effects", remedy=f"take a group of the tree, e.g. {_EXAMPLE}"
    )
