"""Statistics of a stage's cells: Δ, control Δ and net Δ with interval, p, q and d_z."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from phase7.effects.families import Bools, Kind, adjusted_p, cell_p_values, q_values
from phase7.effects.scores import Floats, Scores
from phase7.experiment.statistics import Statistics
from phase7.statistics import PairedSummary, paired_summary
from phase7.statistics.exact_sums import difference
from phase7.vocabulary.readouts import has_direction

#: Level of every interval.
CONFIDENCE = 0.95

#: Ends of the names of what is compared with the level.
COMPARED = ("p_value", "q_value", "p_adjusted")


@dataclass(frozen=True, kw_only=True, eq=False)
class CellStatistics:
    """Statistics of some cells: each value a float64 array [cell, metric].

    `cell_p` holds the p of each cell's exploratory tests together, float64 [cell], by the prefix of the
    effect's names and by what is measured on (:func:`phase7.effects.families.cell_p_values`).
    """

    values: dict[str, Floats]
    cell_p: dict[str, dict[Kind, Floats]] = field(default_factory=dict)

    def column(self, name: str) -> Floats:
        """One statistic."""
        return self.values[name]


def cell_statistics(
    scores: Scores,
    stats: Statistics,
    seed: int,
    primary: Bools | None = None,
    *,
    confidence: float | None = CONFIDENCE,
) -> CellStatistics:
    """Test what every cell does to every metric.

    Δ and net Δ come with interval, p, q and d_z, and with the number of prompts whose difference is not
    0; control Δ, which nobody tests, with its interval. Columns of a control that did not run are NaN.
    A metric without a direction is not tested: its p is NaN, since any patch moves it away from 0.

    Where the shares of donor pairs are known, the p of net Δ is the larger one of two: over recipients,
    and over donor pairs (`net_donor_p_value`). At one look of several all p and q are divided by its
    share of the level, and intervals are made at the confidence that it leaves.

    Parameters
    ----------
    primary : bool array [cell, metric], optional
        The primary family of the tested effect (net Δ, or Δ where no control ran): `p_adjusted` is its
        step-down minP. None: there is none.
    confidence : float or None
        Of the intervals; None: their ends are NaN.
    """
    delta, control, net = _effects(scores)
    has_control = "control" in scores.patched
    first = np.zeros(delta.shape[:-1], dtype=bool) if primary is None else primary
    values: dict[str, Floats] = {"control_delta": mean_over_prompts(control)}
    level = None if confidence is None else stats.confidence(confidence)
    summarise = partial(paired_summary, seed=seed, n_resamples=stats.resamples, confidence=level)
    summary = summarise(control)
    values |= {"control_ci_low": summary.ci_low, "control_ci_high": summary.ci_high}
    for prefix, effect in (("", delta), ("net_", net)):
        values |= _named(prefix, effect, summarise(effect))
    values |= _over_donors(values, scores.donor_shares, summarise)
    cell_p = {
        prefix: _with_q(values, prefix, effect, scores, stats, first, shares=shares, seed=seed)
        for prefix, effect, shares in (("", delta, None), ("net_", net, scores.donor_shares))
    }
    values["p_adjusted"] = adjusted_p(
        net if has_control else delta,
        values["net_p_value" if has_control else "p_value"],
        first,
        shares=scores.donor_shares if has_control else None,
        donor_p=values["net_donor_p_value"],
        seed=seed,
    )
    return _of_the_whole_level(values, cell_p, stats)


def _of_the_whole_level(
    values: Mapping[str, Floats], cell_p: Mapping[str, Mapping[Kind, Floats]], stats: Statistics
) -> CellStatistics:
    """Statistics of one look, to be compared with the level of all looks."""
    return CellStatistics(
        values={
            name: of_the_level(column, stats) if name.endswith(COMPARED) else column
            for name, column in values.items()
        },
        cell_p={
            prefix: {kind: of_the_level(p, stats) for kind, p in by_kind.items()}
            for prefix, by_kind in cell_p.items()
        },
    )


def mean_effects(scores: Scores) -> CellStatistics:
    """The mean Δ and net Δ of every cell on every metric alone, each over the prompts that it has."""
    delta, _, net = _effects(scores)
    return CellStatistics(
        values={"delta": mean_over_prompts(delta), "net_delta": mean_over_prompts(net)}
    )


def of_the_level(p: Floats, stats: Statistics) -> Floats:
    """p or q of one look, to be compared with the level of all looks; at most 1."""
    return p if stats.share == 1 else np.minimum(p / stats.share, 1.0)


def _with_q(
    values: dict[str, Floats],
    prefix: str,
    effect: Floats,
    scores: Scores,
    stats: Statistics,
    primary: Bools,
    *,
    shares: Floats | None,
    seed: int,
) -> dict[Kind, Floats]:
    """Add an effect's q to its statistics, and take the p of metrics without a direction away.

    Returns the p of each cell's exploratory tests together.
    """
    undirected = [m for m, name in enumerate(scores.metrics) if not has_direction(name)]
    values[f"{prefix}p_value"][..., undirected] = np.nan
    p, n, names = values[f"{prefix}p_value"], values[f"{prefix}n_nonzero"], scores.metrics
    cell_p = cell_p_values(effect, p, n, names, stats, primary, shares=shares, seed=seed)
    values[f"{prefix}q_value"] = q_values(p, n, names, stats, primary, cell_p)
    return cell_p


def _effects(scores: Scores) -> tuple[Floats, Floats, Floats]:
    """Δ, control Δ and net Δ by prompt; NaN for those of a control that did not run."""
    emotion = scores.patched["emotion"]
    delta = difference(emotion, scores.baseline)
    if "control" not in scores.patched:
        missing = np.full_like(delta, np.nan)
        return delta, missing, missing
    control = scores.patched["control"]
    return delta, difference(control, scores.baseline), difference(emotion, control)


def _named(prefix: str, effect: Floats, found: PairedSummary) -> dict[str, Floats]:
    return {
        f"{prefix}delta": mean_over_prompts(effect),
        f"{prefix}ci_low": found.ci_low,
        f"{prefix}ci_high": found.ci_high,
        f"{prefix}p_value": found.p_value,
        f"{prefix}n_nonzero": found.n_nonzero,
        f"{prefix}effect_size": found.effect_size,
    }


def _over_donors(
    values: Mapping[str, Floats],
    shares: Floats | None,
    summarise: Callable[[Floats], PairedSummary],
) -> dict[str, Floats]:
    """Let the p and interval of net Δ hold over donor pairs as well as over recipients.

    The null: of each pair of an emotion prompt and its neutral prompt, either could have been the
    emotion's. So the signs of the pairs' shares are flipped as those of prompts are. The p of both tests
    together is the larger one, and the interval, by inverting them, the union of theirs. A prediction
    that disagrees with the measured effect about its sign gives p = 1. What counts as `net_n_nonzero` is
    the smaller number of both, which decides how small that p can get.
    """
    measured = values["net_delta"]
    if shares is None:
        return {"net_donor_p_value": np.full_like(measured, np.nan)}
    found = summarise(shares)
    predicted, known = found.mean, np.isfinite(found.p_value)
    agree = measured * predicted > 0
    p = np.where(known, np.where(agree, found.p_value, 1.0), np.nan)
    # To the measured size: what flips of the pairs test does not depend on it.
    scale = np.divide(measured, predicted, out=np.ones_like(measured), where=agree)
    low, high = (np.where(agree, scale * end, 0.0) for end in (found.ci_low, found.ci_high))
    both = {
        "net_p_value": np.maximum(values["net_p_value"], p),
        "net_ci_low": np.minimum(values["net_ci_low"], low),
        "net_ci_high": np.maximum(values["net_ci_high"], high),
        "net_n_nonzero": np.minimum(values["net_n_nonzero"], found.n_nonzero),
    }
    return {"net_donor_p_value": p} | {
        name: np.where(known, column, values[name]) for name, column in both.items()
    }


def mean_over_prompts(values: Floats) -> Floats:
    """Mean over the last axis, that of prompts or samples; NaN where none was measured."""
    measured = ~np.isnan(values)
    total = np.where(measured, values, 0.0).sum(axis=-1)
    count = measured.sum(axis=-1)
    mean: Floats = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean
