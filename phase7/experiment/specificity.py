"""Other emotions' donors as further controls: is it this emotion, or would any do?

The same cells are patched on the same prompts with the donor of another emotion. What the emotion's own
donor does beyond that is specific to it (docs/method.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from phase7.experiment.prompts import PromptSet
from phase7.experiment.stages import Stage


def against_stages(confirm: Stage, others: Sequence[PromptSet]) -> list[Stage]:
    """The confirmation's cells with the donor of each other emotion.

    None where the donor does not depend on the emotion (``neutral``, ``zero``, ``self``), or where
    neither texts nor read-outs are to be compared.
    """
    profile = confirm.profile
    if not profile.confirm.against_text and not profile.readouts.metrics(confirm.emotion.name):
        return []
    return _beside(confirm, "against", others)


def rival_stages(tested: Stage, others: Sequence[PromptSet]) -> list[Stage]:
    """The cells of an answer with the donor of each other emotion; texts always."""
    return _beside(tested, "rivals", others)


def _beside(
    stage: Stage, name: Literal["against", "rivals"], others: Sequence[PromptSet]
) -> list[Stage]:
    stages = [replace(stage, name=name, emotion=one, lengths=()) for one in others]
    return [one for one in stages if _donors(one) != _donors(stage)]


def _donors(stage: Stage) -> list[object]:
    return [stage.donor_identities(index, ["emotion"]) for index in stage.recipients]
