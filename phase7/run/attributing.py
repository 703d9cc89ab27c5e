"""What the entry of an attribution holds, computed with a loaded model and its donors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phase7.engine.decode.attribution import Slopes, slopes
from phase7.engine.model.bridge import Model
from phase7.engine.model.tokens import encode
from phase7.engine.patch.donors import Donor
from phase7.experiment.attribution import AttributionPlan
from phase7.run.reading import TokenSets, followed
from phase7.vocabulary.donors import Role

Pair = tuple[Donor, Donor]


def attribution(
    model: Model,
    plan: AttributionPlan,
    index: int,
    path: Sequence[int],
    donors: Mapping[Role, Donor],
    pairs: Sequence[Pair],
    sets: TokenSets,
) -> dict[str, Any]:
    """Predict what donors do through every head to one recipient's read-outs, in nats.

    Returns
    -------
    dict
        ``baseline`` float64 [metric]; ``effects``, by role, float32 [mode, metric, layer, head];
        ``pairs`` float32 [mode, metric, layer, head, pair], the effect of the pair's emotion prompt
        minus that of its neutral one.
    """
    stage = plan.stage
    prompt, way = stage.neutral.prompts[index], followed(model, path)
    found = slopes(
        model,
        encode(model, prompt, stage.prompt_format, n_new_tokens=len(way)),
        way,
        token_sets=sets,
        positions=stage.profile.patching.positions,
    )
    roles = list(donors)
    by_role = _effects(found, plan, [donors[role] for role in roles])
    entry: dict[str, Any] = {
        "baseline": found.baseline,
        "effects": dict(zip(roles, by_role, strict=True)),
    }
    if pairs:
        emotion, neutral = (_effects(found, plan, donors) for donors in zip(*pairs, strict=True))
        entry["pairs"] = np.moveaxis(emotion - neutral, 0, -1)
    return entry


def _effects(found: Slopes, plan: AttributionPlan, donors: Sequence[Donor]) -> Any:
    """Of each donor, float32 [donor, mode, metric, layer, head]."""
    by_mode = [found.effects(donors, mode) for mode in plan.modes]
    return np.stack(by_mode, axis=1).astype(np.float32)
