"""Corrected estimates in an attribution's entry: integrated steps, or gradients with layers dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phase7.engine.decode.attribution import slopes_of
from phase7.engine.decode.corrected import dropped_slopes, integrated_effects
from phase7.engine.decode.read_logits import ReadLogits, log_likelihood_of, log_odds_of
from phase7.engine.model.bridge import Model
from phase7.engine.model.tokens import encode
from phase7.engine.patch.donors import Donor
from phase7.experiment.attribution import AttributionPlan
from phase7.experiment.contrasts import ContrastPlan
from phase7.run.reading import TokenSets, as_tokens, followed, weights
from phase7.vocabulary.donors import Role

#: A path with what is read along it, and how often it counts.
Path = tuple[Sequence[int], ReadLogits, float]


def corrected(
    model: Model,
    plan: AttributionPlan,
    index: int,
    way: Any,
    donors: Mapping[Role, Donor],
    sets: TokenSets,
) -> dict[str, Any]:
    """What a recipient's entry holds besides, or in the place of plain estimates.

    Returns
    -------
    dict
        With integrated steps ``effects``, by role, float32 [mode, metric, layer, head]. With layers
        dropped ``dropped`` float32 [mode, metric, layer, head]: the mean over all layers but the head's
        own of the absolute tested effect, which is the emotion's minus the control's where one runs.
    """
    kind, n_steps = plan.gradient
    if kind == "plain":
        return {}
    paths = _paths(model, plan, way, sets)
    tested = [donors[role] for role in plan.stage.roles if role in donors]
    if kind == "integrated":
        found = _integrated(model, plan, index, paths, tested, n_steps)
        return {"effects": dict(zip(donors, found, strict=True))}
    return {"dropped": _dropped(model, plan, index, paths, tested)}


def _integrated(
    model: Model,
    plan: AttributionPlan,
    index: int,
    paths: Sequence[Path],
    donors: Sequence[Donor],
    n_steps: int,
) -> Any:
    """Effects of each donor, float32 [donor, mode, metric, layer, head]."""
    positions = plan.stage.profile.patching.positions
    total: Any = 0.0
    for path, read, weight in paths:
        tokens = _tokens(model, plan, index, path)
        given = slopes_of(model, tokens, path, read, positions=positions)
        recipient = (model, tokens, path, read, given)
        found = [
            [integrated_effects(*recipient, donor, mode, n_steps=n_steps) for mode in plan.modes]
            for donor in donors
        ]
        total = total + weight * np.array(found)
    return np.asarray(total, dtype=np.float32)


def _dropped(
    model: Model, plan: AttributionPlan, index: int, paths: Sequence[Path], donors: Sequence[Donor]
) -> Any:
    """GradDrop's score of the first donor's effect, less the second's where there is one."""
    positions = plan.stage.profile.patching.positions
    by_layer: Any = 0.0
    for path, read, weight in paths:
        tokens = _tokens(model, plan, index, path)
        found = [
            [one.effects(donors, mode) for mode in plan.modes]
            for one in dropped_slopes(model, tokens, path, read, positions=positions)
        ]  # [dropped layer, mode, donor, metric, layer, head]
        by_layer = by_layer + weight * np.array(found)
    effects = np.asarray(by_layer)
    tested = effects[:, :, 0] - (effects[:, :, 1] if len(donors) > 1 else 0.0)
    return (np.abs(tested).sum(axis=0) / max(model.n_layers - 1, 1)).astype(np.float32)


def _paths(model: Model, plan: AttributionPlan, way: Any, sets: TokenSets) -> list[Path]:
    readouts = plan.readouts
    if not isinstance(readouts, ContrastPlan):
        path = followed(model, way)
        return [(path, log_odds_of(model, path, sets), 1.0)]
    by_token, paths = readouts.contrast.by_token, list[Path]()
    for one, weight in zip(way, weights(readouts), strict=True):
        path = followed(model, as_tokens(model, one))
        paths.append((path, log_likelihood_of(model, path, by_token=by_token), float(weight)))
    return paths


def _tokens(model: Model, plan: AttributionPlan, index: int, path: Sequence[int]) -> Sequence[int]:
    stage = plan.stage
    return encode(model, stage.neutral.prompts[index], stage.framing, n_new_tokens=len(path))
