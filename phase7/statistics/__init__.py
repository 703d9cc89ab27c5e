"""Paired inference over prompts: intervals, permutation tests, corrections and ratings.

Plain arrays with the prompt on the last axis go in, where NaN is "not measured"; arrays of the cells'
shape come out. Pure NumPy and SciPy: no tensors, no labels, no files.

Every random draw is a function of (seed, purpose, number of prompts), and every resampled sum is exact,
so a cell's numbers are the same to the bit alone, in a batch and in any order.
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
from phase7.statistics.hierarchy import global_p, hierarchical_q
from phase7.statistics.multiplicity import benjamini_hochberg
from phase7.statistics.paired import PairedSummary, paired_summary
from phase7.statistics.planning import Spread, detectable_shift, prompts_for, spread
from phase7.statistics.power import detectable_effect, minimum_p, prompts_needed
from phase7.statistics.ratings import overall_rating, size_of_effect
from phase7.statistics.spending import level_shares
from phase7.statistics.step_down import step_down_min_p

__all__ = [
    "Agreement",
    "PairedSummary",
    "Shared",
    "Spread",
    "SynergySummary",
    "agreement_by_depth",
    "agreement_by_head",
    "benjamini_hochberg",
    "depth_bins",
    "depth_profile",
    "detectable_effect",
    "detectable_shift",
    "global_p",
    "hierarchical_q",
    "level_shares",
    "minimum_p",
    "overall_rating",
    "paired_summary",
    "prompts_for",
    "prompts_needed",
    "relative_depth",
    "scaled_ranks",
    "shared_heads",
    "size_of_effect",
    "spread",
    "step_down_min_p",
    "synergy",
    "synergy_verdict",
]
