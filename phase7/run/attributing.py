"""What the entry of an attribution holds, computed with a loaded model and its donors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from phase7.engine.decode.attribution import Slopes, path_slopes, slopes
from phase7.engine.model.bridge import Model
from phase7.engine.model.tokens import encode
from phase7.engine.patch.donors import Donor
from phase7.experiment.attribution import AttributionPlan
from phase7.experiment.contrasts import ContrastPlan
from phase7.run.correcting import corrected
from phase7.run.donating import Donors
from phase7.run.reading import Continuations, TokenSets, as_tokens, followed, weights
from phase7.vocabulary.donors import Role
from phase7.vocabulary.modes import Positions

Pair = tuple[Donor, Donor]


def attributed(
    model: Model, plan: AttributionPlan, index: int, way: Any, donors: Donors, sets: TokenSets
) -> dict[str, Any]:
    """The entry of a recipient, as of :func:`attribution`; `sets` are of no use to a contrast."""
    stage = plan.stage
    found = {role: donors.of(stage, role, index) for role in stage.roles}
    made = {role: donor for role, donor in found.items() if donor is not None}
    pairs = [
        (
            donors.single(stage, stage.emotion.prompts[j]),
            donors.single(stage, stage.neutral.prompts[j]),
        )
        for j in plan.pairs
    ]
    if isinstance(plan.readouts, ContrastPlan):
        entry = contrast_attribution(model, plan, index, way, made, pairs)
    else:
        entry = attribution(model, plan, index, way, made, pairs, sets)
    return entry | corrected(model, plan, index, way, made, sets)


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
    way = followed(model, path)
    tokens, positions = _asked(model, plan, index, way)
    found = slopes(model, tokens, way, token_sets=sets, positions=positions)
    return _entry(found.baseline, lambda some: _effects(found, plan, some), donors, pairs)


def contrast_attribution(
    model: Model,
    plan: AttributionPlan,
    index: int,
    continuations: Continuations,
    donors: Mapping[Role, Donor],
    pairs: Sequence[Pair],
) -> dict[str, Any]:
    """The same of a contrast, whose read-outs are sums over its continuations."""
    contrast = plan.readouts
    assert isinstance(contrast, ContrastPlan)
    found, by_token = [], contrast.contrast.by_token
    for one in continuations:
        way = followed(model, as_tokens(model, one))
        tokens, positions = _asked(model, plan, index, way)
        found.append(path_slopes(model, tokens, way, positions=positions, by_token=by_token))
    counts = weights(contrast)

    def effects(some: Sequence[Donor]) -> Any:
        return sum(n * _effects(one, plan, some) for n, one in zip(counts, found, strict=True))

    baseline = sum(n * one.baseline for n, one in zip(counts, found, strict=True))
    return _entry(baseline, effects, donors, pairs)


def _asked(
    model: Model, plan: AttributionPlan, index: int, way: Sequence[int]
) -> tuple[Sequence[int], Positions]:
    """The tokens of a recipient's prompt, and which queries are patched."""
    stage = plan.stage
    prompt = stage.neutral.prompts[index]
    tokens = encode(model, prompt, stage.framing, n_new_tokens=len(way))
    return tokens, stage.profile.patching.positions


def _entry(
    baseline: Any,
    effects: Callable[[Sequence[Donor]], Any],
    donors: Mapping[Role, Donor],
    pairs: Sequence[Pair],
) -> dict[str, Any]:
    """What is kept: `effects` gives float [donor, mode, metric, layer, head]."""
    by_role = np.asarray(effects([*donors.values()]), dtype=np.float32)
    entry: dict[str, Any] = {
        "baseline": baseline,
        "effects": dict(zip(donors, by_role, strict=True)),
    }
    if pairs:
        emotion, neutral = (
            np.asarray(effects(some), dtype=np.float32) for some in zip(*pairs, strict=True)
        )
        entry["pairs"] = np.moveaxis(emotion - neutral, 0, -1)
    return entry


def _effects(found: Slopes, plan: AttributionPlan, donors: Sequence[Donor]) -> Any:
    """Of each donor, float64 [donor, mode, metric, layer, head]."""
    return np.stack([found.effects(donors, mode) for mode in plan.modes], axis=1)
