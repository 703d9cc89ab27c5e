"""Two groups of an effects store beside each other: head by head, or by relative depth across models.

Heads of two models have no common names, and layers no common numbers;
:mod:`phase7.statistics.agreement` says how depth makes them comparable. As in
:mod:`phase7.findings.tables`, an *effect* is the tested one.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from phase7.findings.reader import group_nodes
from phase7.findings.tables import effect_grid, level, unknown
from phase7.statistics import (
    Agreement,
    agreement_by_depth,
    agreement_by_head,
    depth_bins,
    depth_profile,
    relative_depth,
)
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.heads import Head

Floats = npt.NDArray[np.float64]
By = Literal["auto", "head", "depth"]


def group_paths(tree: xr.DataTree) -> list[str]:
    """Paths ``"<model>/<emotion>"`` of a tree's groups, in its order."""
    return [node.path.strip("/") for node in group_nodes(tree)]


def compare(
    one: xr.Dataset, other: xr.Dataset, metric: str, *, mode: str | None = None, by: By = "auto"
) -> xr.Dataset:
    """Set two groups (or sweeps) beside each other on one metric.

    Parameters
    ----------
    one, other : xarray.Dataset
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
        As :func:`~phase7.findings.tables.effect_grid`; or if heads are to be paired between different
        shapes.

    Notes
    -----
    Groups of one model share their baseline and control texts, so |net Δ| agrees to some degree
    even where no head carries an emotion; `in_both` does not rest on that agreement.
    """
    grids = effect_grid(one, metric, mode), effect_grid(other, metric, mode)
    sizes = _sizes(grids[0]), _sizes(grids[1])
    levels = level(one), level(other)
    if _way(one, other, by, sizes) == "head":
        by, made, found = "head", _by_head(*grids), agreement_by_head(*sizes)
    else:
        by, made, found = "depth", _by_depth(grids, sizes, levels), agreement_by_depth(*sizes)
    both = (made["q_value"] < levels[0]) & (made["other_q_value"] < levels[1])
    made["in_both"] = both & (np.sign(made["effect"]) == np.sign(made["other_effect"]))
    made = made.assign(_scalars(found))
    return made.assign_attrs(metric=metric, one=_title(one), other=_title(other), by=by)


def pairwise_agreement(tree: xr.DataTree, metric: str, mode: str | None = None) -> pd.DataFrame:
    """Rank agreement of every pair of a tree's groups on one metric.

    Compares the sweeps where both groups have one that measured the metric (all heads), else the
    confirmed heads.

    Returns
    -------
    pandas.DataFrame
        One row a pair: one, other (paths), by ("head" or "depth"), rank_agreement, p_value,
        n_compared, n_in_both (heads or bins significant in both, same sign).
    """
    rows: list[dict[str, Any]] = []
    for first, second in combinations(group_paths(tree), 2):
        swept = all(_has_swept(tree, path, metric) for path in (first, second))
        pair = [_searched(tree, path) if swept else tree[path].to_dataset() for path in (first, second)]
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


def _has_swept(tree: xr.DataTree, path: str, metric: str) -> bool:
    """Whether a group has a sweep that measured the metric."""
    swept = tree[path].children.get("sweep")
    if swept is None:
        return False
    # An unknown metric is refused further on, with the names of those that are known.
    return metric not in swept.indexes["metric"] or bool(
        swept["delta"].sel(metric=metric).notnull().any()
    )


def _searched(tree: xr.DataTree, path: str) -> xr.Dataset:
    """The sweep of a group, carrying the group's own attributes."""
    return tree[f"{path}/sweep"].to_dataset().assign_attrs(tree[path].attrs)


def _sizes(grid: xr.Dataset) -> Floats:
    """|effect| [layer, head]."""
    return np.abs(np.asarray(grid["effect"].values, dtype=np.float64))


def _way(
    one: xr.Dataset, other: xr.Dataset, by: By, sizes: tuple[Floats, Floats]
) -> Literal["head", "depth"]:
    """How two groups are compared; refuses to pair heads of different shapes."""
    if by not in ("auto", "head", "depth"):
        raise unknown("way to compare", by, ["auto", "head", "depth"])
    same_shape = sizes[0].shape == sizes[1].shape
    if by == "auto":
        same_model = one.attrs.get("model") == other.attrs.get("model")
        return "head" if same_shape and same_model else "depth"
    if by == "head" and not same_shape:
        raise UserError(
            expected="two groups with the same layers and heads",
            got=f"{sizes[0].shape} and {sizes[1].shape}",
            where="compare(by='head')",
            remedy="compare by='depth'",
        )
    return by


def _scalars(found: Agreement) -> dict[str, Any]:
    return {
        "rank_agreement": ((), found.rho, {"long_name": "Spearman's rank correlation", "units": "1"}),
        "rank_agreement_p_value": ((), found.p_value, {"long_name": "permutation p", "units": "1"}),
        "n_compared": ((), found.n_places, {"long_name": "heads or bins compared", "units": "1"}),
    }


def _by_head(one: xr.Dataset, other: xr.Dataset) -> xr.Dataset:
    names = {"effect": "other_effect", "q_value": "other_q_value"}
    return xr.merge(
        [one[list(names)], other[list(names)].rename(names)],
        compat="no_conflicts",
        join="exact",
        combine_attrs="drop",
    )


def _by_depth(
    grids: tuple[xr.Dataset, xr.Dataset], sizes: tuple[Floats, Floats], levels: tuple[float, float]
) -> xr.Dataset:
    n_bins = min(len(size) for size in sizes)
    variables: dict[str, Any] = {}
    for prefix, grid, size, alpha in zip(("", "other_"), grids, sizes, levels, strict=True):
        bins = depth_bins(len(size), n_bins)
        leading = [_leading(grid, size, np.flatnonzero(bins == b), alpha) for b in range(n_bins)]
        rank = {"long_name": "mean rank of the bin's heads by |effect|", "units": "1"}
        variables[f"{prefix}profile"] = ("depth", depth_profile(size, n_bins), rank)
        variables[f"{prefix}head_set"] = ("depth", [name for name, _, _ in leading])
        variables[f"{prefix}effect"] = ("depth", [effect for _, effect, _ in leading])
        variables[f"{prefix}q_value"] = ("depth", [q for _, _, q in leading])
    coordinate = ("depth", relative_depth(n_bins), {"long_name": "relative depth", "units": "1"})
    return xr.Dataset(variables, coords={"depth": coordinate})


def _leading(
    grid: xr.Dataset, size: Floats, layers: npt.NDArray[np.intp], alpha: float
) -> tuple[str, float, float]:
    """Label, effect and q of the leading head of some layers; ``""`` and NaN where none was tested."""
    heads = [
        Head(int(layer), int(head))
        for layer in layers
        for head in grid.indexes["head"]
        if np.isfinite(size[layer, head])
    ]
    if not heads:
        return "", float("nan"), float("nan")
    effect, q = grid["effect"].values, grid["q_value"].values
    best = min(heads, key=lambda head: (not q[head] < alpha, -size[head]))
    return str(best), float(effect[best]), float(q[best])


def _title(effects: xr.Dataset) -> str:
    return "/".join(str(effects.attrs[name]) for name in ("model", "emotion") if name in effects.attrs)
