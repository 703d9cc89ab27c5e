"""What runs on a confirmation's prompts beside it: strengths, other emotions, controls, growing sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from phase7.effects.datasets import Beside
from phase7.effects.specificity import gather_against
from phase7.experiment.curve import Curve, curve_of, curve_stage
from phase7.experiment.positive_controls import control_stages
from phase7.experiment.prompts import PromptSet
from phase7.experiment.specificity import against_stages
from phase7.experiment.stages import Stage
from phase7.experiment.strengths import strength_stage
from phase7.run.measuring import Measured
from phase7.vocabulary.heads import Head


@dataclass(frozen=True, kw_only=True)
class BesidePlan:
    """The stages beside a confirmation, as far as the profile asks for them.

    Attributes
    ----------
    confirm : Stage
    doses : Stage or None
        The declared sets at the profile's strengths.
    against : tuple of Stage
        With the donors of other emotions.
    controls : tuple of Stage
        The positive controls.
    curve : tuple of (Curve, Stage) or None
        Sets of growing size.
    """

    confirm: Stage
    doses: Stage | None
    against: tuple[Stage, ...]
    controls: tuple[Stage, ...]
    curve: tuple[Curve, Stage] | None

    @property
    def with_text(self) -> list[Stage]:
        """The confirmation, and the stages beside it whose texts are generated with its own."""
        doses = [] if self.doses is None else [self.doses]
        return [self.confirm, *doses, *self.against, *self.controls]


def beside_plan(
    confirm: Stage,
    ranked: Sequence[Head],
    first: Sequence[tuple[Head, ...]],
    others: Sequence[PromptSet],
) -> BesidePlan:
    """The stages beside a confirmation.

    Parameters
    ----------
    ranked : sequence of Head
        The sweep's order.
    first : sequence of tuple of Head
        The sets of its first heads.
    others : sequence of PromptSet
        The other emotions.
    """
    curve = curve_of(confirm.profile, ranked)
    return BesidePlan(
        confirm=confirm,
        doses=strength_stage(confirm, first),
        against=tuple(against_stages(confirm, others)),
        controls=tuple(control_stages(confirm)),
        curve=None if curve is None else (curve, curve_stage(confirm, curve)),
    )


def measured_beside(
    plan: BesidePlan, measure: Callable[[Stage], Measured]
) -> tuple[Beside, list[Measured], list[Measured]]:
    """Measure the stages beside a confirmation.

    Returns
    -------
    beside : Beside
        What was measured, but for the controls, which need the confirmation's scores.
    controls : list of Measured
    every : list of Measured
        These and all others.
    """
    doses = [] if plan.doses is None else [measure(plan.doses)]
    compared = [measure(stage) for stage in plan.against]
    controls = [measure(stage) for stage in plan.controls]
    curved = [] if plan.curve is None else [measure(plan.curve[1])]
    beside = Beside(
        curve=None if plan.curve is None else (plan.curve[0], curved[0].scores),
        against=gather_against([one.scores for one in compared]),
        doses=doses[0].scores if doses else None,
    )
    return beside, controls, [*doses, *compared, *controls, *curved]
