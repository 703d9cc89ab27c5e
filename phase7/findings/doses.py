"""Dose and response: what sets do at several strengths, and whether the text still reads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from phase7.findings.group import Group
from phase7.vocabulary.guards import MEAN_LN_P
from phase7.vocabulary.heads import HeadSet

#: Datasets that hold sets by strength: those that a profile asks for, and candidates for an answer.
Source = Literal["strengths", "choice"]
SOURCES: tuple[Source, ...] = ("strengths", "choice")


@dataclass(frozen=True, kw_only=True)
class Dose:
    """One set at one strength, on one metric.

    Attributes
    ----------
    label : str
    strength : float
    effect, low, high, q : float
        The tested effect.
    is_kept : bool or None
        Whether the texts still read as the baseline's; None where nobody looked.
    is_chosen : bool
        Whether it is the answer's.
    """

    label: str
    strength: float
    effect: float
    low: float
    high: float
    q: float
    is_kept: bool | None
    is_chosen: bool

    @property
    def n_heads(self) -> int:
        """Heads and units of the set."""
        return len(HeadSet.parse(self.label).members)


def sources(group: Group) -> list[Source]:
    """The Datasets of a group that hold sets by strength."""
    return [name for name in SOURCES if group.child(name) is not None]


def dose_metrics(group: Group, source: Source) -> list[str]:
    """What a figure shows: the emotion's read-out, its metric of text, and the likelihood of the text.

    As far as they were measured.
    """
    found = group.child(source)
    wanted = [group.emotion_readout, group.emotion_metric, MEAN_LN_P]
    if found is None:
        return []
    known = [str(metric) for metric in found["metric"].values]
    return [
        metric for metric in wanted
        if metric in known and bool(found["delta"].sel(metric=metric).notnull().any())
    ]  # fmt: skip


def doses(group: Group, source: Source, metric: str) -> list[Dose]:
    """All sets and strengths on one metric, set by set, strengths ascending."""
    found = group.child(source)
    if found is None:
        return []
    at = found.sel(metric=metric)
    # The guards have no side to be tested against: how they change is of interest.
    prefix = "" if metric == MEAN_LN_P else _prefix(group, at)
    rows = []
    for label in at["head_set"].values:
        for strength in np.sort(at["strength"].values):
            one = at.sel(head_set=label, strength=strength)
            if not math.isnan(float(one["delta"])):
                rows.append(_dose(one, prefix, str(label), float(strength)))
    return rows


def _prefix(group: Group, at: xr.Dataset) -> str:
    """Net effects where a control ran, or a difference of donors was added, of which it is nothing."""
    return "net_" if group.has_control and bool(at["net_delta"].notnull().any()) else ""


def _dose(one: xr.Dataset, prefix: str, label: str, strength: float) -> Dose:
    kept = float(one["guards_kept"]) if "guards_kept" in one else math.nan
    return Dose(
        label=label, strength=strength,
        effect=float(one[f"{prefix}delta"]), low=float(one[f"{prefix}ci_low"]),
        high=float(one[f"{prefix}ci_high"]), q=float(one[f"{prefix}q_value"]),
        is_kept=None if math.isnan(kept) else kept == 1,
        is_chosen="chosen" in one and bool(one["chosen"]),
    )  # fmt: skip
