"""Every metric of the target heads, baseline against patched."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from phase7.findings.cells import Cell
from phase7.report.chapter import Chapter
from phase7.report.escape import code
from phase7.report.tables import Row
from phase7.vocabulary.metrics import GOEMOTIONS, KEYWORDS, METRICS, POLITENESS, SENTIMENT

MAIN = SENTIMENT + POLITENESS + KEYWORDS


def render(chapter: Chapter) -> list[str]:
    """Both tables, and how many of their rows are significant."""
    say, cell = chapter.say, chapter.group.target_cell
    if cell is None:
        return [say("no_target")]
    blocks = [introduction(chapter, cell)]
    for key, metrics in (("main", MAIN), ("goemotions", GOEMOTIONS)):
        caption = say(f"c.{key}", label=chapter.label(cell.label), mode=cell.mode)
        rows = [Row(name=code(metric), cells=_cells(chapter, cell, metric)) for metric in metrics]
        blocks.append(chapter.table(key, caption, _header(chapter), rows))
    return [*blocks, _count(chapter, cell)]


def introduction(chapter: Chapter, cell: Cell) -> str:
    """Which cell a section is about, and on how many prompts."""
    say = chapter.say
    stage = say("n.confirmation" if chapter.group.sweep else "n.all", n=cell.n_prompts)
    text = say("cell", label=chapter.label(cell.label), mode=cell.mode, stage=stage)
    if chapter.group.is_target_joint:
        return text
    return say.joined([text, say("not_joint", label=chapter.label(cell.label))])


def table_of(metric: str) -> str:
    """The key of the table that has the row of `metric`."""
    return "goemotions" if metric in GOEMOTIONS else "main"


def _header(chapter: Chapter) -> Sequence[str]:
    say, effect = chapter.say, chapter.effect_name
    both = ("control_delta", "net_delta") if chapter.group.has_control else ()
    names = [say(key) for key in ("metric", "baseline", "patched", "delta", *both)]
    return (*names, *(say(key, effect=effect) for key in ("ci", "p", "q")))


def _cells(chapter: Chapter, cell: Cell, metric: str) -> tuple[str, ...]:
    numbers, effect = chapter.numbers, cell.effect(metric)
    measured = not np.isnan(effect.delta)
    both = (effect.control_delta, effect.net_delta) if chapter.group.has_control else ()
    return (
        code(metric),
        numbers.score(effect.baseline),
        numbers.score(effect.patched),
        numbers.signed(effect.delta),
        *(numbers.signed(value) for value in both),
        numbers.interval(effect.low, effect.high, measured=measured),
        numbers.p(effect.p, measured=measured),
        chapter.q(effect.q, measured=measured),
    )


def _count(chapter: Chapter, cell: Cell) -> str:
    say = chapter.say
    measured = [m for m in METRICS if not np.isnan(cell.effect(m).delta)]
    significant = [m for m in measured if cell.effect(m).q < chapter.group.alpha]
    values = {
        "n": len(measured),
        "effect": chapter.effect_name,
        "alpha": f"{chapter.group.alpha:g}",
        "k": len(significant),
        "names": say.listed([code(metric) for metric in significant]),
    }
    sentences = [say("comparison.count" if significant else "comparison.none", **values)]
    if len(measured) < len(METRICS):
        sentences.append(
            say("comparison.unmeasured", n=len(METRICS) - len(measured), total=len(METRICS))
        )
    return say.joined(sentences)
