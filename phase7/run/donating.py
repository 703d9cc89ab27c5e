"""The donors of a run: means over captures, or single ones, made once for all the batches they serve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from phase7.experiment.prompts import PromptSet
from phase7.experiment.stages import Stage
from phase7.models.framing import Framing
from phase7.vocabulary.donors import DONOR_RECORDS, Role
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.units import Unit

if TYPE_CHECKING:
    from phase7.engine.patch.capture import Capture, UnitCapture
    from phase7.engine.patch.donors import Array, Donor, DonorSum, UnitSum

Say = Callable[[str], None]

_Key = tuple[str, Framing, bool]


class Donors:
    """Makes donors and keeps them.

    Parameters
    ----------
    capture : callable
        From a prompt, its framing and whether every query is wanted to its activations.
    capture_beside : callable
        From these and a unit to the output of the unit, by the names prompt, framing, every, beside.
    say : callable
        Called with one line before anything slow.
    """

    def __init__(
        self,
        capture: Callable[[str, Framing, bool], Capture],
        capture_beside: Callable[..., UnitCapture],
        say: Say,
    ) -> None:
        self._capture, self._capture_beside, self._say = capture, capture_beside, say
        self._beside_sums: dict[tuple[Unit, _Key], UnitSum] = {}
        self._sums: dict[_Key, DonorSum] = {}
        self._means: dict[_Key, Donor] = {}
        self._singles: dict[_Key, Donor] = {}

    def share_singles(self, other: Donors) -> None:
        """Keep single donors in one place with another's, whose threads run in this process."""
        self._singles = other._singles

    def mean(self, prompts: PromptSet, framing: Framing, every: bool) -> Donor:
        """The mean over all prompts of a set, captured at every query or only at the last."""
        key = (prompts.digest, framing, every)
        if key not in self._means:
            self._means[key] = self._sum(prompts, framing, every).mean()
        return self._means[key]

    def means(self, stage: Stage) -> tuple[Donor, Donor]:
        """The mean donors of all emotion prompts and of all neutral ones, at their last queries."""
        emotion, neutral = stage.emotion, stage.neutral
        return self.mean(emotion, stage.framing, False), self.mean(neutral, stage.framing, False)

    def of(self, stage: Stage, role: Role, index: int) -> Donor | None:
        """The donor of one recipient, with the stage's units; None for a kind that captures nothing."""
        from phase7.engine.patch.donors import single

        framing, every = stage.framing, stage.every_query
        record, prompts = DONOR_RECORDS[stage.donor_kind(role)], stage.donor_prompts(role, index)
        if prompts is None:
            return None
        left_out = self._left_out(stage, role, index, prompts)
        if record.by_recipient:
            donor = single(self._capture(prompts.prompts[0], framing, every))
        elif left_out is None:
            donor = self.mean(prompts, framing, every)
        else:
            own = self._capture(left_out, framing, every)
            donor = self._sum(prompts, framing, every).mean(without=own)
        if not stage.sited_units:
            return donor
        beside = {unit: self._beside(stage, prompts, left_out, unit) for unit in stage.sited_units}
        return replace(donor, units=beside)

    def _left_out(self, stage: Stage, role: Role, index: int, prompts: PromptSet) -> str | None:
        """The recipient, where it is to be left out of the mean over some prompts that hold it."""
        kind, recipient = stage.donor_kind(role), stage.neutral.prompts[index]
        if not DONOR_RECORDS[kind].without_recipient or recipient not in prompts.prompts:
            return None
        if len(prompts.prompts) < 2:
            raise UserError(
                expected="at least 2 prompts, since the recipient is left out of the mean",
                got="1",
                where=f"{prompts.path or stage.neutral.path}: donor {kind}",
                remedy="add prompts, or run without a control (--control none)",
            )
        return recipient

    def _beside(self, stage: Stage, prompts: PromptSet, left_out: str | None, unit: Unit) -> Array:
        """The mean output of an MLP or a residual stream, without that of one prompt."""
        from phase7.engine.patch.donors import UnitSum

        key = (prompts.digest, stage.framing, stage.every_query)
        capture = partial(self._capture_beside, framing=key[1], every=key[2], beside=unit)
        if (unit, key) not in self._beside_sums:
            self._beside_sums[unit, key] = UnitSum(map(capture, prompts.prompts))
        without = None if left_out is None else capture(left_out)
        return self._beside_sums[unit, key].mean(without=without)

    def single(self, stage: Stage, prompt: str) -> Donor:
        """The donor that is one prompt, kept: every recipient's pairs are the same."""
        from phase7.engine.patch.donors import single

        key = (prompt, stage.framing, stage.every_query)
        if key not in self._singles:
            self._singles[key] = single(self._capture(*key))
        return self._singles[key]

    def _sum(self, prompts: PromptSet, framing: Framing, every: bool) -> DonorSum:
        from phase7.engine.patch.donors import DonorSum

        key = (prompts.digest, framing, every)
        if key not in self._sums:
            self._say(f"recording {len(prompts.prompts)} {prompts.name} prompts")
            self._sums[key] = DonorSum(self._capture(p, framing, every) for p in prompts.prompts)
        return self._sums[key]
