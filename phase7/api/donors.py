"""Donors of one's own: the mean activations of some prompts, and differences of two of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from phase7.api.models import LoadedModel
from phase7.api.prompts import Prompts, as_prompts
from phase7.vocabulary.errors import UserError

if TYPE_CHECKING:
    from phase7.engine.patch.donors import Donor


@dataclass(frozen=True, kw_only=True, eq=False)
class PromptDonor:
    """The mean activations of a model on some prompts; :func:`donor` makes one.

    Attributes
    ----------
    name : str
    n_prompts : int
    fingerprint : str
        Of the model.
    mean : phase7.engine.patch.donors.Donor
        Arrays by offset from the end of the prompts.
    """

    name: str
    n_prompts: int
    fingerprint: str
    mean: Donor

    def __sub__(self, other: PromptDonor) -> Difference:
        """The difference of two donors, which is added to a head's output instead of replacing it.

        Raises
        ------
        UserError
            If they are of different models.
        """
        if self.fingerprint != other.fingerprint:
            raise UserError(
                expected="donors of one model",
                got=f"{self.name} and {other.name} of two",
                where="donor - donor",
                remedy="make both with the same model, and again after its weights have changed",
            )
        return Difference(donor=self, reference=other)

    def __repr__(self) -> str:
        return f"<donor {self.name}: mean of {self.n_prompts} prompts>"


@dataclass(frozen=True, kw_only=True, eq=False)
class Difference:
    """One donor minus another.

    Attributes
    ----------
    donor, reference : PromptDonor
    """

    donor: PromptDonor
    reference: PromptDonor

    @property
    def name(self) -> str:
        """Such as ``"gratitude - neutral"``."""
        return f"{self.donor.name} - {self.reference.name}"

    def __repr__(self) -> str:
        return f"<difference {self.name}>"


def donor(model: LoadedModel, prompts: Prompts, *, name: str = "donor", column: str = "") -> PromptDonor:
    """Record what every head does on some prompts, and take the mean.

    The prompts are aligned at their last tokens, and recorded at every query.

    Parameters
    ----------
    model : LoadedModel
    prompts : sequence of str, path or data set
    name : str
        What to call it; a file has a name of its own.
    column : str
        Of a table of prompts.

    Returns
    -------
    PromptDonor

    Raises
    ------
    UserError
        If the prompts cannot be used.
    """
    from phase7.engine.model.tokens import encode
    from phase7.engine.patch.capture import capture
    from phase7.engine.patch.donors import DonorSum
    from phase7.run.one_thread import one_thread

    chosen, engine = as_prompts(prompts, name, column), model.engine()
    with one_thread(), model.undisturbed():
        total = DonorSum(
            capture(engine, encode(engine, text, model.framing), all_queries=True)
            for text in chosen.prompts
        )
    return PromptDonor(
        name=chosen.name,
        n_prompts=len(chosen.prompts),
        fingerprint=model.fingerprint,
        mean=total.mean(),
    )
