"""Looks at a confirmation while its prompts come in, and when they suffice.

A run that may stop at one of several looks tests each at a share of the level (:class:`AtLook`).
Whatever decides where it stops, the chance of an error at the look it stops at is no more than that of
an error at any of them, which is at most the sum of the shares: the level. So p and q, divided by the
share of the look, are read as always, and so are intervals made with the confidence that it leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from phase7.effects.families import Bools
from phase7.effects.inference import cell_statistics
from phase7.effects.scores import Scores
from phase7.experiment.statistics import AtLook, Statistics


def last_look(
    scores_of: Callable[[int], Scores], n_planned: int, primary: Bools, stats: Statistics, seed: int
) -> tuple[int, Statistics]:
    """The number of prompts at which a run stops, and the statistics of that look.

    It stops at the first look at which every primary metric is significant in a primary cell, by its
    adjusted p, and else with all prompts.

    Parameters
    ----------
    scores_of : callable
        The scores of a number of the first prompts; asked for as many as are needed.
    n_planned : int
    primary : bool array [cell, metric]
        The primary family. Without a test in it all prompts are run.
    stats : Statistics
    seed : int
    """
    ends = stats.ends(n_planned)
    if len(ends) == 1 or not primary.any():
        return n_planned, stats
    for n in ends[:-1]:
        look = stats.at_look(n, n_planned)
        if is_settled(scores_of(n), primary, look, seed):
            return n, look
    return n_planned, stats.at_look(n_planned, n_planned)


def is_settled(scores: Scores, primary: Bools, look: AtLook, seed: int) -> bool:
    """Whether every primary metric is significant in a primary cell at a look."""
    cells, metrics = (np.flatnonzero(primary.any(axis=axis)) for axis in (1, 0))
    family = primary[np.ix_(cells, metrics)]
    shares = scores.donor_shares
    asked = replace(
        scores,
        baseline=scores.baseline[metrics],
        patched={role: values[np.ix_(cells, metrics)] for role, values in scores.patched.items()},
        metrics=tuple(scores.metrics[m] for m in metrics),
        donor_shares=None if shares is None else shares[np.ix_(cells, metrics)],
    )
    found = cell_statistics(asked, look, seed, family, confidence=None).column("p_adjusted")
    return bool((found < look.alpha).any(axis=0).all())
