"""The answer: heads found by read-out, what of them reaches the text, and what could have been found."""

from __future__ import annotations

import math

from phase7.findings.cells import Cell
from phase7.findings.readouts import (
    Share,
    cell_on,
    first_sets,
    random_like,
    sets_by_size,
    share,
    smallest_detectable,
    trust,
)
from phase7.findings.screening import screened
from phase7.report.chapter import Chapter
from phase7.report.escape import code
from phase7.report.sections import guards, specificity, trials
from phase7.report.sections.controls import metrics_of
from phase7.report.sections.percent import percent
from phase7.report.tables import Row

#: Heads that the headline names.
MOST_NAMED = 6


def headline(chapter: Chapter) -> list[str]:
    """Sentences on heads by read-out, on sets and the answer by the text, and on what could be found.

    Nothing where the emotion has no read-out with a direction.
    """
    metric = chapter.group.emotion_readout
    if metric is None:
        return []
    sentences = [_heads(chapter, metric), *specificity.headline(chapter)]
    for label in first_sets(chapter.group):
        sentences += _set(chapter, label, metric)
    return [*sentences, *trials.headline(chapter), *_detectable(chapter)]


def table(chapter: Chapter) -> list[str]:
    """Sets and the sweep's strongest heads on the read-outs and the text, with shares of prompting."""
    say, group = chapter.say, chapter.group
    labels = [one for one in (*sets_by_size(group), *group.strongest) if one in group.labels]
    if not labels or group.emotion_readout is None:
        return []
    header = [say("heads"), say("metric"), say("delta")]
    header += [say("control_delta"), say("net_delta")] if group.has_control else []
    header += [say(key, effect=chapter.effect_name) for key in ("ci", "p", "q")]
    header += [say("answer.primary"), say("answer.share.name")]
    rows = [
        row
        for label in labels
        for metric in metrics_of(group)
        if (row := _row(chapter, label, metric)) is not None
    ]
    caption = say("c.answer", mode=group.mode, stage=chapter.stage_name)
    return [chapter.table("answer", caption, header, rows, n_left=2), say("note.answer")]


def agreement(chapter: Chapter) -> list[str]:
    """One paragraph on how far the read-outs' numbers agree with each other and with the text's."""
    say, numbers, found = chapter.say, chapter.numbers, trust(chapter.group)
    if found is None:
        return []
    metric = code(found.metric)
    sentences = _screen(chapter)
    if not math.isnan(found.split_half):
        rho = numbers.score(found.split_half, 2)
        sentences.append(say("trust.split_half", heads=found.n_heads, metric=metric, rho=rho))
    if not math.isnan(found.kept):
        sentences.append(say("trust.kept", kept=numbers.score(found.kept, 2)))
    if not math.isnan(found.predicted):
        r = numbers.score(found.predicted, 2)
        sentences.append(say("trust.predicted", n=found.n_patched, r=r))
    if not math.isnan(found.checked):
        r = numbers.score(found.checked, 2)
        sentences.append(say("trust.checked", n=found.n_checked, r=r))
    if not math.isnan(found.on_text) and chapter.group.emotion_metric is not None:
        rho = numbers.score(found.on_text, 2)
        sentences.append(
            say("trust.on_text", n=found.n_patched, metric=code(chapter.group.emotion_metric), rho=rho)
        )
    return [say.joined(sentences)] if sentences else []


def _screen(chapter: Chapter) -> list[str]:
    """Sentences on the screen that chose the sweep's heads; none where there was none."""
    say, numbers, found = chapter.say, chapter.numbers, screened(chapter.group)
    if found is None:
        return []
    metric = code(found.metric)
    sentences = [say("screen.chosen", n=found.n_chosen, heads=found.n_screened, metric=metric)]
    if not math.isnan(found.chosen):
        sentences.append(say("screen.agreement", rho=numbers.score(found.chosen, 2)))
    level = f"{100 * found.confidence:g} %"
    if not math.isnan(found.largest_drawn):
        largest = numbers.score(found.largest_drawn, 3)
        sentences.append(
            say("screen.drawn", n=found.n_drawn, largest=largest, k=found.n_larger, level=level)
        )
    if not math.isnan(found.largest_missed):
        bound = numbers.score(found.largest_missed, 3)
        sentences.append(say("screen.missed", bound=bound, level=level))
    return sentences


