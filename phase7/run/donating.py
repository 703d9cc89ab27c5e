"""The donors of a run: means over captures, or single ones, made once for all the batches they serve."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from phase7.experiment.prompts import PromptSet
from phase7.experiment.stages import Stage
from phase7.models.framing import Framing
from phase7.vocabulary.donors import DONOR_RECORDS, Role
from phase7.vocabulary.errors import UserError

if TYPE_CHECKING:
    from phase7.engine.patch.capture import Capture
    from phase7.engine.patch.donors import Donor, DonorSum

Say = Callable[[str], None]

_Key = tuple[str, Framing, bool]


class Donors:
    """Makes donors and keeps them.

    Parameters
    ----------
    capture : callable
        From a prompt, its framing and whether every query is wanted to its activations.
    say : callable
        Called with one line before anything slow.
    """

    def __init__(self, capture: Callable[[str, Framing, bool], Capture], say: Say) -> None:
        self._capture, self._say = capture, say
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
        """The donor of one recipient; None for a kind that captures nothing."""
        from phase7.engine.patch.donors import single

        kind, framing, every = stage.donor_kind(role), stage.framing, stage.every_query
        record, prompts = DONOR_RECORDS[kind], stage.donor_prompts(role, index)
        recipient = stage.neutral.prompts[index]
        if prompts is None:
            return None
        if record.by_recipient:
            return single(self._capture(prompts.prompts[0], framing, every))
        if not record.without_recipient or recipient not in prompts.prompts:
            return self.mean(prompts, framing, every)
        if len(prompts.prompts) < 2:
            raise UserError(
                expected="at least 2 prompts, since the recipient is left out of the mean",
                got="1",
                where=f"{prompts.path or stage.neutral.path}: donor {kind}",
                remedy="add prompts, or run without a control (--control none)",
            )
        own = self._capture(recipient, framing, every)
        return self._sum(prompts, framing, every).mean(without=own)

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
