"""What prompting and the shift of all heads did, and effects as shares of what prompting does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from phase7.effects.inference import CONFIDENCE, CellStatistics, cell_statistics
from phase7.effects.scores import Floats, Scores, StageScores, on_prompts
from phase7.experiment.statistics import Statistics
from phase7.statistics.ratio import ratio_of_means
from phase7.vocabulary.readouts import has_direction

#: Name of the positive control that effects are shares of.
PROMPTING = "prompting"


@dataclass(frozen=True, kw_only=True, eq=False)
class PositiveControls:
    """Positive controls on a confirmation's prompts.

    Attributes
    ----------
    names : tuple of str
        ``"prompting"``, and ``"shift <strength>"`` for each strength.
    scores : Scores
        The confirmation's baseline, and as `emotion` the controls [control, metric, prompt]; NaN for
        prompts without a match.
    """

    names: tuple[str, ...]
    scores: Scores

    def on_first(self, n: int) -> PositiveControls:
        """The same on the first `n` of the confirmation's prompts."""
        scores = replace(
            self.scores,
            baseline=self.scores.baseline[..., :n],
            patched={role: values[..., :n] for role, values in self.scores.patched.items()},
        )
        return replace(self, scores=scores)

    @property
    def differences(self) -> Floats:
        """What each control changed against the baseline: [control, metric, prompt]."""
        changed: Floats = self.scores.patched["emotion"] - self.scores.baseline
        return changed

    def statistics(self, stats: Statistics, seed: int) -> CellStatistics:
        """Δ of each control with interval, p, q and d_z, each [control, metric]."""
        return cell_statistics(self.scores, stats, seed)


def gather_controls(confirm: StageScores, controls: Sequence[StageScores]) -> PositiveControls | None:
    """Put what was measured of the control stages beside the confirmation's baseline."""
    if not controls:
        return None
    names, arrays = [], []
    recipients, metrics = confirm.stage.recipients, confirm.full.metrics
    undirected = [m for m, name in enumerate(metrics) if not has_direction(name)]
    for one in controls:
        at = [recipients.index(p) for p in one.stage.recipients]
        is_prompting = one.stage.name == "prompting"
        found = [one.full.baseline] if is_prompting else list(one.full.patched["emotion"])
        names += [PROMPTING] if is_prompting else [f"shift {c.strength:g}" for c in one.stage.cells]
        for values in found:
            whole = np.full((len(metrics), len(recipients)), np.nan)
            whole[:, at] = values
            if is_prompting:  # another prompt has no divergence from this one's baseline
                whole[undirected] = np.nan
            arrays.append(whole)
    scores = Scores(
        baseline=confirm.full.baseline,
        patched={"emotion": np.stack(arrays)},
        changed={},
        metrics=metrics,
    )
    return PositiveControls(names=tuple(names), scores=scores)


def controls_dataset(
    controls: PositiveControls, prompts: Sequence[int], recipients: Sequence[int], result: CellStatistics
) -> xr.Dataset:
    """The Dataset ``positive_controls``: statistics [positive_control, metric], scores with prompts.

    Parameters
    ----------
    prompts : sequence of int
        The group's.
    recipients : sequence of int
        The confirmation's.
    """
    dims = ("positive_control", "metric")
    names = ("delta", "ci_low", "ci_high", "p_value", "n_nonzero", "q_value", "effect_size")
    variables = {name: (dims, result.column(name)) for name in names}
    patched = controls.scores.patched["emotion"]
    found = xr.Dataset(variables, coords={"positive_control": list(controls.names)})
    found["patched"] = ((*dims, "prompt"), on_prompts(patched, recipients, prompts))
    return found


def prompting_shares(
    controls: PositiveControls | None, effects: Floats, stats: Statistics, seed: int
) -> dict[str, Floats]:
    """Effects as shares of prompting's, with bootstrap intervals: each [cell, metric].

    NaN where prompting did not run, or where the interval of its own Δ holds 0: such a metric shows
    nothing that a share could be of.

    Parameters
    ----------
    effects : float64 array [cell, metric, prompt]
        The tested effect by prompt.
    """
    names = ("prompting_share", "prompting_share_low", "prompting_share_high")
    shares = {name: np.full(effects.shape[:-1], np.nan) for name in names}
    if controls is None or PROMPTING not in controls.names:
        return shares
    at = controls.names.index(PROMPTING)
    result = controls.statistics(stats, seed)
    low, high = result.column("ci_low")[at], result.column("ci_high")[at]
    moved = np.flatnonzero((low > 0) | (high < 0))
    of = controls.differences[at]
    for c, effect in enumerate(effects):
        found = ratio_of_means(
            effect[moved], of[moved], seed=seed, n_resamples=stats.resamples,
            confidence=stats.confidence(CONFIDENCE),
        )  # fmt: skip
        for name, values in zip(names, (found.value, found.low, found.high), strict=True):
            shares[name][c, moved] = values
    return shares
