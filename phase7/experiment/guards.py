"""The plan of the fluency guards: which batches of texts are read, and the key of each entry."""

from __future__ import annotations

from typing import Any

from phase7.experiment.stages import Batch, Stage

#: Raise it when the same texts would give other guards.
GUARDS_VERSION = 1


#: A sweep has too many texts for it; those of other emotions' donors are only compared with.
_UNGUARDED = ("sweep", "against", "rivals")


def has_guards(stage: Stage) -> bool:
    """Whether a stage's texts are guarded."""
    return stage.has_text and stage.name not in _UNGUARDED and bool(n_guarded(stage))


def n_guarded(stage: Stage) -> int:
    """How many samples of each prompt have their likelihood read; 0: the profile wants no guards.

    All of an answer, which stands and falls with them.
    """
    wanted, n_samples = stage.profile.confirm.guard_samples, stage.sampling.samples
    return n_samples if wanted and stage.name in ("answer", "fresh") else min(wanted, n_samples)


def guards_key(stage: Stage, batch: Batch) -> dict[str, Any]:
    """The key of what a batch's texts are like: that of the batch, and how many samples are read."""
    return {**batch.key, "guards": GUARDS_VERSION, "guard_samples": n_guarded(stage)}
