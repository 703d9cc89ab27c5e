"""Attributions as arrays: what every head is predicted to do, and what each donor pair adds to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from phase7.effects.readouts import StageReadouts
from phase7.effects.scores import Floats, StageScores
from phase7.experiment.attribution import AttributionPlan, is_apart
from phase7.experiment.stages import Cell, Stage
from phase7.vocabulary.donors import Role
from phase7.vocabulary.modes import MODES, Mode, mode_place


@dataclass(frozen=True, kw_only=True, eq=False)
class StageAttribution:
    """First-order predictions of a stage's read-outs, in nats.

    Attributes
    ----------
    stage : Stage
    metrics : tuple of str
        Those with a direction.
    modes : tuple of str
    baseline : float64 array [metric, prompt]
        Prompts of ``stage.recipients``.
    heads : dict of role to float64 array [mode, metric, layer, head, prompt]
        Predicted Δ of every head of the model.
    pairs : float64 array [mode, metric, layer, head, pair]
        Predicted net Δ with one pair of donor prompts alone, the mean over the recipients that are not
        of the pair themselves. No pairs where the donors are not means over matched prompts.
    dropped : float64 array [mode, metric, layer, head, prompt], optional
        GradDrop's score of the tested effect: the mean over the other layers of its absolute value with
        the gradient through that layer left out.
    """

    stage: Stage
    metrics: tuple[str, ...]
    modes: tuple[Mode, ...]
    baseline: Floats
    heads: dict[Role, Floats]
    pairs: Floats
    dropped: Floats | None = None

    def of_cells(self, cells: Sequence[Cell], role: Role) -> Floats:
        """Predicted Δ of some cells [cell, metric, prompt]; that of a set is a sum, by its strength.

        NaN for cells with units, whose gradients nobody took.
        """
        return self._summed(self.heads[role], cells)

    def shares(self, cells: Sequence[Cell]) -> Floats:
        """What each pair of donors adds to the net Δ of some cells: [cell, metric, pair]."""
        return self._summed(self.pairs, cells)

    def _summed(self, by_head: Floats, cells: Sequence[Cell]) -> Floats:
        summed = np.empty((len(cells), by_head.shape[1], by_head.shape[-1]))
        for c, cell in enumerate(cells):
            if cell.units:
                summed[c] = np.nan
                continue
            layers, heads = np.array(cell.heads).T
            # An integer between slices and arrays would move their axis to the front.
            by_set = by_head[self.modes.index(cell.mode)][:, layers, heads].sum(axis=1)
            summed[c] = cell.strength * by_set
        return summed


def gather_attribution(
    plan: AttributionPlan, entries: Iterable[tuple[int, dict[str, Any]]]
) -> StageAttribution:
    """Put the entries of a stage's recipients in their places."""
    stage = plan.stage
    files, n_prompts = stage.files, len(stage.recipients)
    axes = (len(plan.modes), len(plan.metrics), files.n_layers, files.n_heads)
    baseline = np.full((len(plan.metrics), n_prompts), np.nan)
    heads: dict[Role, Floats] = {role: np.full((*axes, n_prompts), np.nan) for role in stage.roles}
    total, count = np.zeros((*axes, len(plan.pairs))), np.zeros(len(plan.pairs))
    dropped = np.full((*axes, n_prompts), np.nan) if plan.gradient[0] == "dropped" else None
    for index, entry in entries:
        at = stage.recipients.index(index)
        baseline[:, at] = entry["baseline"]
        for role in stage.roles:
            heads[role][..., at] = entry["effects"][role]
        if dropped is not None:
            dropped[..., at] = entry["dropped"]
        if plan.pairs:
            others = np.array([is_apart(stage, pair, index) for pair in plan.pairs])
            total[..., others] += np.asarray(entry["pairs"])[..., others]
            count += others
    with np.errstate(invalid="ignore"):  # a pair whose only recipient is its own has no share: NaN
        pairs = total / count
    return StageAttribution(
        stage=stage,
        metrics=plan.metrics,
        modes=plan.modes,
        baseline=baseline,
        heads=heads,
        pairs=pairs,
        dropped=dropped,
    )


