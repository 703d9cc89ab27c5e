"""Answers from an effects store as tables: strongest heads, all tests, comparisons of groups.

What enters: Datasets and trees of :mod:`phase7.effects.datasets`, in memory or dask-backed. What leaves:
pandas DataFrames and small xarray Datasets. What it refuses: an unknown metric or mode, and a Dataset
without tests. :mod:`phase7.accessor` offers these functions as ``dataset.phase7`` and ``tree.phase7``.

An *effect* here is the tested one: mean net Δ where a control ran, else mean Δ. The *primary mode* is
the group's own where it was tested, else the first tested of result, v_only, pattern_v.
"""

from __future__ import annotations

import json
from collections.abc import Hashable
from itertools import combinations
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from phase7.statistics import agreement_by_depth, agreement_by_head, depth_profile, relative_depth
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.modes import MODES

Floats = npt.NDArray[np.float64]
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
_ALPHA = 0.05
_EXAMPLE = 'tree["smollm2/gratitude"].to_dataset()'


def group_paths(tree: xr.DataTree) -> list[str]:
    """Paths ``"<model>/<emotion>"`` of a tree's groups, in its order."""
    return [node.path.strip("/") for node in tree.subtree if "settings" in node.attrs]


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
    frame = _tested(effects, metric, mode)
    if by not in ("effect", "effect_size", "q_value"):
        raise _unknown("order", by, ["effect", "effect_size", "q_value"])
    key = frame["q_value"] if by == "q_value" else -frame[by].abs()
    order = pd.DataFrame({"key": key, "size": -frame["effect"].abs()}).sort_values(
        ["key", "size"], kind="stable"
    )
    return _named(frame.loc[order.index[:n]].reset_index(drop=True), effects)


def effect_grid(effects: xr.Dataset, metric: str, mode: str | None = None) -> xr.Dataset:
    """The tested effect of single heads on one metric.

    Parameters
    ----------
    effects : xarray.Dataset
        A group or its ``sweep``.
    metric : str
    mode : str, optional
        Default: the primary mode.

    Returns
    -------
    xarray.Dataset
        Dims (layer, head); ``effect``, ``ci_low``, ``ci_high``, ``p_value``, ``q_value`` and
        ``effect_size``, NaN where not tested, with the store's attributes.

    Raises
    ------
    UserError
        If the metric or mode is unknown, or the Dataset holds no single heads.
    """
    if "layer" not in _cell_dims(effects):
        raise _wrong("single heads (a group or its sweep)", "head sets")
    here = _at(effects, metric, primary_mode(effects) if mode is None else mode)
    prefix = _prefix(effects)
    return xr.Dataset(
        {
            name: here[f"{prefix}{stored}"].drop_vars(["metric", "mode"]).transpose("layer", "head")
            for name, stored in _STATISTICS.items()
        },
        attrs=effects.attrs,
    )


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
    size, q = np.abs(grid["effect"].values), grid["q_value"].values
    depth = relative_depth(size.shape[0])
    rows = [
        {
            "layer": int(grid["layer"].values[place]),
            "depth": float(depth[place]),
            "mean_size": float(np.nanmean(one)),
            "largest_size": float(np.nanmax(one)),
            "n_heads": int(np.isfinite(one).sum()),
            "n_significant": int((q[place] < level(effects)).sum()),
        }
        for place, one in enumerate(size)
        if np.isfinite(one).any()
    ]
    return _named(pd.DataFrame(rows), effects)


