"""Which heads the sweep hands to the confirmation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from phase7.effects.inference import CellStatistics
from phase7.effects.scores import StageScores
from phase7.experiment.profile import Profile
from phase7.vocabulary.emotions import goemotions_metric

#: Metrics that rank the sweep's heads where the profile names none, besides the emotion's own label.
_SELECTION = ("sentiment_positive", "politeness")


def strongest_heads(
    sweep: StageScores, result: CellStatistics, metrics: Sequence[str], n: int
) -> list[tuple[int, int]]:
    """The sweep's heads by strength, strongest first.

    Strength of a cell: the root mean square over `metrics` of its mean net Δ (Δ where no control
    ran), each divided by that metric's standard deviation over all swept cells; of a head, its
    strongest mode. Ties go to the lower layer, then the lower head.
    """
    net = result.column("net_delta")
    net = result.column("delta") if np.isnan(net).all() else net
    columns = net[:, [sweep.full.metrics.index(metric) for metric in metrics]]
    measured = ~np.isnan(columns).all(axis=0)
    columns = columns[:, measured]
    spread = columns.std(axis=0)
    scaled = np.divide(columns, spread, out=np.zeros_like(columns), where=spread > 0)
    strength = np.sqrt((scaled**2).mean(axis=1)) if scaled.shape[1] else np.zeros(len(net))
    best: dict[tuple[int, int], float] = {}
    for cell, value in zip(sweep.stage.cells, strength, strict=True):
        head = (cell.heads[0].layer, cell.heads[0].head)
        best[head] = max(best.get(head, -1.0), float(value))
    return sorted(best, key=lambda head: (-best[head], head))[:n]


def selection_metrics(profile: Profile, emotion: str) -> tuple[str, ...]:
    """What ranks the sweep's heads for an emotion.

    The metrics that the profile names; where it names none, positive sentiment, politeness and the
    emotion's GoEmotions label, if it has one.
    """
    if profile.statistics.selection_metrics:
        return profile.statistics.selection_metrics
    own = goemotions_metric(emotion)
    return _SELECTION if own is None else (*_SELECTION, own)
