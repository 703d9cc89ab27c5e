"""What the entries of a circuit hold, computed with a loaded model and its donors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from phase7.engine.decode.circuit import head_paths
from phase7.engine.decode.direct import direct_attribution
from phase7.engine.decode.written import set_weights
from phase7.engine.model.bridge import Model, unembedding_weight
from phase7.engine.model.frozen import has_known_parts
from phase7.engine.model.tokens import encode
from phase7.engine.patch.reads import what_heads_read
from phase7.experiment.circuits import CircuitPlan
from phase7.run.donating import Donors
from phase7.run.reading import TokenSets


def paths(
    model: Model,
    plan: CircuitPlan,
    index: int,
    way: Sequence[int],
    donors: Donors,
    sets: TokenSets,
) -> dict[str, Any]:
    """How the effects of the heads reach one recipient's read-out, and its direct attribution.

    Returns
    -------
    dict
        In nats (logits): ``effect`` and ``direct`` float64 [S], ``mlps`` [S, layer], ``heads`` [S,
        layer, head, letter]; of the unpatched read-out ``own_heads`` [layer, head], ``own_mlps`` and
        ``own_biases`` [layer], ``own_embedding``, ``own_constant`` and ``own_total``. Empty for a model
        whose parts are not known.
    """
    if not has_known_parts(model):
        return {}
    stage, path = plan.stage, tuple(way[: plan.n_steps])
    tokens = encode(model, stage.neutral.prompts[index], stage.framing, n_new_tokens=plan.n_steps)
    donor = donors.of(stage, "emotion", index)
    assert donor is not None  # the profile has a donor made of prompts
    reference = donors.of(stage, "control", index) if "control" in stage.roles else None
    weights = set_weights(len(unembedding_weight(model)), sets[plan.words.name])
    found = head_paths(
        model,
        tokens,
        path,
        plan.heads,
        donor=donor,
        reference=reference,
        weights=weights,
        mode=plan.mode,
        positions=stage.profile.patching.positions,
    )
    own = direct_attribution(model, tokens, path, weights=weights)
    return {
        "effect": found.effect,
        "direct": found.direct,
        "mlps": found.mlps,
        "heads": found.heads.astype(np.float32),
        "own_heads": own.heads,
        "own_mlps": own.mlps,
        "own_biases": own.biases,
        "own_embedding": own.embedding,
        "own_constant": own.constant,
        "own_total": own.total,
    }


def reads(model: Model, plan: CircuitPlan) -> dict[str, Any]:
    """What the heads read (:mod:`phase7.engine.patch.reads`); empty as :func:`paths`."""
    if not has_known_parts(model):
        return {}
    stage = plan.stage
    emotion, neutral = (
        [encode(model, prompt, stage.framing) for prompt in plan.donor_prompts(one)]
        for one in (stage.emotion, stage.neutral)
    )
    return what_heads_read(model, plan.heads, emotion, neutral)
