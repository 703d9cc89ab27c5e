"""Is it this emotion: the confirmed effects beside those of other emotions' donors."""

from __future__ import annotations

from phase7.findings.cells import Cell
from phase7.findings.readouts import cell_on, sets_by_size
from phase7.findings.specificity import Beyond, beyond, by_verdict, others, verdict
from phase7.report.chapter import Chapter
from phase7.report.escape import code
from phase7.report.sections.controls import metrics_of
from phase7.report.tables import Row
from phase7.vocabulary.verdicts import ANY_EMOTION, NO_EFFECT, SPECIFIC, UNDETERMINED

_WORDS = {
    SPECIFIC: "specific.specific",
    ANY_EMOTION: "specific.any",
    UNDETERMINED: "specific.undetermined",
    NO_EFFECT: "specific.none",
}


def headline(chapter: Chapter) -> list[str]:
    """A sentence with the heads and sets of each verdict on the emotion's read-out."""
    say, group, metric = chapter.say, chapter.group, chapter.group.emotion_readout
    if metric is None or not others(group):
        return []
    cells = [cell for cell in _cells(chapter, metric) if beyond(group, cell, metric)]
    found = by_verdict(cells, metric)
    named = {
        word: say.listed([code(group.short(cell.label)) for cell in found.get(word, [])])
        if word in found
        else say("specific.nobody")
        for word in (SPECIFIC, ANY_EMOTION, UNDETERMINED)
    }
    if not cells:
        return []
    return [
        say(
            "specific.headline", metric=code(metric), emotion=group.emotion,
            others=say.listed([*others(group)]), specific=named[SPECIFIC],
            any=named[ANY_EMOTION], undetermined=named[UNDETERMINED],
        )
    ]  # fmt: skip


def part(chapter: Chapter) -> list[str]:
    """A table with every other emotion; nothing where none ran."""
    say, group = chapter.say, chapter.group
    if not others(group):
        return []
    rows = [
        _row(chapter, cell, metric, one)
        for metric in metrics_of(group)
        for cell in _cells(chapter, metric)
        for one in beyond(group, cell, metric)
    ]
    if not rows:
        return []
    header = [say("heads"), say("metric"), say("specific.other"), chapter.effect_name]
    header += [say("specific.other_delta"), say("specific.delta")]
    header += [say(key, effect=say("specific.delta")) for key in ("ci", "p", "q")]
    caption = say("c.specific", emotion=group.emotion, mode=group.mode)
    table = chapter.table("specific", caption, [*header, say("specific.verdict")], rows, n_left=3)
    return [chapter.subheading("h.specific"), say("specific.what", emotion=group.emotion), table]


def _cells(chapter: Chapter, metric: str) -> list[Cell]:
    """Sets by size, then the sweep's strongest and the target heads, in the primary mode."""
    group = chapter.group
    labels = dict.fromkeys([*sets_by_size(group), group.target, *group.strongest, *group.target_heads])
    found = (cell_on(group, label, metric) for label in labels)
    return [cell for cell in found if cell is not None]


def _row(chapter: Chapter, cell: Cell, metric: str, one: Beyond) -> Row:
    say, numbers = chapter.say, chapter.numbers
    return Row(
        name=say("where.specific", cell=chapter.row_name(cell, metric), other=one.other),
        cells=(
            chapter.label(cell.label),
            code(metric),
            one.other,
            numbers.signed(cell.tested_value("delta", metric)),
            numbers.signed(one.other_delta),
            numbers.signed(one.delta),
            numbers.interval(one.low, one.high),
            numbers.p(one.p),
            chapter.q(one.q),
            say(_WORDS[verdict(cell, metric)], emotion=chapter.group.emotion),
        ),
    )