def _heads(chapter: Chapter, metric: str) -> str:
    say, group = chapter.say, chapter.group
    singles = [
        cell
        for (_, mode), cell in group.readouts.items()
        if mode == group.mode and cell.heads.is_single and math.isfinite(cell.effect(metric).q)
    ]
    found = [cell for cell in singles if cell.effect(metric).q < group.alpha]
    alpha = f"{group.alpha:g}"
    if not found:
        return say("readouts.none", metric=code(metric), n=len(singles), alpha=alpha)
    found.sort(key=lambda cell: -abs(cell.tested_value("delta", metric)))
    shown = found[:MOST_NAMED]
    named = [_named(chapter, cell, metric) for cell in shown]
    has_shares = any(not math.isnan(share(cell, metric).value) for cell in shown)
    return say(
        "answer.heads", metric=code(metric), n=len(found), tests=len(singles), alpha=alpha,
        heads=say.listed(named), effect=chapter.effect_name,
        shares=say("answer.heads.shares") if has_shares else "",
    )  # fmt: skip


def _named(chapter: Chapter, cell: Cell, metric: str) -> str:
    values = {
        "head": code(cell.label),
        "value": chapter.numbers.signed(cell.tested_value("delta", metric), 2),
    }
    part = share(cell, metric)
    if math.isnan(part.value):
        return chapter.say("answer.head.plain", **values)
    return chapter.say("answer.head", **values, share=percent(part.value))


def _set(chapter: Chapter, label: str, readout: str) -> list[str]:
    say, group, numbers, text = chapter.say, chapter.group, chapter.numbers, chapter.group.emotion_metric
    if text is None:
        return []
    cell, on_logits = cell_on(group, label, text), cell_on(group, label, readout)
    if cell is None or on_logits is None:
        return []
    effect, part = cell.effect(text), share(cell, text)
    known = not math.isnan(part.value)
    sentences = [
        say(
            "answer.set", label=group.short(label), readout=code(readout), metric=code(text),
            nats=numbers.signed(on_logits.tested_value("delta", readout), 2),
            value=numbers.signed(cell.tested_value("delta", text)),
            interval=numbers.interval(effect.low, effect.high),
            q=_q(chapter, cell, text),
            share=say("answer.share", share=_with_interval(part)) if known else "",
        )
    ]  # fmt: skip
    sentences += guards.sentence(chapter, label)
    for other in random_like(group, label):
        drawn = cell_on(group, other, text)
        if drawn is not None:
            sentences.append(
                say(
                    "answer.random", label=group.short(other),
                    value=numbers.signed(drawn.tested_value("delta", text)),
                    q=_q(chapter, drawn, text),
                )
            )  # fmt: skip
    return sentences


def _q(chapter: Chapter, cell: Cell, metric: str) -> str:
    """The adjusted p of a primary test, or the q of an exploratory one."""
    adjusted = cell.value("p_adjusted", metric)
    if math.isnan(adjusted):
        return chapter.numbers.equals("q", cell.effect(metric).q)
    return chapter.say("answer.q", p=chapter.numbers.equals("p", adjusted))


def _detectable(chapter: Chapter) -> list[str]:
    group, metric = chapter.group, chapter.group.emotion_metric
    size = math.nan if metric is None else smallest_detectable(group, metric)
    if metric is None or math.isnan(size):
        return []
    return [
        chapter.say(
            "answer.detectable", metric=code(metric), size=chapter.numbers.size(size),
            n=group.n_confirmation,
        )
    ]  # fmt: skip


def _row(chapter: Chapter, label: str, metric: str) -> Row | None:
    group, numbers, cell = chapter.group, chapter.numbers, cell_on(chapter.group, label, metric)
    if cell is None:
        return None
    effect, part = cell.effect(metric), share(cell, metric)
    both = (effect.control_delta, effect.net_delta) if group.has_control else ()
    adjusted = cell.value("p_adjusted", metric)
    return Row(
        name=chapter.row_name(cell, metric),
        cells=(
            chapter.label(label),
            code(metric),
            numbers.signed(effect.delta),
            *(numbers.signed(value) for value in both),
            numbers.interval(effect.low, effect.high),
            numbers.p(effect.p),
            chapter.q(effect.q),
            "–" if math.isnan(adjusted) else chapter.q(adjusted),
            "–" if math.isnan(part.value) else _with_interval(part),
        ),
    )


def _with_interval(part: Share) -> str:
    return f"{percent(part.value)} [{percent(part.low)}, {percent(part.high)}]"
