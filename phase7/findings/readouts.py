"""What read-outs and positive controls say about a group, and how far their numbers can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from phase7.findings.cells import DUST, Cell, Floats
from phase7.findings.group import Group
from phase7.findings.reader import share_of_level
from phase7.statistics.power import detectable_effect
from phase7.vocabulary.heads import HeadSet


@dataclass(frozen=True, kw_only=True)
class Moved:
    """What one positive control did to one metric: Δ with its interval, p, q and d_z."""

    control: str
    metric: str
    delta: float
    low: float
    high: float
    p: float
    q: float
    d_z: float

    @property
    def is_known(self) -> bool:
        """Whether there is an interval: not with fewer than two prompts."""
        return not math.isnan(self.low)

    @property
    def is_moved(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


def moved(group: Group, metrics: Sequence[str]) -> list[Moved]:
    """Every positive control on some metrics, control by control; none where none ran."""
    found = group.child("positive_controls")
    if found is None:
        return []
    names = {
        "delta": "delta", "low": "ci_low", "high": "ci_high", "p": "p_value", "q": "q_value",
        "d_z": "effect_size",
    }  # fmt: skip
    return [
        Moved(
            control=str(control),
            metric=metric,
            **{
                short: float(found[name].sel(positive_control=control, metric=metric))
                for short, name in names.items()
            },
        )
        for control in found["positive_control"].values
        for metric in metrics
    ]


@dataclass(frozen=True, kw_only=True)
class Share:
    """An effect as a share of what prompting does, with its interval; NaN where that is undefined."""

    value: float
    low: float
    high: float


def share(cell: Cell, metric: str) -> Share:
    """The share of one cell."""
    value, low, high = (cell.value(f"prompting_share{end}", metric) for end in ("", "_low", "_high"))
    return Share(value=value, low=low, high=high)


def cell_on(group: Group, label: str, metric: str) -> Cell | None:
    """A confirmed head or set in the primary mode, as it can be asked for the metric."""
    _, confirmed = group.measured_cells(metric)
    return confirmed.get((label, group.mode))


def sets_by_size(group: Group) -> list[str]:
    """Labels of the sets of the sweep's first heads and of the random ones, by size."""
    labels = dict.fromkeys([*_labels(group, "strongest_sets"), *_labels(group, "random_sets")])
    return sorted((one for one in labels if one in group.labels), key=lambda one: len(_heads(one)))


def first_sets(group: Group) -> list[str]:
    """Labels of the sets of the sweep's first heads, by size."""
    return [one for one in sets_by_size(group) if one in _labels(group, "strongest_sets")]


def random_like(group: Group, label: str) -> list[str]:
    """Labels of the random sets of the same size."""
    size = len(_heads(label))
    return [one for one in _labels(group, "random_sets") if len(_heads(one)) == size]


@dataclass(frozen=True, kw_only=True)
class Trust:
    """How far the numbers of a read-out agree with each other, in the primary mode.

    Attributes
    ----------
    metric : str
    n_heads : int
        Heads of the model.
    split_half : float
        Spearman's ρ over all heads between the predicted net effects on discovery and confirmation
        prompts; NaN where they were not both predicted.
    kept : float
        Mean |effect| on confirmation prompts of the sweep's strongest heads over that on discovery
        prompts; NaN without a sweep of read-outs.
    n_patched : int
        Single heads with both an exact and a predicted effect on the same prompts.
    predicted : float
        Pearson's r between the two over these.
    n_checked : int
        Heads drawn at random that were patched on the discovery prompts.
    checked : float
        Pearson's r between measured and predicted effects over these.
    on_text : float
        Spearman's ρ over the same heads between the effects on the read-out and on the emotion's text
        metric.
    """

    metric: str
    n_heads: int
    split_half: float
    kept: float
    n_patched: int
    predicted: float
    n_checked: int
    checked: float
    on_text: float


