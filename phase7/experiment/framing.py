"""What surrounds the prompts of a profile, for each of its models."""

from __future__ import annotations

from typing import Literal

from phase7.experiment.profile import Profile
from phase7.experiment.prompts import PromptFiles
from phase7.models.facts import ModelFacts
from phase7.models.framing import Framing
from phase7.vocabulary.errors import UserError


def resolve_format(files: ModelFacts, profile: Profile) -> Literal["raw", "chat"]:
    """The prompt format of a model: ``auto`` is ``chat`` where the tokenizer has a template.

    Raises
    ------
    UserError
        If ``chat`` is asked of a model without a template.
    """
    return _format(files, profile.prompts)


def resolve_framing(files: ModelFacts, profile: Profile) -> Framing:
    """What surrounds every prompt of a model.

    Raises
    ------
    UserError
        As :func:`resolve_format`.
    """
    return framing_of(files, profile.prompts)


def framing_of(files: ModelFacts, prompts: PromptFiles) -> Framing:
    """The same without a profile."""
    kind = _format(files, prompts)
    if kind == "raw":
        return Framing(format=kind, system=prompts.system)  # refused where tokens are made
    return Framing(
        format=kind,
        system=prompts.system,
        arguments=prompts.template,
        date=prompts.date if files.reads_clock else "",
    )


def _format(files: ModelFacts, prompts: PromptFiles) -> Literal["raw", "chat"]:
    wanted = prompts.format
    if wanted == "chat" and not files.has_chat_template:
        raise UserError(
            expected="a model with a chat template",
            got=f"{files.name}, which has none",
            where="prompt format chat",
            remedy="use the format raw",
        )
    if wanted == "auto":
        return "chat" if files.has_chat_template else "raw"
    return wanted
