"""The plan of the heads found as a circuit: an entry for each recipient, and one for what they read.

What is measured: :mod:`phase7.engine.decode.circuit` and :mod:`phase7.engine.patch.reads`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phase7.experiment.prompts import PromptSet
from phase7.experiment.readouts import ReadoutPlan, WordSet, readout_plan
from phase7.experiment.stages import ENGINE_VERSION, Stage
from phase7.vocabulary.heads import Head, format_heads
from phase7.vocabulary.modes import Mode
from phase7.vocabulary.readouts import OWN_WORDS

#: Raise it when the same plan would give other paths.
CIRCUIT_VERSION = 1
#: The same of what heads read.
READS_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class CircuitPlan:
    """What is measured of some heads.

    Attributes
    ----------
    readouts : ReadoutPlan
        Whose paths are followed, as far as the profile wants; of the confirmation.
    heads : tuple of Head
        At least one, by place.
    words : WordSet
        Whose logits the read-out is made of.
    """

    readouts: ReadoutPlan
    heads: tuple[Head, ...]
    words: WordSet

    @property
    def stage(self) -> Stage:
        """The stage whose recipients and donors they are."""
        return self.readouts.stage

    @property
    def recipients(self) -> tuple[int, ...]:
        """Indices of the neutral prompts on which paths are measured."""
        wanted = self.stage.profile.circuit
        n = wanted.n_prompts if wanted else 0
        return self.stage.recipients[:n] if n else self.stage.recipients

    @property
    def n_steps(self) -> int:
        """Tokens of a path that are read, at most."""
        wanted = self.stage.profile.circuit
        return min(wanted.max_new_tokens, self.stage.profile.readouts.max_new_tokens) if wanted else 0

    @property
    def mode(self) -> Mode:
        """How the heads are patched."""
        return self.stage.profile.patching.primary_mode

    def donor_prompts(self, prompts: PromptSet) -> tuple[str, ...]:
        """The prompts of a set whose attention is read."""
        wanted = self.stage.profile.circuit
        n = wanted.n_prompts if wanted else 0
        return prompts.prompts[:n] if n else prompts.prompts

    def key(self, index: int) -> dict[str, Any]:
        """The key of a recipient's entry."""
        stage = self.stage
        return {
            **self.readouts.path_key(index),
            "circuit": CIRCUIT_VERSION,
            "heads": format_heads(self.heads),
            "words": [*self.words.words],
            "steps": self.n_steps,
            "donors": stage.donor_identities(index, stage.roles),
            "mode": self.mode,
            "positions": stage.profile.patching.positions,
        }

    @property
    def reads_key(self) -> dict[str, Any]:
        """The key of what the heads read."""
        stage, engine = self.stage, self.stage.profile.engine
        read = [self.donor_prompts(one) for one in (stage.emotion, stage.neutral)]
        return {
            "engine": ENGINE_VERSION,
            "reads": READS_VERSION,
            "model": stage.files.fingerprint,
            "format": stage.prompt_format,
            **stage.files.tokens_key(*read[0], *read[1]),
            "heads": format_heads(self.heads),
            "prompts": [[*one] for one in read],
            "device": engine.device,
            "dtype": engine.dtype,
        }


def circuit_plan(stage: Stage, heads: Sequence[Head], root: Path) -> CircuitPlan | None:
    """The plan for the first heads of a search; None where the profile wants none, or has no words.

    Parameters
    ----------
    stage : Stage
        The confirmation.
    heads : sequence of Head
        Those found, the first first.
    root : Path
        Where ``data/`` lies.
    """
    wanted = stage.profile.circuit
    readouts = None if wanted is None else readout_plan(stage, root)
    if wanted is None or readouts is None:
        return None
    by_name = {one.name: one for one in readouts.sets}
    words = by_name.get(stage.emotion.name) or by_name.get(OWN_WORDS)
    chosen = tuple(sorted(heads[: wanted.heads]))
    if words is None or not chosen:
        return None
    return CircuitPlan(readouts=readouts, heads=chosen, words=words)
