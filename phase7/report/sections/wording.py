"""Sentences and rows that more than one section needs."""

from __future__ import annotations

from collections.abc import Sequence

from phase7.findings.cells import Cell
from phase7.findings.facts import Hit
from phase7.findings.power import reach
from phase7.report.chapter import Chapter
from phase7.report.escape import code
from phase7.report.numbers import tiny
from phase7.report.tables import Row


def resolution(chapter: Chapter, cells: Sequence[Cell]) -> str:
    """What the tests of some cells can show at best, whatever the data say."""
    limit, n = reach(chapter.group, cells), max((cell.n_prompts for cell in cells), default=0)
    if n < 2:
        return chapter.say("floor.untestable", n=n)
    values = {
        "n": n,
        "alpha": f"{chapter.group.alpha:g}",
        "tests": limit.n_tests,
        "alone": limit.n_alone,
        "together": limit.n_together,
        "left": limit.n_left_out,
        "needed": limit.n_needed,
        "p": tiny(limit.lowest_p),
    }
    if not limit.n_together:
        return chapter.say("floor.blocked", **values)
    sentences = [chapter.say("floor.reach", **values)]
    if limit.n_left_out:
        sentences.append(chapter.say("floor.left", **values))
    return chapter.say.joined(sentences)


def family(chapter: Chapter, cell: Cell, metric: str) -> str:
    """The name of a test's family."""
    is_primary = cell.value("is_primary", metric) == 1
    return chapter.say("family.primary" if is_primary else "family.exploratory")


def hit_header(chapter: Chapter) -> list[str]:
    """Column heads of tables with one effect a row."""
    say = chapter.say
    both = [say("control_delta"), say("net_delta")] if chapter.group.has_control else []
    header = [say("heads"), say("mode"), say("metric"), say("delta"), *both]
    header += [say(key, effect=chapter.effect_name) for key in ("ci", "p", "q")]
    return [*header, say("family"), say("d_z")]


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
            family(chapter, cell, hit.metric),
            numbers.d_z(effect.d_z),
        ),
    )
