"""What each head promotes directly, as the tree's node `ov` has it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import xarray as xr

from phase7.findings.group import Group


@dataclass(frozen=True, kw_only=True)
class Lens:
    """One head's direct path.

    Attributes
    ----------
    promoted, suppressed : tuple of (str, float)
        Tokens with their direct effect on the logit, the one moved most first; none where not measured.
    z, rank : float
        How far the head promotes the emotion's words among all heads of the model; NaN where that was
        not measured, as in trees of older versions, or the emotion has no word.
    """

    promoted: tuple[tuple[str, float], ...] = ()
    suppressed: tuple[tuple[str, float], ...] = ()
    z: float = float("nan")
    rank: float = float("nan")

    @property
    def has_tokens(self) -> bool:
        """Whether there are tokens in both directions."""
        return bool(self.promoted and self.suppressed)


def lens_of(group: Group, label: str) -> Lens:
    """A head's direct path; an empty one where the tree has none."""
    data = group.child("ov")
    if data is None or label not in data["head_set"].values:
        return Lens()
    one = data.sel(head_set=label)
    z, rank = (float(one[n]) if n in one else float("nan") for n in ("emotion_z", "emotion_rank"))
    return Lens(
        promoted=_tokens(one.sel(direction="promoted")),
        suppressed=_tokens(one.sel(direction="suppressed")),
        z=z,
        rank=rank,
    )


def most_emotional(heads: Iterable[str], lenses: dict[str, Lens]) -> str | None:
    """The head with tokens that promotes the emotion's words most; without words, the first such."""
    shown = [label for label in heads if lenses[label].has_tokens]
    known = [label for label in shown if not math.isnan(lenses[label].z)]
    if known:
        return max(known, key=lambda label: lenses[label].z)
    return shown[0] if shown else None


def _tokens(one: xr.Dataset) -> tuple[tuple[str, float], ...]:
    ranked = one.sortby("rank")
    pairs = zip(ranked["token"].values, ranked["score"].values, strict=True)
    return tuple((str(token), float(score)) for token, score in pairs if not math.isnan(score))
