"""Effects by head: confirmed heads, all significant effects, combinations, the sweep's choice."""

from __future__ import annotations

import math

import numpy as np

from phase7.findings.cells import Cell
from phase7.findings.facts import hits
from phase7.findings.ratings import THRESHOLDS, overall_word
from phase7.findings.synergies import synergy_row
from phase7.report.chapter import Chapter
from phase7.report.escape import code, escape
from phase7.report.sections import power, readouts
from phase7.report.sections.wording import hit_header, hit_row, resolution
from phase7.report.tables import Row
from phase7.vocabulary.heads import HeadSet

#: Significant effects shown in the report; all are in the effects store.
MOST_HITS = 25


def render(chapter: Chapter) -> list[str]:
    """All parts of the section, with the figures."""
    return [
        *_singles(chapter),
        *chapter.figures_of("intervals"),
        *readouts.part(chapter),
        *_significant(chapter),
        *_sets(chapter),
        *_sweep(chapter),
        *power.part(chapter),
        *chapter.figures_of("heatmap", "kl"),
    ]


def single_labels(chapter: Chapter) -> list[str]:
    """Confirmed single heads, in the order of the table: by place."""
    return [label for label in chapter.group.labels if HeadSet.parse(label).is_single]


def _singles(chapter: Chapter) -> list[str]:
    say, group = chapter.say, chapter.group
    labels = single_labels(chapter)
    blocks = [chapter.subheading("h.singles")]
    if not labels:
        return [*blocks, say("heads.none")]
    kinds = ("delta", "net_delta") if group.has_control else ("delta",)
    header = [say("head"), say("role")]
    header += [
        say("of", metric=chapter.metric_name(metric), what=say(kind))
        for metric in group.key_metrics
        for kind in kinds
    ]
    header += [say("overall", mode=mode) for mode in group.modes]
    rows = [_single(chapter, label) for label in labels]
    caption = say("c.heads", mode=group.mode, stage=chapter.stage_name)
    return [
        *blocks,
        chapter.table("heads", caption, header, rows, n_left=2),
        say("note.overall", alpha=f"{group.alpha:g}", **THRESHOLDS),
    ]


def _single(chapter: Chapter, label: str) -> Row:
    say, group = chapter.say, chapter.group
    cell = group.confirmed.get((label, group.mode))
    values: list[str] = []
    for metric in group.key_metrics:
        if cell is None:
            values += [say("not_run")] * (2 if group.has_control else 1)
            continue
        effect = cell.effect(metric)
        if group.has_control:
            values.append(chapter.numbers.signed(effect.delta))
        tested = effect.net_delta if group.has_control else effect.delta
        values.append(chapter.starred(tested, effect.q))
    ratings = [_overall(chapter, group.confirmed.get((label, mode))) for mode in group.modes]
    return Row(name=code(label), cells=(code(label), _role(chapter, label), *values, *ratings))


def _overall(chapter: Chapter, cell: Cell | None) -> str:
    if cell is None:
        return chapter.say("not_run")
    word = overall_word(cell, chapter.group.alpha)
    if word == "not measured" and np.isfinite(cell.column("delta")).any():
        return chapter.say("no_test")
    return chapter.say(f"rating.{word}")


def _role(chapter: Chapter, label: str) -> str:
    say, group = chapter.say, chapter.group
    roles = [say("role.target")] if label in group.target_heads else []
    if label in group.strongest:
        roles.append(say("role.strongest", rank=group.strongest.index(label) + 1))
    if label in group.random_heads:
        roles.append(say("role.random"))
    return say.listed(roles or [say("role.set")])


def _significant(chapter: Chapter) -> list[str]:
    say, group = chapter.say, chapter.group
    found = hits(group, group.confirmed.values())
    alpha = f"{group.alpha:g}"
    blocks = [chapter.subheading("h.significant")]
    if not found:
        return [*blocks, say("heads.no_hits", alpha=alpha)]
    rows = [hit_row(chapter, hit) for hit in found[:MOST_HITS]]
    caption = say("c.significant", alpha=alpha)
    blocks.append(chapter.table("hits", caption, hit_header(chapter), rows, n_left=3))
    if len(found) > MOST_HITS:
        blocks.append(say("heads.cut", n=len(found), shown=MOST_HITS))
    return blocks


