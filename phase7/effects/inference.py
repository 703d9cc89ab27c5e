"""Statistics of a stage's cells: Δ, control Δ and net Δ with interval, p, q and d_z."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from phase7.effects.scores import Floats, Scores
from phase7.experiment.profile import Statistics
from phase7.statistics import benjamini_hochberg, paired_summary
from phase7.statistics.paired import bootstrap_interval, by_prompt_count
from phase7.vocabulary.emotions import goemotions_metric
from phase7.vocabulary.readouts import FIRST, has_direction, is_readout, log_odds_metric

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
    Columns of a control that did not run are NaN. A metric without a direction is not tested: its p is
    NaN, since any patch moves it away from 0.

    Where the shares of donor pairs are known, the p of net Δ is the larger one of two: over recipients,
    and over donor pairs (`net_donor_p_value`).
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
    values |= _over_donors(values, scores.donor_shares, stats, seed)
    undirected = [m for m, name in enumerate(scores.metrics) if not has_direction(name)]
    for prefix in ("", "net_"):
        values[f"{prefix}p_value"][..., undirected] = np.nan
        values[f"{prefix}q_value"] = q_values(values[f"{prefix}p_value"], scores.metrics)
    return CellStatistics(values=values)


def _over_donors(
    values: Mapping[str, Floats], shares: Floats | None, stats: Statistics, seed: int
) -> dict[str, Floats]:
    """Let the p and interval of net Δ hold over donor pairs as well as over recipients.

    The null: of each pair of an emotion prompt and its neutral prompt, either could have been the
    emotion's. So the signs of the pairs' shares are flipped as those of prompts are. The p of both tests
    together is the larger one, and the interval, by inverting them, the union of theirs. A prediction
    that disagrees with the measured effect about its sign gives p = 1.
    """
    measured = values["net_delta"]
    if shares is None:
        return {"net_donor_p_value": np.full_like(measured, np.nan)}
    found = paired_summary(shares, seed=seed, n_resamples=stats.resamples, confidence=CONFIDENCE)
    predicted, known = found.mean, np.isfinite(found.p_value)
    agree = measured * predicted > 0
    p = np.where(known, np.where(agree, found.p_value, 1.0), np.nan)
    # To the measured size: what flips of the pairs test does not depend on it.
    scale = np.divide(measured, predicted, out=np.ones_like(measured), where=agree)
    low, high = (np.where(agree, scale * end, 0.0) for end in (found.ci_low, found.ci_high))
    return {
        "net_donor_p_value": p,
        "net_p_value": np.where(known, np.maximum(values["net_p_value"], p), values["net_p_value"]),
        "net_ci_low": np.where(known, np.minimum(values["net_ci_low"], low), values["net_ci_low"]),
        "net_ci_high": np.where(known, np.maximum(values["net_ci_high"], high), values["net_ci_high"]),
    }


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


def primary_metrics(metrics: Sequence[str], emotion: str) -> list[int]:
    """Places of the metrics of the primary family.

    The log-odds of the emotion's words over the path and at its first step, the emotion's GoEmotions
    label, positive sentiment and politeness, as far as they are there.
    """
    log_odds = log_odds_metric(emotion)
    wanted = {log_odds, log_odds + FIRST, goemotions_metric(emotion), "sentiment_positive", "politeness"}
    return [m for m, name in enumerate(metrics) if name in wanted]


def primary_q_values(p_values: Floats, metrics: Sequence[str], emotion: str) -> Floats:
    """Benjamini-Hochberg q of the primary metrics of p [set, metric], as one family; NaN elsewhere."""
    q: Floats = np.full_like(p_values, np.nan)
    chosen = primary_metrics(metrics, emotion)
    q[:, chosen] = benjamini_hochberg(p_values[:, chosen])
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
