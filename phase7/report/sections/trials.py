"""Does the text move: candidates, the chosen set, and its tests by text."""

from __future__ import annotations

import math

from phase7.findings import doses
from phase7.findings.trials import (
    Chosen,
    Compared,
    chosen,
    compared,
    keeps_guards,
    metrics_that_hold,
    trials_of,
    was_asked,
)
from phase7.report.chapter import Chapter
from phase7.report.escape import code
from phase7.report.sections.percent import percent
from phase7.report.tables import Row


def headline(chapter: Chapter) -> list[str]:
    """What the text does, in a sentence; nothing where nobody asked."""
    say, group, picked = chapter.say, chapter.group, chosen(chapter.group)
    if not was_asked(group):
        return []
    if picked is None:
        return [say("trials.nobody", metric=code(_chosen_by(chapter)))]
    holding = metrics_that_hold(group)
    return [_moves(chapter, picked, holding) if holding else _fails(chapter, picked)]


def part(chapter: Chapter) -> list[str]:
    """How the answer was chosen and tested, with tables of candidates and of tests."""
    say, group, picked = chapter.say, chapter.group, chosen(chapter.group)
    if not was_asked(group):
        return []
    blocks = [
        chapter.subheading("h.trials"),
        say("trials.what", metric=code(_chosen_by(chapter))),
        _candidates(chapter),
        *chapter.figures_of("choice"),
        *headline(chapter),
    ]
    if picked is None:
        return blocks
    header = [say("trials.trial"), say("metric"), say("trials.against"), say("delta")]
    header += [say(key, effect=say("delta")) for key in ("ci", "p", "q")]
    caption = say("c.trials", n=picked.n_heads, strength=f"{picked.strength:g}")
    rows = [_row(chapter, one) for one in compared(group)]
    if rows:
        table = chapter.table("trials", caption, [*header, say("trials.bound")], rows, n_left=3)
        blocks.append(table)
    return blocks


def doses_part(chapter: Chapter) -> list[str]:
    """What the declared sets do at the profile's strengths; nothing where it names none."""
    say, group, found = chapter.say, chapter.group, chapter.group.child("strengths")
    if found is None:
        return []
    how = say(f"strengths.{found.attrs['write']}")
    caption = say("c.strengths", how=how, mode=group.mode, stage=chapter.stage_name)
    header = [say("heads"), say("strengths.name"), say("metric"), say("delta")]
    header += [say(key, effect=say("delta")) for key in ("ci", "q")]
    rows = [
        _dose_row(chapter, one, metric)
        for metric in doses.dose_metrics(group, "strengths")
        for one in doses.doses(group, "strengths", metric)
    ]
    return [
        chapter.subheading("h.strengths"),
        chapter.table("strengths", caption, [*header, say("guards.kept")], rows, n_left=3),
        *chapter.figures_of("strengths"),
    ]


def _chosen_by(chapter: Chapter) -> str:
    found = chapter.group.child("choice")
    return "" if found is None else str(found.attrs["chosen_by"])


def _candidates(chapter: Chapter) -> str:
    say, group, metric = chapter.say, chapter.group, _chosen_by(chapter)
    caption = say("c.choice", mode=group.mode)
    header = [say("heads"), say("strengths.name"), say("metric"), chapter.effect_name]
    header += [say("ci", effect=chapter.effect_name), say("guards.kept"), say("trials.chosen")]
    rows = []
    for one in doses.doses(group, "choice", metric):
        label = chapter.label(one.label)
        kept = "–" if one.is_kept is None else say("curve.yes") if one.is_kept else say("curve.no")
        rows.append(
            Row(
                name=say("where.dose", label=label, strength=f"{one.strength:g}", metric=code(metric)),
                cells=(
                    f"{one.n_heads}", f"{one.strength:g}", code(metric),
                    chapter.numbers.signed(one.effect), chapter.numbers.interval(one.low, one.high),
                    kept, say("curve.yes") if one.is_chosen else "–",
                ),
            )
        )  # fmt: skip
    return chapter.table("choice", caption, header, rows, n_left=1)


