"""The check of a sweep's predictions: heads drawn at random are patched on the same prompts."""

from __future__ import annotations

import random
from dataclasses import replace

from phase7.experiment.stages import Stage
from phase7.experiment.swept import swept_heads, with_heads


def check_stage(sweep: Stage) -> Stage | None:
    """The stage that measures what the sweep predicts; None where it predicts nothing.

    Its heads are drawn by the seed from those of the sweep, whatever is predicted of them: the strongest
    alone would tell nothing of the others.
    """
    profile = sweep.profile
    assert profile.sweep is not None
    if not sweep.is_attributed or not profile.sweep.checked_heads:
        return None
    heads = swept_heads(sweep)
    draw = random.Random(f"phase7 checked heads {profile.sampling.seed}")
    drawn = draw.sample(heads, min(profile.sweep.checked_heads, len(heads)))
    return replace(with_heads(sweep, drawn, sweep.recipients), name="check")
