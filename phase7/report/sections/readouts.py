"""Read-outs of the confirmed heads and sets: what they do to the model's own distribution, in nats."""

from __future__ import annotations

import math

from phase7.findings.facts import Hit
from phase7.report.chapter import Chapter
from phase7.report.escape import code
from phase7.report.sections.wording import hit_header, hit_row

#: Effects shown for one read-out; all are in the effects store.
MOST = 10


def part(chapter: Chapter) -> list[str]:
    """A table with the largest effects on every read-out; nothing where none was declared."""
    say, group = chapter.say, chapter.group
    if not group.readout_metrics:
        return []
    hits = [
        Hit(cell=cell, metric=metric, effect=cell.effect(metric))
        for metric in group.readout_metrics
        for cell in group.readouts.values()
    ]
    tested = [hit for hit in hits if math.isfinite(hit.effect.q)]
    n_found = sum(hit.effect.q < group.alpha for hit in tested)
    rows = [
        hit_row(chapter, hit)
        for metric in group.readout_metrics
        for hit in _largest([one for one in tested if one.metric == metric])
    ]
    blocks = [
        chapter.subheading("h.readouts"),
        say("readouts.what", metrics=say.listed([code(m) for m in group.readout_metrics])),
        say("readouts.count", n=n_found, tests=len(tested), alpha=f"{group.alpha:g}"),
    ]
    if rows:
        header = hit_header(chapter)
        blocks.append(chapter.table("readouts", say("c.readouts", n=MOST), header, rows, n_left=3))
    return blocks


def _largest(hits: list[Hit]) -> list[Hit]:
    """Those with the largest tested effect; ties keep the order of the cells."""
    return sorted(hits, key=lambda hit: -abs(_tested(hit)))[:MOST]


def _tested(hit: Hit) -> float:
    effect = hit.effect
    return effect.delta if math.isnan(effect.net_delta) else effect.net_delta
