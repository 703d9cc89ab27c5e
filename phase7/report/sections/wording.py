"""Sentences and rows that more than one section needs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from phase7.findings.cells import Cell
from phase7.findings.facts import Hit, floor, reachable_tests
from phase7.report.chapter import Chapter
from phase7.report.escape import code
from phase7.report.numbers import tiny
from phase7.report.tables import Row
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


def hit_header(chapter: Chapter) -> list[str]:
    """Column heads of tables with one effect a row."""
    say = chapter.say
    both = [say("control_delta"), say("net_delta")] if chapter.group.has_control else []
    header = [say("heads"), say("mode"), say("metric"), say("delta"), *both]
    header += [say(key, effect=chapter.effect_name) for key in ("ci", "p", "q")]
    return [*header, say("d_z")]


def hit_row(chapter: Chapter, hit: Hit) -> Row:
    """One effect under :func:`hit_header`."""
    numbers, effect, cell = chapter.numbers, hit.effect, hit.cell
    both = (effect.control_delta, effect.net_delta) if chapter.group.has_control else ()
    return Row(
        name=chapter.row_name(cell, hit.metric),
        cells=(
            chapter.label(cell.label),
            code(cell.mode),
            code(hit.metric),
            numbers.signed(effect.delta),
            *(numbers.signed(value) for value in both),
            numbers.interval(effect.low, effect.high),
            numbers.p(effect.p),
            chapter.q(effect.q),
            numbers.d_z(effect.d_z),
        ),
    )