def compare(
    one: xr.Dataset,
    other: xr.Dataset,
    metric: str,
    *,
    mode: str | None = None,
    by: Literal["auto", "head", "depth"] = "auto",
) -> xr.Dataset:
    """Set two groups beside each other on one metric.

    Parameters
    ----------
    one, other : xarray.Dataset
        Two groups (or sweeps).
    metric : str
    mode : str, optional
        Default: the primary mode of each.
    by : {"auto", "head", "depth"}
        ``"head"`` pairs heads of the same place, which means something within one model only;
        ``"depth"`` pairs equal bins of relative depth, as many as the shallower model has layers.
        ``"auto"``: by head where both name the same model and shape, else by depth.

    Returns
    -------
    xarray.Dataset
        Dims (layer, head) or (depth), the bin's middle. ``effect``, ``q_value``, ``other_effect``,
        ``other_q_value``: of the head, or of the bin's leading head (significant ones first, then by
        |effect|), named by ``head_set`` and ``other_head_set``. ``in_both``: both are significant and
        of one sign. By depth also ``profile`` and ``other_profile``, the mean rank (0 to 1) of the bin's
        heads by |effect| within their model. Scalars ``rank_agreement`` (Spearman's ρ of |effect| by
        head, or of the profiles), its permutation ``rank_agreement_p_value`` and ``n_compared``.

    Raises
    ------
    UserError
        As :func:`effect_grid`; or if heads are to be paired between different shapes.

    Notes
    -----
    Groups of one model share their baseline and control texts, so |net Δ| agrees to some degree
    even where no head carries an emotion; `in_both` does not rest on that agreement.
    """
    grids = effect_grid(one, metric, mode), effect_grid(other, metric, mode)
    sizes = [np.abs(np.asarray(grid["effect"].values, dtype=np.float64)) for grid in grids]
    if by not in ("auto", "head", "depth"):
        raise _unknown("way to compare", by, ["auto", "head", "depth"])
    if by == "auto":
        models = one.attrs.get("model"), other.attrs.get("model")
        by = "head" if sizes[0].shape == sizes[1].shape and models[0] == models[1] else "depth"
    if by == "head" and sizes[0].shape != sizes[1].shape:
        raise UserError(
            expected="two groups with the same layers and heads",
            got=f"{sizes[0].shape} and {sizes[1].shape}",
            where="compare(by='head')",
            remedy="compare by='depth'",
        )
    made = _by_head(*grids) if by == "head" else _by_depth(grids, sizes, (level(one), level(other)))
    found = (agreement_by_head if by == "head" else agreement_by_depth)(*sizes)
    both = (made["q_value"] < level(one)) & (made["other_q_value"] < level(other))
    made["in_both"] = both & (np.sign(made["effect"]) == np.sign(made["other_effect"]))
    made["rank_agreement"] = ((), found.rho, {"long_name": "Spearman's rank correlation", "units": "1"})
    made["rank_agreement_p_value"] = ((), found.p_value, {"long_name": "permutation p", "units": "1"})
    made["n_compared"] = ((), found.n_places, {"long_name": "heads or bins compared", "units": "1"})
    return made.assign_attrs(metric=metric, one=_title(one), other=_title(other), by=by)


def pairwise_agreement(tree: xr.DataTree, metric: str, mode: str | None = None) -> pd.DataFrame:
    """Rank agreement of every pair of a tree's groups on one metric.

    Compares the sweeps where both groups have one (all heads), else the confirmed heads.

    Returns
    -------
    pandas.DataFrame
        One row a pair: one, other (paths), by ("head" or "depth"), rank_agreement, p_value,
        n_compared, n_in_both (heads or bins significant in both, same sign).
    """
    rows: list[dict[str, Any]] = []
    for first, second in combinations(group_paths(tree), 2):
        swept = all("sweep" in tree[path].children for path in (first, second))
        pair = [searched(tree, path) if swept else tree[path].to_dataset() for path in (first, second)]
        made = compare(pair[0], pair[1], metric, mode=mode)
        rows.append(
            {
                "one": first,
                "other": second,
                "by": made.attrs["by"],
                "rank_agreement": float(made["rank_agreement"]),
                "p_value": float(made["rank_agreement_p_value"]),
                "n_compared": int(made["n_compared"]),
                "n_in_both": int(made["in_both"].sum()),
            }
        )
    return pd.DataFrame(rows)


def searched(tree: xr.DataTree, path: str) -> xr.Dataset:
    """The sweep of a group, carrying the group's own attributes; the group where it has none."""
    main = tree[path].to_dataset()
    if "sweep" not in tree[path].children:
        return main
    return tree[f"{path}/sweep"].to_dataset().assign_attrs(main.attrs)


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
    own = str(_settings(effects).get("patch_mode", ""))
    return own if own in tested else min(tested, key=lambda m: MODES.index(m) if m in MODES else 99)


def level(effects: xr.Dataset) -> float:
    """The level of q that the group declares; 0.05 where it declares none."""
    return float(_settings(effects).get("alpha", _ALPHA))


def _tested(effects: xr.Dataset, metric: str, mode: str | None) -> pd.DataFrame:
    """One row a tested cell with a number for `metric`."""
    dims = list(_cell_dims(effects))
    chosen = effects if mode == "all" else effects.sel(mode=[_known_mode(effects, mode)])
    chosen = _at(chosen, metric, None)
    prefix = _prefix(effects)
    names = {f"{prefix}{stored}": name for name, stored in _STATISTICS.items()}
    frame = chosen[[*names, "n_prompts"]].to_dataframe(dim_order=dims).reset_index()
    frame = frame.rename(columns=names)[[*dims, *_STATISTICS, "n_prompts"]]
    frame = frame[(frame["n_prompts"] > 0) & frame["effect"].notna()]
    return frame.assign(significant=frame["q_value"] < level(effects), net=bool(prefix))


