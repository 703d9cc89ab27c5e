"""Read-outs of the confirmed heads and sets: what they do to the model's own distribution, in nats."""

from __future__ import annotations

import math

import numpy as np

from phase7.findings.facts import Hit
from phase7.findings.group import Group
from phase7.report.chapter import Chapter
from phase7.report.escape import code
from phase7.report.sections import answer, curve, guards, specificity, trials
from phase7.report.sections.wording import hit_header, hit_row
from phase7.vocabulary.readouts import FIRST, KL_PATH, has_direction, log_odds_metric

#: Effects shown for one read-out; all are in the effects store.
MOST = 10


def part(chapter: Chapter) -> list[str]:
    """Read-outs as far as some were declared, then guards, strengths and the answer of the text."""
    say, group = chapter.say, chapter.group
    if not group.readout_metrics:
        return [*guards.part(chapter), *trials.doses_part(chapter)]
    measured = _measured_hits(chapter)
    tested = [hit for hit in measured if math.isfinite(hit.effect.q)]
    n_found = sum(hit.effect.q < group.alpha for hit in tested)
    metrics = sorted(group.readout_metrics, key=lambda one: _importance(one, group.emotion))
    rows = [
        hit_row(chapter, hit)
        for metric in metrics
        for hit in _largest([one for one in measured if one.metric == metric])
    ]
    blocks = [
        chapter.subheading("h.readouts"),
        say("readouts.what", metrics=say.listed([code(m) for m in metrics])),
        say.joined(
            [
                say("readouts.count", n=n_found, tests=len(tested), alpha=f"{group.alpha:g}"),
                say("readouts.donors" if _over_donors(group) else "readouts.recipients"),
            ]
        ),
        *answer.agreement(chapter),
        *answer.table(chapter),
        *specificity.part(chapter),
        *curve.part(chapter),
        *guards.part(chapter),
        *trials.doses_part(chapter),
        *trials.part(chapter),
    ]
    if rows:
        header = hit_header(chapter)
        blocks.append(chapter.table("readouts", say("c.readouts", n=MOST), header, rows, n_left=3))
    return blocks


def _over_donors(group: Group) -> bool:
    """Whether the p of read-outs hold over donor pairs too."""
    cells = group.readouts.values()
    return any(np.isfinite(cell.column("net_donor_p_value")).any() for cell in cells)


def _measured_hits(chapter: Chapter) -> list[Hit]:
    """Effects on read-outs with a direction, also those of too few prompts to be tested."""
    group = chapter.group
    return [
        Hit(cell=cell, metric=metric, effect=cell.effect(metric))
        for metric in filter(has_direction, group.readout_metrics)
        for cell in group.readouts.values()
        if math.isfinite(cell.tested_value("delta", metric))
    ]


def _importance(metric: str, emotion: str) -> tuple[bool, bool, bool, str]:
    """A sort key: the emotion's own read-out first, what has no direction after what has one."""
    is_first_step, whole = metric.endswith(FIRST), metric.removesuffix(FIRST)
    return whole == KL_PATH, whole != log_odds_metric(emotion), is_first_step, metric


def _largest(hits: list[Hit]) -> list[Hit]:
    """Those with the largest tested effect; ties keep the order of the cells."""
    return sorted(hits, key=lambda hit: -abs(hit.cell.tested_value("delta", hit.metric)))[:MOST]
