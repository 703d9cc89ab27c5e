"""How many prompts and samples a test takes: spread between and within prompts, power by resampling."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phase7.statistics.draws import keyed_generator
from phase7.statistics.paired import paired_summary
from phase7.statistics.power import detectable_effect, power_of, prompts_needed

FloatArray = npt.NDArray[np.float64]

#: The largest number of prompts that is looked for.
_MOST_PROMPTS = 1_000_000
#: Drawn flips of an experiment.
_N_FLIPS = 1_000
#: Halvings of the range in which a shift is looked for.
_N_HALVINGS = 12


@dataclass(frozen=True, kw_only=True)
class Spread:
    """What a pilot says of one test's differences.

    Attributes
    ----------
    mean : float
        Over prompts, in the metric's unit.
    between, within : float
        Variances: of the prompts' true means, and of a prompt's samples about its own. `within` is NaN
        where a prompt has one sample, and 0 for what needs no sampling; `between` then is the variance
        of the prompts as they were measured.
    n_prompts, n_samples : int
        Of the pilot.
    """

    mean: float
    between: float
    within: float
    n_prompts: int
    n_samples: int

    def sd(self, n_samples: int) -> float:
        """Standard deviation over prompts of the mean of so many samples.

        Where the variance within prompts is not known, the measured one is given for every number.
        """
        own = 0.0 if math.isnan(self.within) else self.within
        return math.sqrt(self.between + own / n_samples)


def spread(differences: npt.ArrayLike, *, is_sampled: bool = True) -> Spread:
    """Take the variance of paired differences apart, by the moments of a one-way layout.

    The variance of the prompts' means is that between prompts plus that within over the number of
    samples (Searle, Casella & McCulloch 1992, section 3.6); an estimate below 0 is 0.

    Parameters
    ----------
    differences : array_like of float, shape (prompts, samples)
        A prompt with a NaN is left out.
    is_sampled : bool
        Whether samples differ at all; read-outs do not.

    Raises
    ------
    ValueError
        For fewer than two prompts.
    """
    values = np.asarray(differences, dtype=np.float64)
    values = values[np.isfinite(values).all(axis=1)]
    n_prompts, n_samples = values.shape
    if n_prompts < 2:
        raise ValueError(f"expected differences of at least 2 prompts, got {n_prompts}")
    means = values.mean(axis=1)
    within = 0.0 if not is_sampled else math.nan
    if is_sampled and n_samples > 1:
        within = float(values.var(axis=1, ddof=1).mean())
    share = 0.0 if math.isnan(within) else within / n_samples
    return Spread(
        mean=float(means.mean()),
        between=max(float(means.var(ddof=1)) - share, 0.0),
        within=within,
        n_prompts=n_prompts,
        n_samples=n_samples,
    )


def prompts_for(effect: float, sd: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Give the smallest number of prompts whose test finds an effect with that power.

    By the noncentral t distribution, and no fewer than can reach `alpha` at all. NaN where the effect is
    0 or not finite, or more than a million prompts would be needed.
    """
    least = prompts_needed(alpha)
    if not (math.isfinite(effect) and math.isfinite(sd)) or effect == 0:
        return math.nan
    if sd == 0:
        return least
    d_z, high = abs(effect) / sd, least
    while power_of(d_z, high, alpha=alpha) < power:
        high *= 2
        if high > _MOST_PROMPTS:
            return math.nan
    low = max(least - 1, high // 2)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(d_z, middle, alpha=alpha) >= power else (middle, high)
    return high


def detectable_shift(
    differences: npt.ArrayLike,
    n: int,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    seed: int,
    n_experiments: int = 1_000,
) -> FloatArray:
    """Give the shift that a sign-flip test of n prompts finds with that power, by resampling a pilot.

    Each experiment draws n of the pilot's prompts with replacement and flips the sign of each at random,
    so that nothing is there to be found but the shift that is added. Tails and zeros are those of the
    data, where :func:`phase7.statistics.power.detectable_effect` takes them to be normal.

    Parameters
    ----------
    differences : array_like of float, shape (tests, prompts)
        Finite.
    n : int
        Prompts of an experiment, at least 2.
    seed : int
    n_experiments : int
        The share that finds a shift has a standard error of sqrt(power (1 - power) / `n_experiments`).

    Returns
    -------
    float64 array, shape (tests,)
        In the metric's unit; NaN where no prompt's difference is other than 0, or where n is too small
        to find anything.
    """
    tests = np.asarray(differences, dtype=np.float64)
    generator = keyed_generator(seed=seed, purpose="planned experiments", n=n)
    drawn = generator.integers(0, tests.shape[1], size=(n_experiments, n))
    signs = generator.choice([-1.0, 1.0], size=(n_experiments, n))
    # Flipped at random, a difference has a mean of 0 and this standard deviation.
    size = np.sqrt((tests**2).mean(axis=1))
    found = np.full(len(tests), np.nan)
    if n < prompts_needed(alpha):
        return found
    for test in np.flatnonzero(size > 0):
        made = tests[test][drawn] * signs
        low, high = 0.0, 2 * float(detectable_effect(size[test], n, alpha=alpha, power=power))
        while _share_found(made, high, alpha) < power:
            low, high = high, 2 * high
        for _ in range(_N_HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if _share_found(made, middle, alpha) >= power else (middle, high)
        found[test] = high
    return found


def _share_found(made: FloatArray, shift: float, alpha: float) -> float:
    """The share of experiments, [experiment, prompt] without an effect, that find a shift."""
    # Whether p is below a usual level takes no more flips, where they are drawn at all.
    p = paired_summary(
        made + shift, seed=0, confidence=None, n_resamples=_N_FLIPS, n_tail=_N_FLIPS
    ).p_value
    return float((p < alpha).mean())
