"""How many heads carry the emotion, and how steady their choice is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from phase7.findings.cells import Floats
from phase7.findings.group import Group

#: Ends of the band of random sets, in percent.
BAND = (5.0, 95.0)
#: Heads whose choice is drawn again, resamples of the prompts, and the bar that a choice is held to.
TOP, N_RESAMPLES, BAR = 20, 500, 0.8


@dataclass(frozen=True, kw_only=True)
class Step:
    """One size of the curve, on the emotion's read-out.

    Attributes
    ----------
    n_heads : int
    effect, low, high, q : float
        The tested effect of the nested set, in nats.
    share : float
        Of what prompting does; NaN where that is undefined.
    random_low, random_high : float
        5th and 95th percentile over random sets of this size; NaN without them.
    n_random : int
    singles : float
        Sum of the heads' effects one by one; NaN where not all were read.
    """

    n_heads: int
    effect: float
    low: float
    high: float
    q: float
    share: float
    random_low: float
    random_high: float
    n_random: int
    singles: float

    @property
    def is_above(self) -> bool:
        """Whether the effect lies over the band of random sets."""
        return self.n_random > 0 and self.effect > self.random_high


def steps(group: Group) -> list[Step]:
    """The curve of a group on its emotion's read-out, by size; none where none was read."""
    found, metric = group.child("curve"), group.emotion_readout
    if found is None or metric is None:
        return []
    at, prefix, rows = found.sel(metric=metric), group.prefix, []
    for i in range(at.sizes["n_heads"]):
        one = at.isel(n_heads=i)
        drawn = np.asarray(one["random_effect"].values, float)
        drawn = drawn[np.isfinite(drawn)]
        band = np.percentile(drawn, BAND) if drawn.size else (math.nan, math.nan)
        rows.append(
            Step(
                n_heads=int(one["n_heads"]),
                effect=float(one[f"{prefix}delta"]),
                low=float(one[f"{prefix}ci_low"]),
                high=float(one[f"{prefix}ci_high"]),
                q=float(one[f"{prefix}q_value"]),
                share=float(one["prompting_share"]),
                random_low=float(band[0]),
                random_high=float(band[1]),
                n_random=drawn.size,
                singles=float(one["sum_of_singles"]),
            )
        )
    return rows


def n_prompts(group: Group) -> int:
    """Prompts that the curve was read on."""
    found = group.child("curve")
    known = found is not None and "n_prompts" in found
    return int(found["n_prompts"]) if known and found is not None else group.n_confirmation


@dataclass(frozen=True, kw_only=True)
class Steadiness:
    """How much of the sweep's first heads stays when its prompts are drawn again.

    Attributes
    ----------
    n_top, n_heads, n_prompts : int
        Heads chosen, heads swept, prompts they were chosen on.
    jaccard : float
        Mean over bootstrap resamples of the prompts of |A and B| / |A or B|, A being the first heads on
        all prompts and B those on the resample.
    low, high : float
        5th and 95th percentile over the resamples.
    """

    n_top: int
    n_heads: int
    n_prompts: int
    jaccard: float
    low: float
    high: float


def steadiness(group: Group) -> Steadiness | None:
    """The steadiness of a group's choice by its emotion's read-out; None without such a sweep."""
    metric = group.emotion_readout
    cells = {
        label: cell
        for (label, mode), cell in group.readout_sweep.items()
        if mode == group.sweep_read_mode and cell.heads.is_single
    }
    if metric is None or len(cells) <= TOP:
        return None
    by_head = np.stack([cell.differences(metric) for cell in cells.values()])
    known = np.isfinite(by_head).all(axis=0)
    is_halved = (known != np.isfinite(by_head).any(axis=0)).any()  # its heads have not all prompts
    if known.sum() < 2 or is_halved:
        return None
    overlaps = _overlaps(by_head[:, known], int(group.settings.get("seed") or 0))
    low, high = np.percentile(overlaps, BAND)
    return Steadiness(
        n_top=TOP, n_heads=len(cells), n_prompts=int(known.sum()),
        jaccard=float(overlaps.mean()), low=float(low), high=float(high),
    )  # fmt: skip


def _overlaps(by_head: Floats, seed: int) -> Floats:
    """Jaccard indices of the first heads with those of resampled prompts."""
    n_prompts = by_head.shape[1]
    rng = np.random.default_rng([seed, n_prompts])
    whole = _first(by_head.mean(axis=1))
    found = np.empty(N_RESAMPLES)
    for number in range(N_RESAMPLES):
        again = _first(by_head[:, rng.integers(n_prompts, size=n_prompts)].mean(axis=1))
        found[number] = len(whole & again) / len(whole | again)
    return found


def _first(effects: Floats) -> set[int]:
    """The places of the largest effects; of equal ones the first."""
    return set(np.argsort(-effects, kind="stable")[:TOP].tolist())