def joined_attribution(parts: Sequence[StageAttribution]) -> StageAttribution:
    """The attributions of one stage, at least one part, one after the other on the metric axis."""
    first = parts[0]
    return replace(
        first,
        metrics=tuple(metric for one in parts for metric in one.metrics),
        baseline=np.concatenate([one.baseline for one in parts]),
        heads={role: np.concatenate([one.heads[role] for one in parts], axis=1) for role in first.heads},
        pairs=np.concatenate([one.pairs for one in parts], axis=1),
        dropped=None
        if first.dropped is None
        else np.concatenate([one.dropped for one in parts if one.dropped is not None], axis=1),
    )


def as_readouts(found: StageAttribution, metrics: Sequence[str]) -> StageReadouts:
    """Predictions in the place of measured read-outs; `metrics` without a direction are NaN."""
    stage, rows = found.stage, [metrics.index(metric) for metric in found.metrics]
    baseline = np.full((len(metrics), len(stage.recipients)), np.nan)
    baseline[rows] = found.baseline
    patched: dict[Role, Floats] = {}
    for role in stage.roles:
        patched[role] = np.full((len(stage.cells), *baseline.shape), np.nan)
        patched[role][:, rows] = found.baseline + found.of_cells(stage.cells, role)
    return StageReadouts(
        metrics=tuple(metrics),
        baseline=baseline,
        patched=patched,
        n_self_rows=0,
        max_self_logit_gap=0.0,
    )


def attribution_dataset(
    halves: Mapping[str, StageAttribution],
    metrics: Sequence[str],
    checked: StageScores | None = None,
) -> xr.Dataset:
    """The Dataset ``attribution``: predicted effects of all heads, by half of the prompts.

    Variables are means over the half's recipients [half, layer, head, mode, metric], in nats: NaN for
    metrics that are not attributed and modes that were not run. Of the heads that were patched to check
    the predictions for the discovery prompts, it has the measured effects [layer, head, mode, metric].

    Parameters
    ----------
    halves : mapping of str to StageAttribution
        At least one, by the name of their prompts' split.
    metrics : sequence of str
        The group's metric axis.
    checked : StageScores, optional
        What was measured of such heads.
    """
    found = list(halves.values())
    files = found[0].stage.files
    shape = (len(found), files.n_layers, files.n_heads, len(MODES), len(metrics))
    variables = {name: np.full(shape, np.nan) for name in ("predicted_delta", "predicted_net_delta")}
    for h, one in enumerate(found):
        places = np.ix_(
            [mode_place(mode) for mode in one.modes], [metrics.index(m) for m in one.metrics]
        )
        emotion = one.heads["emotion"].mean(axis=-1)  # [mode, metric, layer, head]
        control = one.heads["control"].mean(axis=-1) if "control" in one.heads else emotion * np.nan
        for name, values in (("predicted_delta", emotion), ("predicted_net_delta", emotion - control)):
            whole = variables[name][h].transpose(2, 3, 0, 1)
            whole[places] = values
    dims = ("half", "layer", "head", "mode", "metric")
    dataset = xr.Dataset(
        {name: (dims, values) for name, values in variables.items()}, coords={"half": list(halves)}
    )
    if checked is not None:
        for name, values in _measured(checked, shape[1:]).items():
            dataset[name] = (dims[1:], values)
    return dataset


def _measured(checked: StageScores, shape: tuple[int, ...]) -> dict[str, Floats]:
    """Mean measured effects of single heads [layer, head, mode, metric]; NaN where none was patched."""
    full = checked.full
    emotion = (full.patched["emotion"] - full.baseline).mean(axis=-1)
    control = np.full_like(emotion, np.nan)
    if "control" in full.patched:
        control = (full.patched["control"] - full.baseline).mean(axis=-1)
    found = {"checked_delta": emotion, "checked_net_delta": emotion - control}
    whole = {name: np.full(shape, np.nan) for name in found}
    for c, cell in enumerate(checked.stage.cells):
        place = (*cell.head_set.only, mode_place(cell.mode))
        for name, values in found.items():
            whole[name][place] = values[c]
    return whole
