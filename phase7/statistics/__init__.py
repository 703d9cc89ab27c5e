"""Paired inference over prompts: intervals, permutation tests, corrections, ratings, calibration.

What enters: plain arrays with the prompt on the last axis; NaN is "not measured". What leaves:
arrays of the cells' shape. Pure NumPy and SciPy: no tensors, no labels, no files.

Every random draw is a function of (seed, purpose, number of prompts), and every resampled sum is
exact, so a cell's numbers are the same to the bit alone, in a batch and in any order.
"""

from phase7.statistics.additivity import SynergySummary, synergy, synergy_verdict
from phase7.statistics.agreement import (
    Agreement,
    Shared,
    agreement_by_depth,
    agreement_by_head,
    depth_bins,
    depth_profile,
    relative_depth,
    scaled_ranks,
    shared_heads,
)
from phase7.statistics.calibration import (
    UniformityTest,
    VarianceRatio,
    ks_uniform,
    mid_p,
    randomised_p,
    variance_ratio,
)
from phase7.statistics.multiplicity import benjamini_hochberg
from phase7.statistics.paired import PairedSummary, paired_summary
from phase7.statistics.power import minimum_p, power_note, prompts_needed
from phase7.statistics.ratings import overall_note, overall_rating, size_note, size_of_effect

__all__ = [
    "Agreement",
    "PairedSummary",
    "Shared",
    "SynergySummary",
    "UniformityTest",
    "VarianceRatio",
    "agreement_by_depth",
    "agreement_by_head",
    "benjamini_hochberg",
    "depth_bins",
    "depth_profile",
    "ks_uniform",
    "mid_p",
    "minimum_p",
    "overall_note",
    "overall_rating",
    "paired_summary",
    "power_note",
    "prompts_needed",
    "randomised_p",
    "relative_depth",
    "scaled_ranks",
    "shared_heads",
    "size_note",
    "size_of_effect",
    "synergy",
    "synergy_verdict",
    "variance_ratio",
]
