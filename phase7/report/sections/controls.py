"""Positive controls: what is known to move the metrics, and which of them it does not move."""

from __future__ import annotations

from phase7.findings.group import Group
from phase7.findings.readouts import Moved, moved
from phase7.report.chapter import Chapter
from phase7.report.escape import code
from phase7.report.tables import Row
from phase7.vocabulary.emotions import keywords_metric
from phase7.vocabulary.readouts import FIRST


def render(chapter: Chapter) -> list[str]:
    """The table of the controls, and the metrics that prompting leaves where they are."""
    say, group = chapter.say, chapter.group
    found = moved(group, metrics_of(group))
    if not found:
        return [say("controls.none")]
    header = [say("controls.name"), say("metric"), say("delta")]
    header += [say(key, effect=say("delta")) for key in ("ci", "p", "q")]
    header += [say("d_z"), say("controls.shows")]
    table = chapter.table(
        "controls", say("c.controls"), header, [_row(chapter, one) for one in found], n_left=2
    )
    prompted = [one for one in found if one.control == "prompting" and one.is_known]
    unmoved = [one.metric for one in prompted if not one.is_moved]
    blocks = [say("controls.what"), table]
    if unmoved:
        blocks.append(say("controls.unmoved", metrics=say.listed([code(one) for one in unmoved])))
    return blocks


def metrics_of(group: Group) -> list[str]:
    """The emotion's read-outs and text metrics, sentiment and politeness, as far as measured."""
    first = group.emotion_readout
    readouts = [] if first is None else [first, first + FIRST]
    own = [group.emotion_metric, keywords_metric(group.emotion), *group.key_metrics]
    texts = [metric for metric in dict.fromkeys(own) if metric is not None and metric in group.measured]
    return [*readouts, *texts]


def _row(chapter: Chapter, one: Moved) -> Row:
    say, numbers = chapter.say, chapter.numbers
    name = say("where.control", control=code(one.control), metric=code(one.metric))
    shows = (
        say("controls.can" if one.is_moved else "controls.cannot") if one.is_known else numbers.no_test
    )
    return Row(
        name=name,
        cells=(
            code(one.control),
            code(one.metric),
            numbers.signed(one.delta),
            numbers.interval(one.low, one.high),
            numbers.p(one.p),
            chapter.q(one.q),
            numbers.d_z(one.d_z),
            shows,
        ),
    )
