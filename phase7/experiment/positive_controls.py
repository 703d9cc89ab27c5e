"""Positive controls of a confirmation: what is known to move the text, measured on the same metrics.

A head that moves nothing says little as long as nobody knows whether the metric could have moved at all.
Two things that should move it, by definition of docs/method.md:

- *Prompting*: the unpatched model on the emotion's prompt i, against the neutral prompt i.
- *Shift*: at every head of the model, the emotion's donor minus the control's, added to what the head
  gives in the neutral run.

Both are stages of their own, with the confirmation's prompts and sampling.
"""

from __future__ import annotations

from dataclasses import replace

from phase7.experiment.stages import Cell, Stage
from phase7.vocabulary.donors import DONOR_RECORDS, NO_CONTROL
from phase7.vocabulary.heads import Head

#: Strengths of the shift.
SHIFTS = (1.0, 2.0)


def shift_stage(confirm: Stage) -> Stage | None:
    """The shift of all heads; None where there are not two donors whose difference could be added."""
    kinds = (confirm.donor_kind("emotion"), confirm.donor_kind("control"))
    if NO_CONTROL in kinds or any(DONOR_RECORDS[kind].prompts is None for kind in kinds):
        return None
    files = confirm.files
    every = tuple(Head(i, j) for i in range(files.n_layers) for j in range(files.n_heads))
    cells = tuple(Cell(every, "result", write="add", strength=strength) for strength in SHIFTS)
    return replace(confirm, name="shift", cells=cells, lengths=())


def prompting_stage(confirm: Stage) -> Stage:
    """The unpatched model on the emotion's prompts, as far as a recipient has one of its index."""
    recipients = tuple(i for i in confirm.recipients if i < len(confirm.emotion.prompts))
    return replace(
        confirm, name="prompting", neutral=confirm.emotion, recipients=recipients, cells=(), lengths=()
    )


def control_stages(confirm: Stage) -> list[Stage]:
    """Those that the profile asks for and that can run."""
    if not confirm.profile.confirm.positive_controls:
        return []
    prompting, shift = prompting_stage(confirm), shift_stage(confirm)
    stages = [prompting] if prompting.recipients else []
    return stages if shift is None else [*stages, shift]
