"""The direction of what was chosen to move the text."""

from __future__ import annotations

from phase7.effects.answer import AnswerScores
from phase7.experiment.stages import Stage
from phase7.run.executor import Executor
from phase7.run.vectors import Vector


def vector_of(stage: Stage, answer: AnswerScores | None, executor: Executor) -> Vector | None:
    """The direction of what was chosen to move the text; None where nothing was."""
    if answer is None or answer.chosen is None:
        return None
    return Vector(stage=stage, cell=answer.chosen, **executor.vector(stage, answer.chosen.heads))
