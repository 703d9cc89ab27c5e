"""The answer of a group: what was chosen to move the text, and what its tests found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import xarray as xr

from phase7.findings.group import Group
from phase7.findings.readouts import Moved, moved
from phase7.vocabulary.heads import HeadSet

#: The trials of an answer, in order.
TRIALS = ("confirmation", "fresh")


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What was chosen: heads, their number, strength, and how it is written."""

    heads: str
    n_heads: int
    strength: float
    write: str


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The effect of the chosen set on one metric of text, in one trial, against one other run.

    Attributes
    ----------
    trial, metric : str
    against : str
        Another emotion; empty for the control.
    delta, low, high, p, q, d_z : float
        `q` is NaN for a metric that does not stand for the emotion.
    bound : float
        Upper end of the interval as a share of what prompting does to the metric; NaN where prompting's
        own interval holds 0.
    """

    trial: str
    metric: str
    against: str
    delta: float
    low: float
    high: float
    p: float
    q: float
    d_z: float
    bound: float


def chosen(group: Group) -> Chosen | None:
    """What was chosen; None where no answer was asked for, or no candidate would do."""
    found = group.child("answer")
    if found is None:
        return None
    heads = str(found.attrs["heads"])
    return Chosen(
        heads=heads, n_heads=len(HeadSet.parse(heads).heads), strength=float(found.attrs["strength"]),
        write=str(found.attrs["write"]),
    )  # fmt: skip


def was_asked(group: Group) -> bool:
    """Whether candidates were compared."""
    return group.child("choice") is not None


def compared(group: Group) -> list[Compared]:
    """Every comparison on the emotion's metrics of text: trial by trial, control first."""
    found = group.child("answer")
    if found is None:
        return []
    metrics = [str(m) for m in found["metric"].values[found["is_of_emotion"].values.astype(bool)]]
    rows = []
    for trial in _trials(found):
        for metric in metrics:
            prompting = next((m for m in moved(group, [metric]) if m.control == "prompting"), None)
            at = found.sel(trial=trial, metric=metric)
            if not math.isnan(float(at["net_delta"])):
                rows.append(_compared(at, "net", trial, metric, "", prompting))
                rows += [
                    _compared(at.sel(against=other), "specific", trial, metric, str(other), prompting)
                    for other in found["against"].values
                ]
    return rows


def keeps_guards(group: Group, trial: str) -> bool:
    """Whether the texts of a trial still read as the baseline's."""
    found = group.child("answer")
    return found is not None and float(found["guards_kept"].sel(trial=trial)) == 1


def _holds(group: Group, every: Sequence[Compared], metric: str, trial: str) -> bool:
    """Whether a trial shows the emotion in the text: raised beyond the control and all other emotions.

    Each with q below the level, in texts that still read as the baseline's.
    """
    rows = [row for row in every if (row.trial, row.metric) == (trial, metric)]
    there = bool(rows) and all(row.q < group.alpha and row.delta > 0 for row in rows)
    return there and keeps_guards(group, trial)


def trials_of(group: Group) -> list[str]:
    """The trials that ran."""
    found = group.child("answer")
    return [] if found is None else _trials(found)


def metrics_that_hold(group: Group) -> list[str]:
    """Metrics of text that hold in every trial that ran."""
    ran, rows = trials_of(group), compared(group)
    metrics = dict.fromkeys(row.metric for row in rows)
    return [metric for metric in metrics if all(_holds(group, rows, metric, trial) for trial in ran)]


def _trials(found: xr.Dataset) -> list[str]:
    ran = [str(trial) for trial in found["trial"].values]
    return [trial for trial in TRIALS if trial in ran]


def _compared(
    at: xr.Dataset, kind: str, trial: str, metric: str, against: str, prompting: Moved | None
) -> Compared:
    high = float(at[f"{kind}_ci_high"])
    does = prompting.delta if prompting is not None and prompting.is_moved else math.nan
    return Compared(
        trial=trial, metric=metric, against=against,
        delta=float(at[f"{kind}_delta"]), low=float(at[f"{kind}_ci_low"]), high=high,
        p=float(at[f"{kind}_p_value"]), q=float(at[f"{kind}_q_value"]),
        d_z=float(at[f"{kind}_effect_size"]), bound=high / does if does else math.nan,
    )  # fmt: skip
