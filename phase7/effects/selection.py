"""Which heads the sweep hands to the confirmation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from phase7.effects.inference import CellStatistics
from phase7.effects.scores import StageScores
from phase7.experiment.profile import Profile
from phase7.vocabulary.emotions import goemotions_metric
from phase7.vocabulary.readouts import has_direction, is_readout

#: Metrics that rank the sweep's heads where the profile names none, besides the emotion's own label.
_SELECTION = ("sentiment_positive", "politeness")


def strongest_heads(
    sweep: StageScores, result: CellStatistics, metrics: Sequence[str], n: int | None
) -> list[tuple[int, int]]:
    """The sweep's first `n` heads by strength, strongest first; None: all.

    Strength of a cell comes from its mean net Δ (Δ where no control ran) on `metrics`, each divided by
    that metric's standard deviation over all swept cells: their mean where all are read-outs with a
    direction, so that heads through which the emotion *raises* them come first; else their root mean
    square, whatever the sign. Strength of a head is that of its strongest mode. Ties go to the lower
    layer, then the lower head.
    """
    net = result.column("net_delta")
    net = result.column("delta") if np.isnan(net).all() else net
    columns = net[:, [sweep.full.metrics.index(metric) for metric in metrics]]
    measured = ~np.isnan(columns).all(axis=0)
    columns = columns[:, measured]
    spread = columns.std(axis=0)
    scaled = np.divide(columns, spread, out=np.zeros_like(columns), where=spread > 0)
    strength = np.zeros(len(net))
    if scaled.shape[1]:
        strength = scaled.mean(axis=1) if is_signed(metrics) else np.sqrt((scaled**2).mean(axis=1))
    best: dict[tuple[int, int], float] = {}
    for cell, value in zip(sweep.stage.cells, strength, strict=True):
        head = (cell.heads[0].layer, cell.heads[0].head)
        best[head] = max(best.get(head, -np.inf), float(value))
    return sorted(best, key=lambda head: (-best[head], head))[:n]


def is_signed(metrics: Sequence[str]) -> bool:
    """Whether heads are ordered by how much they raise the metrics, not by how much they move them."""
    return all(is_readout(metric) and has_direction(metric) for metric in metrics)


def selection_rule(metrics: Sequence[str]) -> str:
    """What :func:`strongest_heads` orders by, in words."""
    how = "mean" if is_signed(metrics) else "root mean square"
    return (
        f"{how} over {', '.join(metrics)} of the mean net Δ, each divided by its standard deviation over"
        " the swept heads"
    )


def selection_metrics(profile: Profile, emotion: str) -> tuple[str, ...]:
    """What ranks the sweep's heads for an emotion.

    The metrics that the profile names, ``{emotion}`` in them replaced; where it names none, positive
    sentiment, politeness and the emotion's GoEmotions label, if it has one.
    """
    if profile.statistics.selection_metrics:
        return profile.statistics.selection_of(emotion)
    own = goemotions_metric(emotion)
    return _SELECTION if own is None else (*_SELECTION, own)
