"""What donors promote directly, as a Dataset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from phase7.effects.scores import without_nul
from phase7.experiment.stages import Stage
from phase7.run.executor import Executor


def promoted(stage: Stage, executor: Executor, words: Sequence[str]) -> xr.Dataset | None:
    """What the donor promotes most through each head that is tested alone, and how far the words.

    None where no head is tested alone.
    """
    heads = sorted({cell.heads[0] for cell in stage.cells if cell.head_set.is_single})
    if not heads:
        return None
    found = executor.lens(stage, heads, words)
    token = np.array([[without_nul(ranked) for ranked in ways] for ways in found["token"]], dtype=object)
    dims = ("head_set", "direction", "rank")
    return xr.Dataset(
        {
            "token": (dims, token),
            "score": (dims, np.array(found["score"])),
            "emotion_z": ("head_set", found["emotion_z"]),
            "emotion_rank": ("head_set", found["emotion_rank"]),
        },
        coords={
            "head_set": found["heads"],
            "direction": ["promoted", "suppressed"],
            "rank": np.arange(1, token.shape[2] + 1),
        },
    )
