"""Dose and response: the declared sets at other strengths, or added instead of replaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from phase7.experiment.chosen_heads import declared_sets
from phase7.experiment.stages import Stage
from phase7.vocabulary.donors import DONOR_RECORDS, NO_CONTROL
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.heads import Head, HeadSet


def strength_stage(confirm: Stage, first: Sequence[tuple[Head, ...]] = ()) -> Stage | None:
    """The declared heads and sets at each of the profile's strengths; None where it names none.

    In the primary mode: the target heads alone and together, the further sets of the profile, and the
    sets of the sweep's `first` heads, as far as the confirmation tests them. Where a difference of
    donors is added only the emotion's arm runs: the control's minus itself is nothing.

    Raises
    ------
    UserError
        If a difference is to be added and there are not two donors made of prompts.
    """
    profile = confirm.profile
    if not profile.confirm.strengths:
        return None
    if profile.confirm.write == "add":
        require_difference(confirm, "confirm.write")
    declared = {*declared_sets(profile, confirm.files), *(HeadSet(tuple(sorted(one))) for one in first)}
    mode, write = profile.patching.primary_mode, profile.confirm.write
    chosen = [cell for cell in confirm.cells if cell.mode == mode and cell.head_set in declared]
    cells = [
        replace(cell, strength=strength, write=write)
        for cell in chosen
        for strength in sorted({*profile.confirm.strengths})
    ]
    return replace(confirm, name="strengths", cells=tuple(cells), lengths=()) if cells else None


def require_difference(stage: Stage, where: str) -> None:
    """Refuse to add a difference of donors where there are not two.

    Parameters
    ----------
    where : str
        The setting that asks for it.
    """
    kinds = (stage.donor_kind("emotion"), stage.donor_kind("control"))
    if NO_CONTROL in kinds or not all(DONOR_RECORDS[kind].prompts for kind in kinds):
        raise UserError(
            expected="a donor and a control that are made of prompts, whose difference is added",
            got=f"donor {kinds[0]}, control {kinds[1]}",
            where=where,
            remedy="take donor mean or paired with control neutral or shuffled, or write replace",
        )
