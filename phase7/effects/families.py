"""Which tests are corrected together: the primary family that a profile declares, and the rest.

A test is in one family. The primary one is small and fixed before the run: its `p_adjusted` controls
the probability of one or more false rejections, its q the expected share of false ones among all. The
exploratory families, one of texts, one of read-outs and one of fluency guards, are corrected by q alone,
in two steps: first which cells have any effect, then which tests within these
(:mod:`phase7.statistics.hierarchy`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from phase7.effects.scores import Floats
from phase7.experiment.chosen_heads import target_set
from phase7.experiment.profile import Profile
from phase7.experiment.stages import Stage
from phase7.experiment.statistics import Statistics
from phase7.statistics import (
    benjamini_hochberg,
    global_p,
    hierarchical_q,
    minimum_p,
    step_down_min_p,
)
from phase7.vocabulary.emotions import goemotions_metric
from phase7.vocabulary.guards import is_guard
from phase7.vocabulary.metrics import METRICS
from phase7.vocabulary.modes import Mode
from phase7.vocabulary.readouts import FIRST, is_readout, log_odds_metric

Bools = npt.NDArray[np.bool_]

#: What a metric is measured on.
Kind = Literal["text", "logits", "guards"]
KINDS: tuple[Kind, ...] = ("text", "logits", "guards")


def primary_tests(stage: Stage, metrics: Sequence[str]) -> Bools:
    """The primary family of a confirmation: [cell, metric].

    The declared heads, in the modes and on the metrics that the profile declares. Heads are declared
    where they are tested as a set, or are the one target head that the profile names.
    """
    profile = stage.profile
    modes, named = _primary_modes(profile), target_set(profile, stage.files)
    chosen = [
        cell.mode in modes and (not cell.head_set.is_single or cell.head_set == named)
        for cell in stage.cells
    ]
    names = primary_metrics(metrics, stage.emotion.name, profile.statistics)
    return np.outer(chosen, [name in names for name in metrics])


def primary_metrics(metrics: Sequence[str], emotion: str, stats: Statistics) -> tuple[str, ...]:
    """The primary metrics of an emotion, as far as they are among `metrics`.

    Those that the profile declares; by default the log-odds of the emotion's words over the path and at
    its first step, the emotion's GoEmotions label, positive sentiment and politeness.
    """
    log_odds = log_odds_metric(emotion)
    default = (
        log_odds,
        log_odds + FIRST,
        goemotions_metric(emotion),
        "sentiment_positive",
        "politeness",
    )
    wanted = stats.primary_of(emotion) or default
    return tuple(name for name in metrics if name in wanted)


def families_rule(stage: Stage) -> str:
    """What the families of a confirmation are, and what is controlled in each, in words."""
    profile, emotion = stage.profile, stage.emotion.name
    readouts = profile.readouts.metrics(emotion)
    names = ", ".join(primary_metrics((*METRICS, *readouts), emotion, profile.statistics))
    modes = ", ".join(_primary_modes(profile))
    kinds = "texts and read-outs apart" if readouts else "one family"
    return (
        f"primary: {names} x the declared sets of heads x {modes} (p_adjusted controls the family-wise"
        " error, q the false discovery rate); exploratory: all other tests of the stage that could"
        f" reject, {kinds}, first which cells have any effect, then which tests within these (q controls"
        " the false discovery rate of the cells, and within a selected one on average)"
    )


def q_values(
    p_values: Floats,
    n_nonzero: Floats,
    metrics: Sequence[str],
    stats: Statistics,
    primary: Bools | None = None,
    cell_p: Mapping[Kind, Floats] | None = None,
) -> Floats:
    """q of p [..., metric], by family.

    Read-outs see far smaller effects than text does; in one family they would let texts pass at a p
    that alone would not do. Exploratory tests with so few differences other than 0 that no signs could
    bring their p below alpha are in no family (Tarone 1990): their q is NaN. That number does not depend
    on the signs, so leaving them out favours no result.

    Parameters
    ----------
    n_nonzero : float64 array [..., metric]
        Prompts whose difference is not 0.
    primary : bool array [..., metric], optional
        The primary family, whose q is that of Benjamini & Hochberg.
    cell_p : mapping, optional
        As of :func:`cell_p_values`, each float64 [...]: exploratory q are hierarchical, the tests of a
        cell within the cells. Without it they are those of Benjamini & Hochberg over all tests.
    """
    first, kinds = _explored(p_values, n_nonzero, metrics, stats, primary)
    q: Floats = np.full_like(p_values, np.nan)
    q[first] = benjamini_hochberg(p_values[first])
    for kind, family in kinds.items():
        if cell_p is None:
            q[family] = benjamini_hochberg(p_values[family])
            continue
        p = np.where(family, p_values, np.nan).reshape(-1, p_values.shape[-1])
        found = hierarchical_q(p, cell_p[kind].reshape(-1)).reshape(p_values.shape)
        q[family] = found[family]
    return q


def cell_p_values(
    differences: Floats,
    p_values: Floats,
    n_nonzero: Floats,
    metrics: Sequence[str],
    stats: Statistics,
    primary: Bools | None = None,
    *,
    shares: Floats | None = None,
    seed: int,
) -> dict[Kind, Floats]:
    """One p for each cell's exploratory tests together, of texts and of read-outs; each float64 [cell].

    Where read-outs have to hold over pairs of donor prompts too, it is the larger one of both.

    Parameters
    ----------
    differences : float64 array [cell, metric, prompt]
    p_values, n_nonzero : float64 array [cell, metric]
    metrics, stats, primary
        As of :func:`q_values`.
    shares : float64 array [cell, metric, pair] or None
        What each pair of donor prompts adds; NaN where it is not known.
    """
    _, kinds = _explored(p_values, n_nonzero, metrics, stats, primary)

    def of(values: Floats, family: Bools) -> Floats:
        return global_p(
            np.where(family[..., None], values, np.nan), seed=seed, n_resamples=stats.resamples
        )

    found = {kind: of(differences, family) for kind, family in kinds.items()}
    if shares is not None:
        found["logits"] = np.fmax(found["logits"], of(shares, kinds["logits"]))
    return found


def _explored(
    p_values: Floats,
    n_nonzero: Floats,
    metrics: Sequence[str],
    stats: Statistics,
    primary: Bools | None,
) -> tuple[Bools, dict[Kind, Bools]]:
    """The primary tests, and the exploratory ones of each kind that can reject."""
    on_logits = np.array([is_readout(metric) for metric in metrics])
    guards = np.array([is_guard(metric) for metric in metrics])
    first = np.zeros(p_values.shape, dtype=bool) if primary is None else primary
    able = ~first & can_reject(n_nonzero, stats) & ~np.isnan(p_values)
    text = able & ~on_logits & ~guards
    return first, {"text": text, "logits": able & on_logits, "guards": able & guards}


def can_reject(n_nonzero: Floats, stats: Statistics) -> Bools:
    """Whether any signs of so many differences bring p below alpha, or the look's share of it."""
    floor = minimum_p(n_nonzero, n_resamples=stats.resamples)
    return np.asarray(np.nan_to_num(floor, nan=1.0) < stats.alpha * stats.share)


