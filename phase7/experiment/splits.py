"""Which neutral prompts a search is made on, and which what it found is tested on."""

from __future__ import annotations

from phase7.experiment.prompts import PromptSet


def discovery_half(neutral: PromptSet) -> tuple[int, ...]:
    """Prompts for the sweep: those at even places of the file."""
    return tuple(range(0, len(neutral.prompts), 2))


def confirmation_half(neutral: PromptSet) -> tuple[int, ...]:
    """Prompts for the confirmation: those at odd places; all of a file with a single prompt."""
    return tuple(range(1, len(neutral.prompts), 2)) or (0,)
