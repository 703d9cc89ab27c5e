"""What could have been found: by head and set, tests that could survive and the smallest effects."""

from __future__ import annotations

import math

from phase7.findings.chance import N_FLIPS, ChanceSize
from phase7.findings.power import CellPower, cell_powers
from phase7.report.chapter import Chapter
from phase7.report.escape import code
from phase7.report.sections.wording import resolution
from phase7.report.tables import Row


def part(chapter: Chapter) -> list[str]:
    """A table with a row for each confirmed cell in the primary mode, and what its columns mean."""
    say, group = chapter.say, chapter.group
    found = cell_powers(group)
    if not found:
        return []
    metric = group.emotion_metric
    header = [say("heads"), say("power.tests"), say("power.left"), say("power.alone")]
    header += [say("power.together")]
    if metric is not None:
        name = chapter.metric_name(metric)
        header += [say("power.detectable", metric=name), say("power.detectable.alone", metric=name)]
    header += [say("median_size"), say("chance_size")]
    return [
        chapter.subheading("h.power"),
        chapter.table(
            "power", say("c.power", mode=group.mode), header, [_row(chapter, one) for one in found]
        ),
        say.joined(
            [
                say("note.power", alpha=f"{group.alpha:g}", n=group.n_confirmation, flips=N_FLIPS),
                resolution(chapter, list(group.confirmed.values())),
            ]
        ),
    ]


def _row(chapter: Chapter, one: CellPower) -> Row:
    numbers, reach = chapter.numbers, one.reach
    sizes = [] if chapter.group.emotion_metric is None else [one.detectable, one.detectable_alone]
    return Row(
        name=code(one.cell.label),
        cells=(
            chapter.label(one.cell.label),
            str(reach.n_tests),
            str(reach.n_left_out),
            str(reach.n_alone),
            str(reach.n_together),
            *(numbers.no_test if math.isnan(size) else numbers.size(size) for size in sizes),
            numbers.no_test if math.isnan(one.median_size) else numbers.score(one.median_size, 2),
            chance(chapter, one.chance),
        ),
    )


def chance(chapter: Chapter, found: ChanceSize) -> str:
    """The median |d_z| under random signs, and where 95 % of the flips lie."""
    numbers = chapter.numbers
    if math.isnan(found.median):
        return numbers.no_test
    middle, low, high = (numbers.score(x, 2) for x in (found.median, found.low, found.high))
    return f"{middle} [{low}, {high}]"
