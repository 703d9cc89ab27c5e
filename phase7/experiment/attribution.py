"""The plan of a stage's attributions: one memo entry for each recipient, with all heads in it.

The gradient of the read-outs along a recipient's path predicts what any donor does through any head
(:mod:`phase7.engine.decode.attribution`). An entry holds the predicted effect of the stage's donors and
of every pair of donor prompts alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from phase7.experiment.contrasts import ContrastPlan
from phase7.experiment.readouts import ReadoutPlan
from phase7.experiment.stages import Stage
from phase7.vocabulary.modes import MODES, Mode
from phase7.vocabulary.readouts import has_direction

#: Stages whose tests are over pairs of donor prompts too.
_WITH_PAIRS = ("confirm", "curve", "against", "strengths")

#: Raise it when the same plan would give other predictions.
ATTRIBUTION_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class AttributionPlan:
    """What is attributed of one stage.

    Attributes
    ----------
    readouts : ReadoutPlan or ContrastPlan
        Its paths and what is read along them.
    """

    readouts: ReadoutPlan | ContrastPlan

    @property
    def stage(self) -> Stage:
        """The stage whose recipients, donors and modes they are."""
        return self.readouts.stage

    @property
    def metrics(self) -> tuple[str, ...]:
        """The read-outs with a direction, in the order of every array of them."""
        return tuple(filter(has_direction, self.readouts.metrics))

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The stage's modes, in the order of every array of them."""
        used = {cell.mode for cell in self.stage.cells}
        return tuple(mode for mode in MODES if mode in used)

    @property
    def pairs(self) -> tuple[int, ...]:
        """Indices j of the pairs of an emotion prompt and the neutral prompt that it is matched with.

        None where donor and control are not the means over these prompts, and of a screen, which
        tests nothing.
        """
        stage = self.stage
        if stage.name == "screen" or not has_pairs(stage):
            return ()
        return tuple(range(min(len(stage.emotion.prompts), len(stage.neutral.prompts))))

    @property
    def gradient(self) -> tuple[Literal["plain", "integrated", "dropped"], int]:
        """How the gradient is taken, and at how many places of the way."""
        screen = self.stage.profile.screen
        if self.stage.name != "screen" or screen is None:
            return "plain", 0
        return screen.gradient, screen.steps if screen.gradient == "integrated" else 0

    @property
    def is_wanted(self) -> bool:
        """Whether the stage needs it: to be predicted, or for its tests over pairs of donor prompts."""
        return self.stage.is_attributed or (bool(self.pairs) and self.stage.name in _WITH_PAIRS)

    def key(self, index: int) -> dict[str, Any]:
        """The key of a recipient's entry."""
        stage, gradient = self.stage, self.gradient
        pairs = {"emotion": stage.emotion.digest, "neutral": stage.neutral.digest}
        return {
            **self.readouts.identity(index),
            "attribution": ATTRIBUTION_VERSION,
            "donors": stage.donor_identities(index, stage.roles),
            "pairs": pairs if self.pairs else None,
            "modes": list(self.modes),
            "positions": stage.profile.patching.positions,
            **({} if gradient[0] == "plain" else {"gradient": list(gradient)}),
        }


def is_apart(stage: Stage, pair: int, recipient: int) -> bool:
    """Whether a pair of donor prompts is not the recipient's own and does not hold its text."""
    text, emotion = stage.neutral.prompts[recipient], stage.emotion.prompts
    return pair != recipient and emotion[pair] != text


def has_pairs(stage: Stage) -> bool:
    """Whether the donors are means over prompts that are matched pairs, so that pairs can be flipped."""
    return stage.donor_kind("emotion") == "mean" and stage.donor_kind("control") == "neutral"