def _sets(chapter: Chapter) -> list[str]:
    say, group = chapter.say, chapter.group
    cells = [cell for cell in group.confirmed.values() if not cell.heads.is_single]
    blocks = [chapter.subheading("h.sets")]
    if not cells:
        return [*blocks, say("sets.none")]
    cells.sort(key=lambda cell: (group.labels.index(cell.label), group.modes.index(cell.mode)))
    header = [say("heads"), say("mode"), say("metric"), say("delta")]
    header += [say("net_delta")] if group.has_control else []
    header += [say(key) for key in ("synergy", "synergy.ci", "synergy.p", "synergy.q")]
    header += [say(key) for key in ("equivalence", "synergy.power", "verdict")]
    first = () if group.emotion_readout is None else (group.emotion_readout,)
    rows = [
        _synergy(chapter, group.measured_cells(metric)[1][cell.label, cell.mode], metric)
        for cell in cells
        for metric in (*first, *group.key_metrics)
    ]
    note = say("note.sets", effect=chapter.effect_name, alpha=f"{group.alpha:g}")
    return [*blocks, chapter.table("sets", say("c.sets"), header, rows, n_left=3), note]


def _synergy(chapter: Chapter, cell: Cell, metric: str) -> Row:
    numbers, effect, one = chapter.numbers, cell.effect(metric), synergy_row(cell, metric)
    measured = not math.isnan(one.value)
    both = (chapter.starred(effect.net_delta, effect.q),) if chapter.group.has_control else ()
    return Row(
        name=chapter.row_name(cell, metric),
        cells=(
            chapter.label(cell.label),
            code(cell.mode),
            code(metric),
            numbers.signed(effect.delta)
            if chapter.group.has_control
            else chapter.starred(effect.delta, effect.q),
            *both,
            numbers.signed(one.value),
            numbers.interval(one.low, one.high, measured=measured),
            numbers.p(one.p, measured=measured),
            chapter.q(one.q, measured=measured),
            numbers.p(one.equivalence_q, measured=measured),
            numbers.size(one.detectable),
            chapter.say(f"verdict.{one.verdict}") if measured else numbers.not_measured,
        ),
    )


def _sweep(chapter: Chapter) -> list[str]:
    say, group = chapter.say, chapter.group
    blocks = [chapter.subheading("h.sweep")]
    if not group.sweep:
        return [*blocks, say("sweep.none")]
    if not group.strongest:
        n = len({label for label, _ in group.sweep})
        return [*blocks, say("sweep.no_strongest", n=n)]
    header = [say("rank"), say("head")]
    for metric in group.swept_metrics:
        name = chapter.metric_name(metric)
        header += [say(key, metric=name) for key in ("discovery", "confirmation", "confirmation.q")]
    rows = [_selected(chapter, rank, label) for rank, label in enumerate(group.strongest, 1)]
    caption = say(
        "c.sweep",
        effect=chapter.effect_name,
        n1=group.n_discovery,
        n2=group.n_confirmation,
        mode=group.sweep_mode,
    )
    notes = [say("note.sweep", rule=escape(str(group.settings.get("selection_rule", ""))))]
    short, full = group.settings.get("sweep_max_new_tokens"), group.settings.get("max_new_tokens")
    if group.is_sweep_read:
        notes.append(say("note.sweep.readouts", metric=code(group.swept_metrics[0])))
    elif short != full:
        notes.append(say("note.sweep.length", short=short, long=full))
    halved = group.settings.get("halving")
    if halved:
        notes.append(say("note.sweep.halving", rounds=len(halved), heads=halved[-1][1]))
    else:
        swept, _ = group.measured_cells(group.swept_metrics[0])
        notes.append(say("sweep.floor", text=resolution(chapter, list(swept.values()))))
    table = chapter.table("sweep", caption, header, rows, n_left=2)
    return [*blocks, table, say.joined(notes)]


def _selected(chapter: Chapter, rank: int, label: str) -> Row:
    say, group = chapter.say, chapter.group
    name = f"{group.prefix}delta"
    values: list[str] = []
    for metric in group.swept_metrics:
        swept, confirmed = group.measured_cells(metric)
        found = swept.get((label, group.sweep_mode))
        tested = confirmed.get((label, group.sweep_mode))
        if found is None:
            values.append(say("not_run"))
        else:
            values.append(chapter.numbers.signed(getattr(found.effect(metric), name)))
        if tested is None:
            values += [say("not_run")] * 2
        else:
            effect = tested.effect(metric)
            measured = not math.isnan(effect.delta)
            values.append(chapter.numbers.signed(getattr(effect, name)))
            values.append(chapter.q(effect.q, measured=measured))
    return Row(name=code(label), cells=(str(rank), code(label), *values))