def adjusted_p(
    differences: Floats,
    p_values: Floats,
    primary: Bools,
    *,
    shares: Floats | None,
    donor_p: Floats,
    seed: int,
) -> Floats:
    """Step-down minP over the primary family; NaN outside it.

    Where p has to hold over donor pairs too, a test stands for two hypotheses, and both are in the
    family: the recipients' flips and the pairs' are independent. The adjusted p is the larger of both.

    Parameters
    ----------
    differences : float64 array [cell, metric, prompt]
    p_values : float64 array [cell, metric]
        NaN: not tested.
    primary : bool array [cell, metric]
    shares : float64 array [cell, metric, pair] or None
        What each pair of donor prompts adds.
    donor_p : float64 array [cell, metric]
        p over the pairs; NaN where there is none.
    """
    adjusted: Floats = np.full_like(p_values, np.nan)
    tested = primary & ~np.isnan(p_values)
    over_donors = tested & ~np.isnan(donor_p)
    blocks = [differences[tested]]
    if shares is not None:
        blocks.append(shares[over_donors])
    found = step_down_min_p(blocks, seed=seed)
    adjusted[tested] = found[0]
    if shares is not None:
        adjusted[over_donors] = np.maximum(adjusted[over_donors], found[1])
    # Drawn flips may leave it a little below the exact p, which is 1 where a prediction has the other
    # sign.
    return np.maximum(adjusted, np.where(tested, p_values, np.nan))


def _primary_modes(profile: Profile) -> tuple[Mode, ...]:
    return profile.statistics.primary_modes or (profile.patching.primary_mode,)
