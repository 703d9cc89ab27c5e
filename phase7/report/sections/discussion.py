"""What follows from the tables: computed sentences, each with the table and row that show it."""

from __future__ import annotations

import math
import statistics

from phase7.findings.cells import Cell
from phase7.findings.facts import (
    Hit,
    common_cells,
    count_tests,
    hits,
    mode_strengths,
    nearest,
    nonzero_prompts,
    primary_tests,
    replication,
)
from phase7.findings.synergies import SynergyRow, synergy_rows
from phase7.report.chapter import Chapter
from phase7.report.escape import code, escape
from phase7.report.sections.circuits import circuits
from phase7.report.sections.comparison import table_of
from phase7.report.sections.heads import MOST_HITS
from phase7.report.sections.modes import chance
from phase7.report.sections.wording import resolution
from phase7.report.tables import Row
from phase7.vocabulary.metrics import METRICS

#: Heads named in one sentence; the table has all.
_MOST_NAMED = 10


def render(chapter: Chapter) -> list[str]:
    """All claims, grouped by what they are about."""
    say = chapter.say
    nearest_table, evidence = _evidence(chapter)
    ov_table, leads = circuits(chapter)
    evidence += [*_targets(chapter), *_replication(chapter)]
    parts = (
        ("h.evidence", [*nearest_table, "\n".join(evidence)]),
        ("h.strongest_mode", ["\n".join(_modes(chapter))]),
        ("h.combination", ["\n".join(_combinations(chapter))]),
        ("h.circuit", [*ov_table, "\n".join(leads)]),
        ("h.limits", ["\n".join(_limits(chapter))]),
    )  # fmt: skip
    blocks = [say("discussion.trace")]
    for heading, lines in parts:
        blocks += [chapter.subheading(heading), *lines]
    return blocks


def headline(chapter: Chapter) -> str:
    """The main result in one sentence."""
    return chapter.say.joined(_significance(chapter))


def _significance(chapter: Chapter) -> list[str]:
    say, group, numbers = chapter.say, chapter.group, chapter.numbers
    cells = list(group.confirmed.values())
    found, best = hits(group, cells), nearest(cells)
    values = {
        "cells": len(cells),
        "tests": count_tests(cells),
        "effect": chapter.effect_name,
        "alpha": f"{group.alpha:g}",
        "emotion": escape(group.emotion),
    }
    if best is None:
        return [say("sig.untested")]
    if not found:
        where = chapter.row_name(best.cell, best.metric)
        p = numbers.equals("p", best.effect.p)
        nothing = say("sig.none", **values, q=numbers.p(best.effect.q), p=p, where=where)
        return [*_primary(chapter), nothing]
    top = found[0]
    return [
        *_primary(chapter),
        say(
            "sig.some",
            **values,
            n=len(found),
            where=chapter.row_name(top.cell, top.metric),
            value=numbers.signed(top.cell.tested_value("delta", top.metric)),
            interval=numbers.interval(top.effect.low, top.effect.high),
            q=numbers.equals("q", top.effect.q),
            d_z=numbers.d_z(top.effect.d_z),
        ),
    ]


def _primary(chapter: Chapter) -> list[str]:
    """How many tests of the primary family are significant; nothing where no family was declared."""
    say, group = chapter.say, chapter.group
    n, k = primary_tests(group)
    if not n:
        return []
    return [say("sig.primary", n=n, k=k, effect=chapter.effect_name, alpha=f"{group.alpha:g}")]


def _evidence(chapter: Chapter) -> tuple[list[str], list[str]]:
    """The table of the nearest miss where nothing is significant, and the sentences."""
    group = chapter.group
    cells = list(group.confirmed.values())
    found = hits(group, cells)
    best, limits = nearest(cells), resolution(chapter, cells)
    if best is None:
        return [], [chapter.claim([*_significance(chapter), limits])]
    if not found:
        table = _nearest_table(chapter, best)
        place = chapter.cite("nearest", chapter.row_name(best.cell, best.metric))
        return [table], [chapter.claim([*_significance(chapter), limits], place)]
    top = found[0]
    lines = [
        chapter.claim(
            [*_significance(chapter), limits],
            chapter.cite("hits", chapter.row_name(top.cell, top.metric)),
        )
    ]
    return [], [*lines, *_found_heads(chapter, found)]


def _nearest_table(chapter: Chapter, best: Hit) -> str:
    say, numbers, effect = chapter.say, chapter.numbers, best.effect
    both = [say("control_delta"), say("net_delta")] if chapter.group.has_control else []
    values = [effect.control_delta, effect.net_delta] if chapter.group.has_control else []
    header = [say("heads"), say("mode"), say("metric"), say("delta"), *both]
    header += [say(key, effect=chapter.effect_name) for key in ("ci", "p", "q")]
    row = Row(
        name=chapter.row_name(best.cell, best.metric),
        cells=(
            chapter.label(best.cell.label),
            code(best.cell.mode),
            code(best.metric),
            numbers.signed(effect.delta),
            *(numbers.signed(value) for value in values),
            numbers.interval(effect.low, effect.high),
            numbers.p(effect.p),
            chapter.q(effect.q),
        ),
    )
    return chapter.table("nearest", say("c.nearest"), header, [row], n_left=3)


def _found_heads(chapter: Chapter, found: list[Hit]) -> list[str]:
    say, group = chapter.say, chapter.group
    places: dict[str, str] = {}
    for hit in found[:MOST_HITS]:
        places.setdefault(hit.cell.label, chapter.row_name(hit.cell, hit.metric))
    singles = list(dict.fromkeys(hit.cell.label for hit in found if hit.cell.heads.is_single))
    if not singles:
        return [chapter.claim([say("sig.no_heads")], chapter.cite("hits"))]
    named = [code(label) for label in singles[:_MOST_NAMED]]
    if len(singles) > _MOST_NAMED:
        named.append(say("and_more", n=len(singles) - _MOST_NAMED))
    citations = [chapter.cite("hits", places[h]) for h in singles[:_MOST_NAMED] if h in places]
    sentence = say(
        "sig.heads",
        heads=say.listed(named),
        effect=chapter.effect_name,
        alpha=f"{group.alpha:g}",
    )
    lines = [chapter.claim([sentence], *(citations or [chapter.cite("hits")]))]
    if group.random_heads:
        drawn = [code(label) for label in group.random_heads]
        n = len(set(singles) & set(group.random_heads))
        sentence = say("sig.random", heads=say.listed(drawn), n=n)
        lines.append(chapter.claim([sentence], chapter.cite("heads")))
    return lines


def _targets(chapter: Chapter) -> list[str]:
    cell = chapter.group.target_cell
    if cell is None:
        return [chapter.claim([chapter.say("no_target")])]
    return [
        chapter.claim([_target(chapter, cell, metric)], chapter.cite(table_of(metric), code(metric)))
        for metric in chapter.group.key_metrics
    ]


def _target(chapter: Chapter, cell: Cell, metric: str) -> str:
    say, numbers, effect = chapter.say, chapter.numbers, cell.effect(metric)
    values = {"label": chapter.label(cell.label), "mode": cell.mode, "metric": code(metric)}
    if math.isnan(effect.delta):
        return say("target.unmeasured", metric=code(metric))
    if math.isnan(effect.q):
        return say("target.untested", **values, delta=numbers.signed(effect.delta))
    shown = say(
        "numbers.net" if chapter.group.has_control else "numbers.plain",
        delta=numbers.signed(effect.delta),
        control=numbers.signed(effect.control_delta),
        net=numbers.signed(effect.net_delta),
        interval=numbers.interval(effect.low, effect.high),
        p=numbers.equals("p", effect.p),
        q=numbers.equals("q", effect.q),
    )
    tested = effect.net_delta if chapter.group.has_control else effect.delta
    if effect.q < chapter.group.alpha:
        direction = say("direction.up" if tested > 0 else "direction.down")
        return say("target.yes", **values, numbers=shown, direction=direction)
    k, n = nonzero_prompts(cell, metric), cell.n_prompts
    differ = say("differ.net" if chapter.group.has_control else "differ.plain", k=k, n=n)
    return say("target.no", **values, numbers=shown, differ=differ)


def _replication(chapter: Chapter) -> list[str]:
    found = replication(chapter.group)
    if found is None or not found.n_pairs:
        return []
    sentence = chapter.say(
        "replication",
        heads=found.n_heads,
        effect=chapter.effect_name,
        pairs=found.n_pairs,
        same=found.n_same_sign,
        ratio=chapter.numbers.score(found.ratio, 2),
    )
    return [chapter.claim([sentence], chapter.cite("sweep"))]


