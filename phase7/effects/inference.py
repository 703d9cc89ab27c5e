"""Statistics of a stage's cells: Δ, control Δ and net Δ with interval, p, q and d_z."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from phase7.effects.scores import Floats, Scores
from phase7.experiment.profile import Statistics
from phase7.statistics import benjamini_hochberg, paired_summary
from phase7.statistics.paired import bootstrap_interval, by_prompt_count
from phase7.vocabulary.readouts import is_readout

#: Level of every interval.
CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True, eq=False)
class CellStatistics:
    """Statistics of some cells: each value a float64 array [cell, metric]."""

    values: dict[str, Floats]

    def column(self, name: str) -> Floats:
        """One statistic."""
        return self.values[name]


def cell_statistics(scores: Scores, stats: Statistics, seed: int) -> CellStatistics:
    """Test what every cell does to every metric.

    Δ and net Δ come with interval, p, q and d_z; control Δ, which nobody tests, with its interval.
    Columns of a control that did not run are NaN.
    """
    delta = scores.patched["emotion"] - scores.baseline
    control = (
        scores.patched["control"] - scores.baseline
        if "control" in scores.patched
        else np.full_like(delta, np.nan)
    )
    values: dict[str, Floats] = {"control_delta": _mean(control)} | _control_interval(
        control, stats, seed
    )
    for prefix, difference in (("", delta), ("net_", delta - control)):
        summary = paired_summary(
            difference, seed=seed, n_resamples=stats.resamples, confidence=CONFIDENCE
        )
        values |= {
            f"{prefix}delta": _mean(difference),
            f"{prefix}ci_low": summary.ci_low,
            f"{prefix}ci_high": summary.ci_high,
            f"{prefix}p_value": summary.p_value,
            f"{prefix}effect_size": summary.effect_size,
        }
    for prefix in ("", "net_"):
        values[f"{prefix}q_value"] = q_values(values[f"{prefix}p_value"], scores.metrics)
    return CellStatistics(values=values)


def q_values(p_values: Floats, metrics: Sequence[str]) -> Floats:
    """Benjamini-Hochberg q of p [..., metric], in two families: metrics of text, and read-outs.

    Read-outs see far smaller effects than text does; in one family they would let texts pass at a p
    that alone would not do.
    """
    on_logits = np.array([is_readout(metric) for metric in metrics])
    q: Floats = np.full_like(p_values, np.nan)
    for family in (on_logits, ~on_logits):
        if family.any():
            q[..., family] = benjamini_hochberg(p_values[..., family])
    return q


def _control_interval(control: Floats, stats: Statistics, seed: int) -> dict[str, Floats]:
    """Both ends of the interval of control Δ, by the bootstrap of the other intervals."""

    def summarise(rows: Floats) -> dict[str, Floats]:
        low, high = bootstrap_interval(
            rows, seed=seed, n_resamples=stats.resamples, confidence=CONFIDENCE
        )
        return {"control_ci_low": low, "control_ci_high": high}

    return by_prompt_count(control, ("control_ci_low", "control_ci_high"), summarise)[1]


def _mean(values: Floats) -> Floats:
    """Mean over prompts, NaN where none was measured."""
    measured = ~np.isnan(values)
    total = np.where(measured, values, 0.0).sum(axis=-1)
    count = measured.sum(axis=-1)
    mean: Floats = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean
