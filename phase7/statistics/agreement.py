"""Whether two groups agree on which heads matter: by head, or by relative depth across models.

Strengths are arrays [layer, head], |mean effect| as a rule, NaN where not tested. Comparing head by head
between models of different shapes is refused: their heads have no common names, and their layers no
common numbers.

What they share is depth: layer l of L lies at (l + 0.5) / L. Both models' depth is cut into as many
equal bins as the shallower has layers, and each model is described by the mean rank, within that model,
of the heads of each bin. Sorting heads within a bin and pairing them up would make any two models agree;
means do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from phase7.statistics.draws import keyed_generator

FloatArray = npt.NDArray[np.float64]

#: With fewer places to rank, a rank correlation says nothing.
FEWEST_PLACES = 4
#: Permutations of a test: p is at least 1 / 2000.
N_DRAWS = 1999


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Rank agreement of two groups.

    Attributes
    ----------
    rho : float
        Spearman's rank correlation, in [-1, 1]; NaN below 4 places or where a side is constant.
    p_value : float
        Two-sided permutation p: the second group's tested heads exchanged among each other. Small
        says that its strengths are not spread over the heads without regard to the first group's.
    n_places : int
        Heads (by head) or depth bins (by depth) that were compared.
    """

    rho: float
    p_value: float
    n_places: int


def relative_depth(n_layers: int) -> FloatArray:
    """Depth of each layer's middle, from 0 (input) to 1 (output); float64 [layer]."""
    depth: FloatArray = (np.arange(n_layers) + 0.5) / n_layers
    return depth


def depth_bins(n_layers: int, n_bins: int) -> npt.NDArray[np.int64]:
    """The bin that each layer's middle lies in, of `n_bins` equal bins of depth; int64 [layer]."""
    bins: npt.NDArray[np.int64] = np.floor(relative_depth(n_layers) * n_bins).astype(np.int64)
    return bins


def scaled_ranks(strength: FloatArray) -> FloatArray:
    """Ranks within one group, from 0 (weakest) to 1 (strongest), ties shared.

    Parameters
    ----------
    strength : float64 array, any shape
        NaN: not tested.

    Returns
    -------
    float64 array, same shape
        (rank - 0.5) / tested heads; NaN where not tested.
    """
    ranks = np.full(strength.shape, np.nan)
    tested = np.isfinite(strength)
    if tested.any():
        ranks[tested] = (rankdata(strength[tested]) - 0.5) / tested.sum()
    return ranks


def depth_profile(strength: FloatArray, n_bins: int) -> FloatArray:
    """Mean scaled rank of the tested heads in each of `n_bins` equal bins of depth; NaN if none."""
    weights = _bin_weights(strength, n_bins)
    ranks = scaled_ranks(strength)[np.isfinite(strength)]
    sums = ranks @ weights
    count = weights.sum(axis=0)
    profile: FloatArray = np.divide(sums, count, out=np.full(n_bins, np.nan), where=count > 0)
    return profile


def agreement_by_head(one: FloatArray, other: FloatArray, *, seed: int = 0) -> Agreement:
    """Compare two groups of one model head by head, over the heads tested in both.

    Parameters
    ----------
    one, other : float64 array, shape (layer, head)
        Strengths.
    seed : int
        Of the permutations.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if one.shape != other.shape:
        raise ValueError(f"heads of {one.shape} and {other.shape} cannot be paired; compare by depth")
    both = np.isfinite(one) & np.isfinite(other)
    return _agreement(one[both], other[both], np.eye(int(both.sum())), seed)


def agreement_by_depth(one: FloatArray, other: FloatArray, *, seed: int = 0) -> Agreement:
    """Compare two models by relative depth (see the module's text).

    Parameters
    ----------
    one, other : float64 array, shape (layer, head)
        Strengths; the shapes may differ.
    seed : int
        Of the permutations.
    """
    n_bins = min(one.shape[0], other.shape[0])
    profile, weights = depth_profile(one, n_bins), _bin_weights(other, n_bins)
    use = np.isfinite(profile) & (weights.sum(axis=0) > 0)
    strength = other[np.isfinite(other)]
    inside = weights[:, use].any(axis=1)
    return _agreement(profile[use], strength[inside], weights[np.ix_(inside, use)], seed)


@dataclass(frozen=True, kw_only=True)
class Shared:
    """How many of the strongest heads of two groups are the same.

    Attributes
    ----------
    n_shared, n_top : int
        Heads in both lists, and the length of each list.
    expected : float
        Mean of `n_shared` where the two lists are independent: n_top² / heads tested in both.
    """

    n_shared: int
    n_top: int
    expected: float


def shared_heads(one: FloatArray, other: FloatArray, n_top: int) -> Shared:
    """Overlap of the `n_top` strongest heads among those tested in both; ties go to the first.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if one.shape != other.shape:
        raise ValueError(f"heads of {one.shape} and {other.shape} cannot be paired")
    both = np.flatnonzero(np.isfinite(one) & np.isfinite(other))
    n_top = min(n_top, len(both))
    tops = [set(both[np.argsort(-side.ravel()[both], kind="stable")][:n_top]) for side in (one, other)]
    expected = n_top**2 / len(both) if len(both) else float("nan")
    return Shared(n_shared=len(tops[0] & tops[1]), n_top=n_top, expected=expected)


def _bin_weights(strength: FloatArray, n_bins: int) -> FloatArray:
    """0/1 [tested head, bin]: the bin of depth that a head lies in."""
    layer = np.nonzero(np.isfinite(strength))[0]
    place = depth_bins(strength.shape[0], n_bins)[layer]
    weights: FloatArray = (place[:, None] == np.arange(n_bins)).astype(np.float64)
    return weights


def _agreement(fixed: FloatArray, values: FloatArray, weights: FloatArray, seed: int) -> Agreement:
    """`fixed` [place] against the mean ranks of `values` [head] over `weights` [head, place]."""
    n = len(fixed)
    if n < FEWEST_PLACES or np.ptp(fixed) == 0 or np.ptp(values) == 0:
        return Agreement(rho=float("nan"), p_value=float("nan"), n_places=n)
    ranks, size = rankdata(values), weights.sum(axis=0)
    rho = _spearman(fixed, (ranks @ weights / size)[None])[0]
    generator = keyed_generator(seed=seed, purpose="agreement", n=len(values))
    shuffled = generator.permuted(np.tile(ranks, (N_DRAWS, 1)), axis=1)
    drawn = _spearman(fixed, shuffled @ weights / size)
    reached = int((np.abs(drawn) >= abs(rho) - 1e-12).sum())
    return Agreement(rho=float(rho), p_value=(1 + reached) / (1 + N_DRAWS), n_places=n)


def _spearman(fixed: FloatArray, rows: FloatArray) -> FloatArray:
    """Spearman's correlation of `fixed` [place] with each of `rows` [row, place]; 0 for a constant."""
    # Sums of the same ranks in another order may differ in the last bit: ties must stay ties.
    one, others = rankdata(fixed), rankdata(np.round(rows, 9), axis=1)
    one, others = one - one.mean(), others - others.mean(axis=1, keepdims=True)
    scale = np.sqrt((one**2).sum() * (others**2).sum(axis=1))
    rho: FloatArray = np.divide(others @ one, scale, out=np.zeros(len(rows)), where=scale > 0)
    return rho
