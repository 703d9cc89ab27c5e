"""What a screen of the sweep's heads says of itself, on the emotion's read-out."""

from __future__ import annotations

from dataclasses import dataclass

from phase7.findings.group import Group
from phase7.vocabulary.heads import HeadSet


@dataclass(frozen=True, kw_only=True)
class Screened:
    """A screen in the primary mode; effects in nats, NaN where nothing was patched.

    Attributes
    ----------
    metric : str
    n_screened, n_chosen, n_drawn : int
        Heads estimated, swept, and patched at random among the others.
    chosen, drawn : float
        Spearman's ρ of predicted and measured effects over the second and the third of these.
    largest_drawn, largest_missed : float
        The largest absolute effect of the third, and the bound on that of all others.
    n_larger : int
        How many others can have a larger effect than the largest drawn.
    confidence : float
        Of both.
    """

    metric: str
    n_screened: int
    n_chosen: int
    n_drawn: int
    chosen: float
    drawn: float
    largest_drawn: float
    largest_missed: float
    n_larger: int
    confidence: float


def screened(group: Group) -> Screened | None:
    """The screen of a group; None where there was none, or no read-out of the emotion."""
    found, metric = group.child("screen"), group.emotion_readout
    if found is None or metric is None:
        return None
    at, attrs = found.sel(metric=metric, mode=group.mode), found.attrs
    return Screened(
        metric=metric,
        n_screened=int(attrs["n_screened"]),
        n_chosen=len(HeadSet.parse(str(attrs["chosen"])).heads),
        n_drawn=int(attrs["n_drawn"]),
        chosen=float(at["chosen_rank_correlation"]),
        drawn=float(at["unchosen_rank_correlation"]),
        largest_drawn=float(at["largest_unchosen"]),
        largest_missed=float(at["largest_missed"]),
        n_larger=int(attrs["n_larger"]),
        confidence=float(attrs["confidence"]),
    )