def _by_head(one: xr.Dataset, other: xr.Dataset) -> xr.Dataset:
    names = {"effect": "other_effect", "q_value": "other_q_value"}
    return xr.merge(
        [one[list(names)], other[list(names)].rename(names)],
        join="override",
        combine_attrs="drop",
    )


def _by_depth(
    grids: tuple[xr.Dataset, xr.Dataset], sizes: list[Floats], levels: tuple[float, float]
) -> xr.Dataset:
    n_bins = min(len(size) for size in sizes)
    variables: dict[str, Any] = {}
    for prefix, grid, size, alpha in zip(("", "other_"), grids, sizes, levels, strict=True):
        place = np.floor(relative_depth(len(size)) * n_bins).astype(int)
        leading = [_leading(grid, size, place == b, alpha) for b in range(n_bins)]
        rank = {"long_name": "mean rank of the bin's heads by |effect|", "units": "1"}
        variables[f"{prefix}profile"] = ("depth", depth_profile(size, n_bins), rank)
        variables[f"{prefix}head_set"] = ("depth", [name for name, _, _ in leading])
        variables[f"{prefix}effect"] = ("depth", [effect for _, effect, _ in leading])
        variables[f"{prefix}q_value"] = ("depth", [q for _, _, q in leading])
    coordinate = ("depth", relative_depth(n_bins), {"long_name": "relative depth", "units": "1"})
    return xr.Dataset(variables, coords={"depth": coordinate})


def _leading(
    grid: xr.Dataset, size: Floats, layers: npt.NDArray[np.bool_], alpha: float
) -> tuple[str, float, float]:
    """Label, effect and q of the leading head of some layers; ``""`` and NaN where none was tested."""
    q = grid["q_value"].values
    places = [place for place in np.argwhere(np.isfinite(size)) if layers[place[0]]]
    if not places:
        return "", float("nan"), float("nan")
    best = min(places, key=lambda at: (not q[tuple(at)] < alpha, -size[tuple(at)]))
    layer, head = int(best[0]), int(best[1])
    name = f"{grid['layer'].values[layer]}:{grid['head'].values[head]}"
    return name, float(grid["effect"].values[layer, head]), float(q[layer, head])


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


def _prefix(effects: xr.Dataset) -> str:
    """``"net_"`` where a control ran, else ``""``."""
    if "net_delta" in effects and bool(effects["net_delta"].notnull().any()):
        return "net_"
    return ""


def _at(effects: xr.Dataset, metric: str, mode: str | None) -> xr.Dataset:
    metrics = [str(name) for name in effects["metric"].values]
    if metric not in metrics:
        raise _unknown("metric", metric, metrics)
    effects = effects.sel(metric=metric)
    return effects if mode is None else effects.sel(mode=_known_mode(effects, mode))


def _known_mode(effects: xr.Dataset, mode: str | None) -> str:
    if mode is None:
        return primary_mode(effects)
    modes = [str(name) for name in effects["mode"].values]
    if mode not in modes:
        raise _unknown("mode", mode, modes)
    return mode


def _named(frame: pd.DataFrame, effects: xr.Dataset) -> pd.DataFrame:
    """The frame with model and emotion in front, where the Dataset tells them."""
    for place, name in enumerate(n for n in ("model", "emotion") if n in effects.attrs):
        frame.insert(place, name, str(effects.attrs[name]))
    return frame


def _settings(effects: xr.Dataset) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(str(effects.attrs.get("settings") or "{}"))
    return settings


def _title(effects: xr.Dataset) -> str:
    return "/".join(str(effects.attrs[name]) for name in ("model", "emotion") if name in effects.attrs)


def _unknown(what: str, got: str, known: list[str]) -> UserError:
    return UserError(
        expected=f"a {what} of the effects store",
        got=repr(got),
        where=what,
        remedy=f"name one of {', '.join(known)}",
    )


def _wrong(expected: str, got: str) -> UserError:
    return UserError(
        expected=expected, got=got, where="effects", remedy=f"take a group of the tree, e.g. {_EXAMPLE}"
    )
