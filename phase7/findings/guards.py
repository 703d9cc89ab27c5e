"""Whether the texts under a patch still read as the baseline's: the fluency guards of a group."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from phase7.findings.group import Group
from phase7.vocabulary.guards import GUARDS, kept_range, smallest_repetition


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """One guard of one head or set in the primary mode.

    Attributes
    ----------
    label, guard : str
    baseline, low, high : float
        Mean of the baseline over prompts, and its 5th and 95th percentile; of repetitions at least the
        smallest share that a prompt can have.
    patched : float
        Mean over prompts with the emotion's donor.
    """

    label: str
    guard: str
    baseline: float
    low: float
    high: float
    patched: float

    @property
    def is_kept(self) -> bool:
        """Whether the mean lies in the baseline's range."""
        return self.low <= self.patched <= self.high


def reads_otherwise(group: Group, label: str, mode: str | None = None) -> bool:
    """Whether the texts of a confirmed head or set have left the baseline's range.

    False where nobody looked.

    Parameters
    ----------
    mode : str, optional
        Without it the group's primary mode.
    """
    cell = group.confirmed.get((label, mode or group.mode))
    return cell is not None and cell.scalar("guards_kept") == 0


def has_guards(group: Group) -> bool:
    """Whether any confirmed text was looked at."""
    return any(not math.isnan(cell.scalar("guards_kept")) for cell in group.confirmed.values())


def guarded(group: Group, label: str) -> list[Guarded]:
    """Both guards of a confirmed head or set; none where nobody looked."""
    cell = group.guards.get((label, group.mode))
    if cell is None or math.isnan(cell.scalar("guards_kept")):
        return []
    samples, n_tokens = (int(group.settings[key]) for key in ("samples", "max_new_tokens"))
    found = []
    for guard in GUARDS:
        baseline, patched = (cell.scores(name, guard) for name in ("baseline", "patched"))
        low, high = kept_range(baseline, guard, smallest_repetition(samples, n_tokens))
        found.append(
            Guarded(
                label=label, guard=guard, baseline=float(np.nanmean(baseline)),
                low=low, high=high, patched=float(np.nanmean(patched)),
            )
        )  # fmt: skip
    return found
