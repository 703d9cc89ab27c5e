"""Sentences that more than one section needs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from phase7.findings.facts import floor, reachable_tests
from phase7.findings.group import Cell
from phase7.report.chapter import Chapter
from phase7.report.numbers import tiny
from phase7.statistics import prompts_needed


def resolution(chapter: Chapter, cells: Sequence[Cell]) -> str:
    """What the number of prompts of some cells can show at best."""
    limit, alpha = floor(chapter.group, cells), f"{chapter.group.alpha:g}"
    if math.isnan(limit.lowest_p):
        return chapter.say("floor.untestable", n=limit.n_prompts)
    values = {
        "n": limit.n_prompts,
        "p": tiny(limit.lowest_p),
        "alpha": alpha,
        "tests": limit.n_tests,
        "k": limit.n_together,
    }
    if not limit.n_together:
        return chapter.say("floor.blocked", **values)
    key = "floor.single" if limit.n_together == 1 else "floor.together"
    zeros = {
        "k": reachable_tests(cells, chapter.group.alpha),
        "needed": prompts_needed(chapter.group.alpha),
    }
    return chapter.say.joined(
        [chapter.say(key, **values), chapter.say("floor.zeros", **(values | zeros))]
    )