def _row(chapter: Chapter, one: Compared) -> Row:
    say, numbers = chapter.say, chapter.numbers
    return Row(
        name=_place(chapter, one),
        cells=(
            say(f"trials.{one.trial}"),
            code(one.metric),
            one.against or say("trials.control"),
            numbers.signed(one.delta),
            numbers.interval(one.low, one.high),
            numbers.p(one.p),
            chapter.q(one.q),
            "–" if one.against or math.isnan(one.bound) else percent(one.bound),
        ),
    )


def _dose_row(chapter: Chapter, one: doses.Dose, metric: str) -> Row:
    say, numbers = chapter.say, chapter.numbers
    label, kept = chapter.label(one.label), one.is_kept
    return Row(
        name=say("where.dose", label=label, strength=f"{one.strength:g}", metric=code(metric)),
        cells=(
            label,
            f"{one.strength:g}",
            code(metric),
            numbers.signed(one.effect),
            numbers.interval(one.low, one.high),
            chapter.q(one.q),
            "–" if kept is None else say("curve.yes") if kept else say("curve.no"),
        ),
    )


def _place(chapter: Chapter, one: Compared) -> str:
    say = chapter.say
    return say(
        "where.trial", trial=say(f"trials.{one.trial}"), metric=code(one.metric),
        against=one.against or say("trials.control"),
    )  # fmt: skip


def _moves(chapter: Chapter, picked: Chosen, holding: list[str]) -> str:
    say, numbers, ran = chapter.say, chapter.numbers, trials_of(chapter.group)
    results = []
    for metric in holding:
        net = {
            row.trial: numbers.signed(row.delta)
            for row in compared(chapter.group)
            if row.metric == metric and not row.against
        }
        key = "trials.result.again" if len(ran) > 1 else "trials.result"
        values = {"first": net[ran[0]], "second": net[ran[-1]]}
        results.append(say(key, metric=code(metric), **values))
    return say(
        "trials.moves" if len(ran) > 1 else "trials.moves.once", n=picked.n_heads,
        strength=f"{picked.strength:g}", results=say.listed(results), alpha=f"{chapter.group.alpha:g}",
    )  # fmt: skip


def _fails(chapter: Chapter, picked: Chosen) -> str:
    say, group, rows = chapter.say, chapter.group, compared(chapter.group)
    why = [
        say("trials.why.guards", trial=say(f"trials.{trial}"))
        for trial in trials_of(group)
        if not keeps_guards(group, trial)
    ]
    missed = [row for row in rows if not (row.q < group.alpha and row.delta > 0)]
    if missed:
        places = [
            say(
                "trials.why.place", trial=say(f"trials.{one.trial}"), metric=code(one.metric),
                against=one.against or say("trials.control"),
            )
            for one in missed
        ]  # fmt: skip
        why.append(say("trials.why.q", which=say.listed(places)))
    return say(
        "trials.fails", n=picked.n_heads, strength=f"{picked.strength:g}", emotion=group.emotion,
        why=say.listed(why), bounds=say.listed(_bounds(chapter, rows)),
    )  # fmt: skip


def _bounds(chapter: Chapter, rows: list[Compared]) -> list[str]:
    """The largest upper end of each metric's net interval, where defined as a share of prompting."""
    say, numbers, told = chapter.say, chapter.numbers, []
    for metric in dict.fromkeys(row.metric for row in rows):
        net = [row for row in rows if row.metric == metric and not row.against]
        widest = max(net, key=lambda row: -math.inf if math.isnan(row.high) else row.high)
        key = "trials.bound.plain" if math.isnan(widest.bound) else "trials.bound.share"
        share = "" if math.isnan(widest.bound) else percent(widest.bound)
        told.append(say(key, metric=code(metric), value=numbers.signed(widest.high), share=share))
    return told
