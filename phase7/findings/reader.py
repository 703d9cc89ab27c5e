"""How an effects tree is read, decided once for tables, report, figures and accessors.

Axes are ordered by their labels (:func:`in_order`, :func:`fitted`), so code behind this module may
rely on the order of every axis and a tree with its axes in another order gives the same answers. The
other questions that every reader has are answered here too: whether effects are net of a control,
which mode is the primary one, how many layers and heads there are, and at which level a q counts as
significant.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from phase7.vocabulary.errors import UserError
from phase7.vocabulary.guards import GUARDS, is_guard
from phase7.vocabulary.heads import HeadSet
from phase7.vocabulary.metrics import METRICS
from phase7.vocabulary.modes import MODES
from phase7.vocabulary.readouts import is_readout

#: Dimensions from the outermost to the innermost.
DIMS = (
    "length", "head_set", "layer", "head", "mode", "metric", "prompt", "sample", "direction", "rank",
)  # fmt: skip

#: The level of q where a group declares none.
_ALPHA = 0.05


def _ranked(names: Sequence[str]) -> Callable[[Any], Any]:
    """A sort key that gives the order of `names`; other names come last, by the alphabet."""
    rank = {name: (i, "") for i, name in enumerate(names)}
    return lambda label: rank.get(str(label), (len(rank), str(label)))


#: Sort keys of the labels of an axis; the labels of all others sort by themselves.
_KEYS: dict[str, Callable[[Any], Any]] = {
    "metric": _ranked((*METRICS, *GUARDS)),
    "mode": _ranked(MODES),
    "direction": _ranked(("promoted", "suppressed")),
    "head_set": lambda label: HeadSet.parse(str(label)),
}


def in_order(dataset: xr.Dataset) -> xr.Dataset:
    """The Dataset with its dimensions, and the labels of each, in the order of all tables.

    Metrics and modes come in the order of :mod:`phase7.vocabulary` (a metric of the user's own after
    them), single heads before sets, numbers ascending. Dimensions without labels keep their order.

    Raises
    ------
    UserError
        If a label stands twice on an axis.
    """
    places: dict[Hashable, Any] = {}
    for dim in set(DIMS) & set(dataset.indexes):
        labels = dataset.indexes[dim].tolist()
        if len(set(labels)) < len(labels):
            raise _misread(f"each label of the axis {dim!r} once", "one of them twice")
        key = _KEYS.get(dim, lambda label: label)
        order = sorted(range(len(labels)), key=lambda i: key(labels[i]))
        if order != list(range(len(labels))):
            places[dim] = order
    ordered = dataset.isel(places) if places else dataset
    return ordered.transpose(*DIMS, ..., missing_dims="ignore")


def on_text(dataset: xr.Dataset) -> xr.Dataset:
    """The Dataset without its read-outs and guards: what the scorers measured on text."""
    return _of_metrics(dataset, lambda metric: not (is_readout(metric) or is_guard(metric)))


def guards_of(dataset: xr.Dataset) -> xr.Dataset:
    """The Dataset with its fluency guards alone."""
    return _of_metrics(dataset, is_guard)


def readouts_of(dataset: xr.Dataset) -> xr.Dataset:
    """The Dataset with its read-outs alone."""
    return _of_metrics(dataset, is_readout)


def _of_metrics(dataset: xr.Dataset, is_meant: Callable[[str], bool]) -> xr.Dataset:
    if "metric" not in dataset.indexes:
        return dataset
    metrics = dataset.indexes["metric"]
    kept = [i for i, metric in enumerate(metrics) if is_meant(str(metric))]
    return dataset if len(kept) == len(metrics) else dataset.isel(metric=kept)


def fitted(dataset: xr.Dataset, **axes: Sequence[Any]) -> xr.Dataset:
    """The Dataset with exactly these labels on these axes, where it has them; NaN for what it lacks.

    Raises
    ------
    UserError
        If an axis has no labels, or one that is not among those given.
    """
    for dim, labels in axes.items():
        if dim not in dataset.dims:
            continue
        if dim not in dataset.indexes:
            raise _misread(f"labels on the axis {dim!r}", "none")
        own = dataset.indexes[dim].tolist()
        strange = [label for label in own if label not in labels]
        if strange:
            raise _misread(f"labels of the axis {dim!r} that this version knows", repr(strange[0]))
        if own != list(labels):
            dataset = dataset.reindex({dim: list(labels)})
    return dataset


def group_nodes(tree: xr.DataTree) -> list[xr.DataTree]:
    """The (model, emotion) groups of a tree, in its order."""
    return [node for node in tree.subtree if "settings" in node.attrs]


def settings_of(effects: xr.Dataset | xr.DataTree, where: str = "effects") -> dict[str, Any]:
    """The settings that a group carries; empty where it carries none, as below a group.

    Raises
    ------
    UserError
        If they are not JSON.
    """
    try:
        settings: dict[str, Any] = json.loads(str(effects.attrs.get("settings") or "{}"))
    except ValueError as error:
        raise UserError(
            expected="an attribute `settings` that holds JSON",
            got=type(error).__name__,
            where=where,
            remedy="build the effects file again",
        ) from error
    return settings


def provenance_of(tree: xr.DataTree) -> dict[str, Any]:
    """The record of the run that made a tree; empty where it has none."""
    record: dict[str, Any] = json.loads(str(tree.attrs.get("provenance") or "{}"))
    return record


def level_of(settings: dict[str, Any]) -> float:
    """The level of q that a group declares; 0.05 where it declares none."""
    return float(settings.get("alpha", _ALPHA))


def share_of_level(settings: dict[str, Any]) -> float:
    """The share of the level that a group's tests have: 1 where all prompts were looked at once."""
    return float((settings.get("looks") or {}).get("share", 1.0))


def control_ran(*datasets: xr.Dataset) -> bool:
    """Whether effects are net of a control: as the settings say, else by whether one was measured."""
    with_net = [one for one in datasets if "net_delta" in one]
    for one in datasets:
        settings = settings_of(one)
        if "control" in settings:
            return settings["control"] is not None and bool(with_net)
    return any(bool(one["net_delta"].notnull().any()) for one in with_net)


def prefix_of(*datasets: xr.Dataset) -> str:
    """What the names of the tested effect's statistics begin with: ``"net_"`` or nothing."""
    return "net_" if control_ran(*datasets) else ""


def modes_in_order(modes: Collection[str]) -> tuple[str, ...]:
    """Each of some modes once, in the order of all tables."""
    return tuple(sorted(set(modes), key=_KEYS["mode"]))


def main_mode(wanted: str, tested: Collection[str]) -> str:
    """The mode that stands for a group: the one its profile wants if tested, else the first tested.

    With nothing tested it is the wanted one.
    """
    return wanted if wanted in tested or not tested else modes_in_order(tested)[0]


def grid_size(dataset: xr.Dataset, settings: dict[str, Any]) -> dict[str, range]:
    """All layers and heads of a model: as many as the settings say, else up to the last label."""
    return {
        dim: range(int(settings.get(f"n_{dim}s") or np.max(dataset.indexes[dim]) + 1))
        for dim in ("layer", "head")
    }


def _misread(expected: str, got: str) -> UserError:
    return UserError(
        expected=expected, got=got, where="effects tree", remedy="build the effects file again"
    )
