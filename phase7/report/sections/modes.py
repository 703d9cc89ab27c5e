"""The modes compared, on the target heads and over all confirmed cells."""

from __future__ import annotations

import math
from collections.abc import Sequence

from phase7.findings.cells import Cell
from phase7.findings.chance import N_FLIPS, chance_size
from phase7.findings.donors import apart_share
from phase7.findings.facts import Strength, common_cells, mode_strengths
from phase7.findings.ratings import THRESHOLDS, size_word
from phase7.report.chapter import Chapter
from phase7.report.escape import code
from phase7.report.sections.comparison import introduction
from phase7.report.sections.power import chance as by_chance
from phase7.report.tables import Row
from phase7.vocabulary.modes import MODES


def render(chapter: Chapter) -> list[str]:
    """Target heads by mode, in short and in full; then all cells by mode."""
    say, group = chapter.say, chapter.group
    cells = [group.confirmed.get((group.target, mode)) for mode in MODES]
    blocks: list[str] = []
    run = [cell for cell in cells if cell is not None]
    if not run:
        blocks.append(say("no_target"))
    else:
        label = chapter.label(group.target)
        rows = [_short(chapter, mode, cell) for mode, cell in zip(MODES, cells, strict=True)]
        details = [_long(chapter, cell, metric) for cell in run for metric in group.key_metrics]
        blocks += [
            introduction(chapter, run[0]) if group.target_cell is None
            else introduction(chapter, group.target_cell),
            chapter.table("modes", say("c.modes", label=label), _short_header(chapter), rows),
            say("note.size.best"),
            chapter.table(
                "modes.detail", say("c.modes.detail", label=label),
                _long_header(chapter), details, n_left=2,
            ),
            say("note.size", alpha=f"{group.alpha:g}", **THRESHOLDS),
        ]  # fmt: skip
    strengths = mode_strengths(group)
    if strengths and strengths[0].n_cells:
        rows = [_overall(chapter, one) for one in strengths]
        caption = say("c.modes.all")
        blocks += [
            chapter.table("modes.all", caption, _overall_header(chapter), rows),
            say(
                "note.modes.all",
                n=strengths[0].n_cells,
                flips=N_FLIPS,
            ),
            *([say("note.apart")] if group.has_control else []),
        ]
    return blocks


def _short_header(chapter: Chapter) -> list[str]:
    say, group = chapter.say, chapter.group
    kinds = ("delta", "net_delta") if group.has_control else ("delta",)
    names = [
        say("of", metric=chapter.metric_name(metric), what=say(kind))
        for metric in group.key_metrics
        for kind in kinds
    ]
    return [say("mode"), *names, say("size")]


def _short(chapter: Chapter, mode: str, cell: Cell | None) -> Row:
    say, group = chapter.say, chapter.group
    name = code(mode)
    if cell is None:
        return Row(name=name, cells=(name, *[say("not_run")] * (len(_short_header(chapter)) - 1)))
    values: list[str] = []
    for metric in group.key_metrics:
        effect = cell.effect(metric)
        if group.has_control:
            values += [
                chapter.numbers.signed(effect.delta),
                chapter.starred(effect.net_delta, effect.q),
            ]
        else:
            values.append(chapter.starred(effect.delta, effect.q))
    return Row(name=name, cells=(name, *values, _best_size(chapter, cell)))


def _best_size(chapter: Chapter, cell: Cell) -> str:
    """Rating of the key metric with the largest |d_z|, and which it is."""
    say, group = chapter.say, chapter.group
    sizes = {metric: abs(cell.effect(metric).d_z) for metric in group.key_metrics}
    known = {metric: size for metric, size in sizes.items() if not math.isnan(size)}
    if not known:
        measured = any(not math.isnan(cell.effect(m).delta) for m in group.key_metrics)
        return say("no_test" if measured else "not_measured")
    best = max(known, key=lambda metric: known[metric])
    word = say(f"rating.{size_word(cell, best, group.alpha)}")
    return f"{word} ({chapter.metric_name(best)})"


def _long_header(chapter: Chapter) -> list[str]:
    say, effect = chapter.say, chapter.effect_name
    both = [say("control_delta"), say("net_delta")] if chapter.group.has_control else []
    tests = [say(key, effect=effect) for key in ("ci", "p", "q")]
    return [say("mode"), say("metric"), say("delta"), *both, *tests, say("d_z"), say("size")]


def _long(chapter: Chapter, cell: Cell, metric: str) -> Row:
    numbers, effect = chapter.numbers, cell.effect(metric)
    measured = not math.isnan(effect.delta)
    word = size_word(cell, metric, chapter.group.alpha)
    if measured and word == "not measured":
        word = chapter.say("no_test")
    else:
        word = chapter.say(f"rating.{word}")
    both = (effect.control_delta, effect.net_delta) if chapter.group.has_control else ()
    cells = (
        code(cell.mode),
        code(metric),
        numbers.signed(effect.delta),
        *(numbers.signed(value) for value in both),
        numbers.interval(effect.low, effect.high, measured=measured),
        numbers.p(effect.p, measured=measured),
        chapter.q(effect.q, measured=measured),
        numbers.d_z(effect.d_z) if measured else numbers.not_measured,
        word,
    )
    return Row(name=f"{code(cell.mode)}・{code(metric)}", cells=cells)


def _overall_header(chapter: Chapter) -> list[str]:
    tests = ["mode", "n_significant", "median_size", "chance_size"]
    if chapter.group.has_control:
        keys = [*tests, "kl", "control_kl", "changed", "control_changed", "apart"]
    else:
        keys = [*tests, "kl", "changed"]
    return [chapter.say(key) for key in keys]


def _overall(chapter: Chapter, one: Strength) -> Row:
    numbers, group, has_control = chapter.numbers, chapter.group, chapter.group.has_control
    cells = common_cells(group, one.mode)
    size = numbers.no_test if math.isnan(one.median_size) else numbers.score(one.median_size, 2)
    return Row(
        name=code(one.mode),
        cells=(
            code(one.mode),
            f"{one.n_significant} / {one.n_tests}",
            size,
            chance(chapter, cells),
            numbers.nats(one.kl_nats),
            *([numbers.nats(one.control_kl_nats)] if has_control else []),
            numbers.share(one.changed),
            *([numbers.share(one.control_changed)] if has_control else []),
            *([numbers.share(apart_share(group, cells))] if has_control else []),
        ),
    )


def chance(chapter: Chapter, cells: Sequence[Cell]) -> str:
    """The median |d_z| of some cells under random signs, and where 95 % of the flips lie."""
    return by_chance(chapter, chance_size(chapter.group, cells))
