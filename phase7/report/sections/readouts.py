"""Read-outs of the confirmed heads and sets: what they do to the model's own distribution, in nats."""

from __future__ import annotations

import math

from phase7.findings.facts import Hit
from phase7.report.chapter import Chapter
from phase7.report.escape import code
from phase7.report.sections.wording import hit_header, hit_row
from phase7.vocabulary.readouts import FIRST, KL_PATH, OWN_WORDS, log_odds_metric

#: Effects shown for one read-out; all are in the effects store.
MOST = 10


def headline(chapter: Chapter) -> list[str]:
    """The largest significant effect of a single head on the emotion's own read-out, in a sentence.

    On one's own words where the emotion's were not read; nothing where no read-out has a direction.
    """
    say, group = chapter.say, chapter.group
    wanted = (log_odds_metric(group.emotion), log_odds_metric(OWN_WORDS))
    metric = next((one for one in wanted if one in group.readout_metrics), None)
    if metric is None:
        return []
    mine = [hit for hit in _tested_hits(chapter) if hit.metric == metric]
    singles = [hit for hit in mine if hit.cell.heads.is_single]
    found = [hit for hit in singles if hit.effect.q < group.alpha]
    if not found:
        return [say("readouts.none", metric=code(metric), n=len(singles), alpha=f"{group.alpha:g}")]
    best, numbers = _largest(found)[0], chapter.numbers
    return [
        say(
            "readouts.best",
            metric=code(metric),
            head=code(best.cell.label),
            mode=code(best.cell.mode),
            effect=chapter.effect_name,
            value=numbers.signed(_tested(best)),
            interval=numbers.interval(best.effect.low, best.effect.high),
        )
    ]


def part(chapter: Chapter) -> list[str]:
    """A table with the largest effects on every read-out; nothing where none was declared."""
    say, group = chapter.say, chapter.group
    if not group.readout_metrics:
        return []
    tested = _tested_hits(chapter)
    n_found = sum(hit.effect.q < group.alpha for hit in tested)
    metrics = sorted(group.readout_metrics, key=lambda one: _importance(one, group.emotion))
    rows = [
        hit_row(chapter, hit)
        for metric in metrics
        for hit in _largest([one for one in tested if one.metric == metric])
    ]
    blocks = [
        chapter.subheading("h.readouts"),
        say("readouts.what", metrics=say.listed([code(m) for m in metrics])),
        say("readouts.count", n=n_found, tests=len(tested), alpha=f"{group.alpha:g}"),
    ]
    if rows:
        header = hit_header(chapter)
        blocks.append(chapter.table("readouts", say("c.readouts", n=MOST), header, rows, n_left=3))
    return blocks


def _tested_hits(chapter: Chapter) -> list[Hit]:
    group = chapter.group
    hits = [
        Hit(cell=cell, metric=metric, effect=cell.effect(metric))
        for metric in group.readout_metrics
        for cell in group.readouts.values()
    ]
    return [hit for hit in hits if math.isfinite(hit.effect.q)]


def _importance(metric: str, emotion: str) -> tuple[bool, bool, bool, str]:
    """A sort key: the emotion's own read-out first, what has no direction after what has one."""
    is_first_step, whole = metric.endswith(FIRST), metric.removesuffix(FIRST)
    return whole == KL_PATH, whole != log_odds_metric(emotion), is_first_step, metric


def _largest(hits: list[Hit]) -> list[Hit]:
    """Those with the largest tested effect; ties keep the order of the cells."""
    return sorted(hits, key=lambda hit: -abs(_tested(hit)))[:MOST]


def _tested(hit: Hit) -> float:
    effect = hit.effect
    return effect.delta if math.isnan(effect.net_delta) else effect.net_delta
