"""How many heads it takes: the curve over the sweep's first heads, and how steady their choice is."""

from __future__ import annotations

import math

from phase7.findings.curve import BAR, Steadiness, Step, n_prompts, steadiness, steps
from phase7.report.chapter import Chapter
from phase7.report.escape import code
from phase7.report.sections.percent import percent
from phase7.report.tables import Row


def part(chapter: Chapter) -> list[str]:
    """The steadiness of the choice, and the curve with its figure; nothing where neither is known."""
    say, rows, steady = chapter.say, steps(chapter.group), steadiness(chapter.group)
    blocks = [] if steady is None else [_steady(chapter, steady)]
    if not rows:
        return blocks
    metric = code(str(chapter.group.emotion_readout))
    header = [say("curve.n_heads"), chapter.effect_name]
    header += [say(key, effect=chapter.effect_name) for key in ("ci", "q")]
    header += [say("answer.share.name"), say("curve.random"), say("curve.singles"), say("curve.above")]
    n = n_prompts(chapter.group)
    caption = say("c.curve", metric=metric, mode=chapter.group.mode, n=n)
    table = chapter.table("curve", caption, header, [_row(chapter, one) for one in rows])
    return [
        chapter.subheading("h.curve"), say("curve.what"), *blocks, table, *chapter.figures_of("curve"),
    ]  # fmt: skip


def _steady(chapter: Chapter, found: Steadiness) -> str:
    numbers = chapter.numbers
    return chapter.say(
        "curve.steady", top=found.n_top, heads=found.n_heads, n=found.n_prompts, bar=f"{BAR:g}",
        jaccard=numbers.score(found.jaccard, 2), interval=numbers.interval(found.low, found.high),
    )  # fmt: skip


def _row(chapter: Chapter, one: Step) -> Row:
    say, numbers = chapter.say, chapter.numbers
    has_random = one.n_random > 0
    return Row(
        name=say("where.curve", n=one.n_heads),
        cells=(
            f"{one.n_heads}",
            numbers.signed(one.effect),
            numbers.interval(one.low, one.high),
            chapter.q(one.q),
            "–" if math.isnan(one.share) else percent(one.share),
            numbers.interval(one.random_low, one.random_high) if has_random else "–",
            "–" if math.isnan(one.singles) else numbers.signed(one.singles),
            (say("curve.yes") if one.is_above else say("curve.no")) if has_random else "–",
        ),
    )