def trust(group: Group) -> Trust | None:
    """The agreement of a group's numbers on its emotion's read-out; None where there is none."""
    metric = group.emotion_readout
    if metric is None:
        return None
    cells = {
        label: cell
        for (label, mode), cell in group.readouts.items()
        if mode == group.mode and cell.heads.is_single
    }
    exact = np.array([cell.tested_value("delta", metric) for cell in cells.values()])
    halves = _predicted(group, metric)
    mine = next((halves[half] for half in ("confirmation", "all") if half in halves), None)
    own = [] if mine is None else [float(mine[cell.heads.only]) for cell in cells.values()]
    first, second = halves.get("discovery"), halves.get("confirmation")
    measured = _checked(group, metric)
    drawn = np.isfinite(measured) if first is not None else np.zeros_like(measured, dtype=bool)
    text = group.emotion_metric
    on_text = [
        math.nan if text is None else group.confirmed[label, group.mode].tested_value("delta", text)
        for label in cells
    ]
    return Trust(
        metric=metric,
        n_heads=group.main.sizes["layer"] * group.main.sizes["head"],
        split_half=math.nan
        if first is None or second is None
        else _spearman(first.ravel(), second.ravel()),
        kept=_kept(group, metric),
        n_patched=len(cells),
        predicted=_pearson(exact, np.array(own)) if own else math.nan,
        n_checked=int(drawn.sum()),
        checked=math.nan if first is None else _pearson(measured[drawn], first[drawn]),
        on_text=_spearman(exact, np.array(on_text)),
    )


def smallest_detectable(group: Group, metric: str, *, power: float = 0.8) -> float:
    """The smallest effect of a single head on a text metric that this run finds with that power.

    Of one test at the level 0.05, from the median over confirmed single heads of the standard deviation
    of the tested difference over prompts. NaN where nothing was measured, and where the median is 0:
    most differences are then all the same, and tell nothing of how they would vary.
    """
    cells = [c for (_, mode), c in group.confirmed.items() if mode == group.mode and c.heads.is_single]
    spreads, n = [], 0
    for cell in cells:
        differences = cell.differences(metric)
        known = differences[np.isfinite(differences)]
        if known.size > 1:
            spreads.append(float(known.std(ddof=1)))
            n = max(n, known.size)
    typical = float(np.median(spreads)) if spreads else 0.0
    alpha = 0.05 * share_of_level(group.settings)
    return float(detectable_effect(typical, n, alpha=alpha, power=power)) if typical > DUST else math.nan


def _labels(group: Group, key: str) -> list[str]:
    return list(dict.fromkeys(str(label) for label in group.settings.get(key) or ()))


def _heads(label: str) -> tuple[object, ...]:
    return HeadSet.parse(label).heads


def _predicted(group: Group, metric: str) -> dict[str, Floats]:
    """Predicted tested effects [layer, head] by half of the prompts, as far as there are any."""
    found = group.child("attribution")
    if found is None:
        return {}
    name = "predicted_net_delta" if group.has_control else "predicted_delta"
    one = found[name].sel(metric=metric, mode=group.mode).transpose("half", "layer", "head")
    halves = {str(half): np.asarray(one.sel(half=half).values, float) for half in one["half"].values}
    return {half: values for half, values in halves.items() if np.isfinite(values).any()}


def _checked(group: Group, metric: str) -> Floats:
    """Measured effects [layer, head] of heads drawn at random; NaN elsewhere."""
    found = group.child("attribution")
    name = "checked_net_delta" if group.has_control else "checked_delta"
    if found is None or name not in found:
        return np.full((group.main.sizes["layer"], group.main.sizes["head"]), np.nan)
    one = found[name].sel(metric=metric, mode=group.mode).transpose("layer", "head")
    return np.asarray(one.values, float)


def _kept(group: Group, metric: str) -> float:
    pairs = [
        (group.readout_sweep[label, group.mode], group.readouts[label, group.mode])
        for label in group.strongest
        if (label, group.mode) in group.readout_sweep and (label, group.mode) in group.readouts
    ]
    if not pairs:
        return math.nan
    found, held = (
        np.abs([cell.tested_value("delta", metric) for cell in cells])
        for cells in zip(*pairs, strict=True)
    )
    return float(held.mean() / found.mean()) if found.mean() > 0 else math.nan


def _spearman(one: Floats, other: Floats) -> float:
    return _pearson(one, other, ranks=True)


def _pearson(one: Floats, other: Floats, *, ranks: bool = False) -> float:
    """NaN for fewer than three finite pairs, or where one of both is constant."""
    both = np.isfinite(one) & np.isfinite(other)
    one, other = one[both], other[both]
    if both.sum() < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return math.nan
    return float(spearmanr(one, other).statistic if ranks else np.corrcoef(one, other)[0, 1])