def _modes(chapter: Chapter) -> list[str]:
    say, group, numbers = chapter.say, chapter.group, chapter.numbers
    rows = mode_strengths(group)
    if len(group.modes) == 1:
        return [chapter.claim([say("mode.single", mode=group.modes[0])])]
    if not rows or not rows[0].n_cells:
        return [chapter.claim([say("mode.incomparable")])]
    most = max(row.n_significant for row in rows)
    best = [row for row in rows if row.n_significant == most]
    counts = say.listed([f"`{row.mode}` {row.n_significant} / {row.n_tests}" for row in rows])
    cited = [chapter.cite("modes.all", code(row.mode)) for row in best]
    if not most:
        sized = [row for row in rows if not math.isnan(row.median_size)]
        if not sized:
            return [chapter.claim([say("mode.incomparable")])]
        top = max(sized, key=lambda row: row.median_size)
        by_chance = chance(chapter, common_cells(group, top.mode))
        size = numbers.score(top.median_size, 2)
        sentence = say("mode.none", mode=top.mode, size=size, chance=by_chance)
        cited = [chapter.cite("modes.all", code(top.mode))]
    elif len(best) > 1:
        sentence = say("mode.tie", modes=say.listed([code(row.mode) for row in best]), counts=counts)
    else:
        sentence = say("mode.best", mode=best[0].mode, counts=counts)
    lines = [chapter.claim([sentence], *cited)]
    moved = [row for row in rows if not math.isnan(row.kl_nats)]
    if moved:
        top = max(moved, key=lambda row: row.kl_nats)
        sentences = [say("mode.kl", mode=top.mode, kl=numbers.nats(top.kl_nats))]
        if top.control_kl_nats > 0:
            ratio = numbers.score(top.kl_nats / top.control_kl_nats, 2)
            sentences.append(say("mode.kl.control", kl=numbers.nats(top.control_kl_nats), ratio=ratio))
        lines.append(chapter.claim(sentences, chapter.cite("modes.all", code(top.mode))))
    return lines


def _combinations(chapter: Chapter) -> list[str]:
    say, group, numbers = chapter.say, chapter.group, chapter.numbers
    rows = synergy_rows(group)
    if not rows:
        return [chapter.claim([say("sets.none.sentence")])]
    words = [one.verdict for one in rows]
    n = {word: words.count(word) for word in ("Yes", "No", "undetermined", "no effect")}
    sentences = [
        say(
            "sets.verdicts", n=len(rows), yes=n["Yes"], no=n["No"], open=n["undetermined"],
            nothing=n["no effect"], alpha=f"{group.alpha:g}",
        )
    ]  # fmt: skip
    if n["undetermined"]:
        sentences.append(say("sets.open"))
    sentences += _synergy_power(chapter, rows)
    lines = [chapter.claim(sentences, chapter.cite("sets"))]
    shown = chapter.table_of("sets")
    for one in rows:
        if one.verdict != "Yes":
            continue
        name = chapter.row_name(one.cell, one.metric)
        text = say(
            "sets.yes",
            where=name,
            kind=say("sets.positive" if one.value > 0 else "sets.negative"),
            value=numbers.signed(one.value),
            interval=numbers.interval(one.low, one.high),
            p=numbers.equals("p", one.p),
            q=numbers.equals("q", one.q),
        )
        lines.append(chapter.claim([text], chapter.cite("sets", name if shown.has(name) else None)))
    return lines


def _synergy_power(chapter: Chapter, rows: list[SynergyRow]) -> list[str]:
    """The synergy that would have been found, on the emotion's metrics, in the median over sets."""
    say, group, sentences = chapter.say, chapter.group, []
    for metric in (group.emotion_readout, group.emotion_metric):
        sizes = [one.detectable for one in rows if one.metric == metric]
        known = [size for size in sizes if size > 0]
        if metric is not None and known:
            size = chapter.numbers.size(statistics.median(known))
            sentences.append(say("sets.power", metric=code(metric), size=size, n=group.n_confirmation))
    return sentences


def _limits(chapter: Chapter) -> list[str]:
    say, group = chapter.say, chapter.group
    settings = group.settings
    lines = [
        chapter.claim(
            [
                say(
                    "limit.n",
                    n=group.n_confirmation,
                    samples=settings.get("samples"),
                    seed=settings.get("seed"),
                )
            ],
            chapter.cite("settings", say("set.n_confirmation_prompts")),
        )
    ]
    missing = len(METRICS) - len(group.measured)
    if missing:
        sentence = say("limit.unmeasured", n=missing, total=len(METRICS))
        tables = [chapter.cite(key) for key in ("main", "goemotions") if chapter.has_table(key)]
        lines.append(chapter.claim([sentence], *tables))
    if not group.has_control:
        lines.append(chapter.claim([say("limit.control")], chapter.cite("settings", say("set.control"))))
    return lines
