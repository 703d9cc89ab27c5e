"""The curve over sets of growing size, as a Dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from phase7.effects.inference import cell_statistics, mean_over_prompts
from phase7.effects.positive_controls import PositiveControls, prompting_shares
from phase7.effects.scores import Scores, StageScores
from phase7.effects.synergies import tested_effect
from phase7.experiment.curve import Curve
from phase7.experiment.statistics import Statistics
from phase7.vocabulary.heads import HeadSet


def curve_dataset(
    scores: StageScores,
    curve: Curve,
    stats: Statistics,
    seed: int,
    controls: PositiveControls | None = None,
) -> xr.Dataset:
    """The Dataset ``curve``: the sweep's first heads by set size, beside random sets.

    Statistics [n_heads, metric] are those of the nested sets, which are one family; `random_effect`
    [n_heads, draw, metric] is the mean tested effect of each random set, and `sum_of_singles` [n_heads,
    metric] that of the set's heads one by one: NaN for sizes of which none ran.

    Parameters
    ----------
    scores : StageScores
        Of the stage that :func:`phase7.experiment.curve.curve_stage` makes.
    controls : PositiveControls, optional
        Of the confirmation, whose first prompts the curve was read on, for the shares of prompting.
    """
    place = {cell.heads: c for c, cell in enumerate(scores.stage.cells)}
    sizes, effect = list(curve.first), tested_effect(scores.full)
    nested = [place[heads] for heads in curve.first.values()]
    found = xr.Dataset(coords={"n_heads": sizes})
    found["heads"] = ("n_heads", [HeadSet(heads).label for heads in curve.first.values()])
    dims = ("n_heads", "metric")
    chosen = _only(scores.full, nested)
    for name, values in cell_statistics(chosen, stats, seed).values.items():
        found[name] = (dims, values)
    same = None if controls is None else controls.on_first(effect.shape[-1])
    for name, values in prompting_shares(same, effect[nested], stats, seed).items():
        found[name] = (dims, values)
    means = mean_over_prompts(effect)
    n_draws = max((len(one) for one in curve.drawn.values()), default=0)
    drawn = np.full((len(sizes), n_draws, means.shape[-1]), np.nan)
    alone = np.full((len(sizes), means.shape[-1]), np.nan)
    for s, size in enumerate(sizes):
        for d, heads in enumerate(curve.drawn.get(size, ())):
            drawn[s, d] = means[place[heads]]
        if size <= len(curve.alone):
            alone[s] = means[[place[head,] for head in curve.alone[:size]]].sum(axis=0)
    found["n_prompts"] = effect.shape[-1]
    found["random_effect"] = (("n_heads", "draw", "metric"), drawn)
    found["sum_of_singles"] = (dims, alone)
    return found.assign_coords(draw=np.arange(n_draws))


def _only(scores: Scores, cells: Sequence[int]) -> Scores:
    """The scores of some cells, by their places."""
    shares = scores.donor_shares
    return replace(
        scores,
        patched={role: values[list(cells)] for role, values in scores.patched.items()},
        donor_shares=None if shares is None else shares[list(cells)],
    )
