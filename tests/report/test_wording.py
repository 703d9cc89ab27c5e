"""Sentences on what a number of prompts can show at best."""

from __future__ import annotations

import numpy as np

from phase7.findings.facts import floor
from phase7.findings.group import groups
from phase7.statistics import benjamini_hochberg
from tests.report.synthetic import Spec, tree


def test_so_many_tests_must_reach_the_smallest_p_together():
    """With n_together tests at the floor and the others at 1 one is significant, with one fewer none."""
    group = groups(tree(Spec(n_confirmation=10)))[0]
    limit = floor(group, list(group.confirmed.values()))
    assert limit.n_together > 1
    for count, expected in ((limit.n_together, True), (limit.n_together - 1, False)):
        p = np.ones(limit.n_tests)
        p[:count] = limit.lowest_p
        assert bool((benjamini_hochberg(p) < group.alpha).any()) is expected
