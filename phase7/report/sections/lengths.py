"""What is detected after a few and after all generated tokens, and why."""

from __future__ import annotations

import math

import xarray as xr

from phase7.findings.donors import apart_share
from phase7.findings.facts import AtLength, by_length, length_reason, silence, strength
from phase7.report.chapter import Chapter
from phase7.report.escape import code
from phase7.report.sections.modes import chance
from phase7.report.tables import Row


def render(chapter: Chapter) -> list[str]:
    """Target heads by length, all cells by length, KL at the first token, and the reason."""
    say, group = chapter.say, chapter.group
    rows = by_length(group)
    data = group.child("lengths")
    if not rows or data is None:
        return [say("lengths.none")]
    blocks: list[str] = []
    if group.target in data["head_set"].values:
        blocks.append(_target(chapter, data))
    blocks += [
        _all_cells(chapter, rows),
        say("note.lengths", sections=chapter.sections("comparison", "modes", "heads")),
    ]
    if group.target_cell is not None:
        blocks += [_kl(chapter), say("note.kl")]
    return [*blocks, reason(chapter, rows), *chapter.figures_of("lengths")]


def reason(chapter: Chapter, rows: list[AtLength]) -> str:
    """The computed sentences on what the length buys, with their citations."""
    say, numbers = chapter.say, chapter.numbers
    first, last = rows[0], rows[-1]
    values: dict[str, object] = {
        "first": first.length,
        "last": last.length,
        "changed1": numbers.share(first.changed),
        "changed2": numbers.share(last.changed),
        "n1": first.n_significant,
        "n2": last.n_significant,
        "tests": last.n_tests,
        "zero": numbers.share(first.zero_share),
        "zero2": numbers.share(last.zero_share),
        "size1": numbers.score(first.median_size, 2),
        "size2": numbers.score(last.median_size, 2),
    }
    why = length_reason(rows)
    sentences = [say("length.growth", **values)] if why != "untested" else []
    sentences.append(say(f"length.{why}", **values))
    if why == "nothing":
        sentences += _silence(chapter, last, values)
    citations = [chapter.cite("lengths.all", _name(chapter, row, last.length)) for row in (first, last)]
    whole = strength("", list(chapter.group.confirmed.values()), chapter.group.alpha)
    lines = [chapter.claim(sentences, *citations)]
    if not math.isnan(whole.kl_nats):
        kl = [say("length.kl", kl=numbers.nats(whole.kl_nats))]
        if not math.isnan(whole.control_kl_nats):
            kl.append(say("length.kl.control", kl=numbers.nats(whole.control_kl_nats)))
        lines.append(chapter.claim(kl, *_kl_citation(chapter)))
    return "\n".join(lines)


def _silence(chapter: Chapter, last: AtLength, values: dict[str, object]) -> list[str]:
    """Why the full length detects nothing, and how large effects look by chance."""
    say, group = chapter.say, chapter.group
    cells = list(group.confirmed.values())
    apart = apart_share(group, cells)
    values = values | {
        "prompts": group.n_confirmation,
        "alpha": f"{group.alpha:g}",
        "apart": chapter.numbers.share(apart),
    }
    kind = silence(last, apart)
    if kind == "blocked":
        return [say("silence.blocked", **values)]
    compared = "net" if group.has_control else "plain"
    reason = say(f"silence.{kind}.{compared}", **values)
    return [reason, say("length.chance", **values, chance=chance(chapter, cells))]


def _kl_citation(chapter: Chapter) -> list[str]:
    if not chapter.has_table("kl"):
        return []
    return [chapter.cite("kl", chapter.say("kl.mean", n=len(chapter.group.confirmed)))]


def _name(chapter: Chapter, row: AtLength, full: int) -> str:
    return chapter.say("length.all", n=row.length) if row.length == full else str(row.length)


def _all_cells(chapter: Chapter, rows: list[AtLength]) -> str:
    """All confirmed cells by length; of the shorter ones neither texts nor scores are in the store."""
    say, group = chapter.say, chapter.group
    header = ["length", "changed", *(["apart"] if group.has_control else [])]
    header += ["n_significant", "smallest_q", "median_size", "chance_size", "zero_share"]
    full = rows[-1].length
    return chapter.table(
        "lengths.all", say("c.lengths.all"), [say(key) for key in header],
        [_detected(chapter, row, full) for row in rows],
    )  # fmt: skip


def _detected(chapter: Chapter, row: AtLength, full: int) -> Row:
    numbers, name = chapter.numbers, _name(chapter, row, full)
    cells, is_full = list(chapter.group.confirmed.values()), row.length == full
    unknown, tested = chapter.say("not_stored"), row.n_tests > 0
    apart = numbers.share(apart_share(chapter.group, cells)) if is_full else unknown
    return Row(
        name=name,
        cells=(
            name,
            numbers.share(row.changed),
            *([apart] if chapter.group.has_control else []),
            f"{row.n_significant} / {row.n_tests}",
            chapter.q(row.smallest_q),
            numbers.score(row.median_size, 2) if tested else numbers.no_test,
            chance(chapter, cells) if is_full else unknown,
            numbers.share(row.zero_share) if tested else numbers.no_test,
        ),
    )


def _target(chapter: Chapter, data: xr.Dataset) -> str:
    say, group = chapter.say, chapter.group
    here = data.sel(head_set=group.target, mode=group.mode).sortby("length")
    full = int(here["length"].values[-1])
    header = [say("length"), say("changed")]
    for metric in group.key_metrics:
        name = chapter.metric_name(metric)
        header.append(say("of", metric=name, what=chapter.effect_name))
        header.append(say("of", metric=name, what="q"))
    rows = []
    for length in here["length"].values:
        one = here.sel(length=length)
        label = say("length.all", n=length) if length == full else str(length)
        cells = [label, chapter.numbers.share(float(one["changed_share"]))]
        for metric in group.key_metrics:
            delta, q = (
                float(one[f"{group.prefix}{name}"].sel(metric=metric)) for name in ("delta", "q_value")
            )
            cells.append(chapter.numbers.signed(delta))
            cells.append(chapter.q(q, measured=not math.isnan(delta)))
        rows.append(Row(name=label, cells=tuple(cells)))
    caption = say("c.lengths", label=chapter.label(group.target), mode=group.mode)
    return chapter.table("lengths", caption, header, rows)


def _kl(chapter: Chapter) -> str:
    """KL of the target heads in each mode, and the mean over all confirmed cells."""
    say, group, numbers = chapter.say, chapter.group, chapter.numbers
    header = [say("mode"), say("kl"), *([say("control_kl")] if group.has_control else [])]
    rows = []
    for mode in group.modes:
        cell = group.confirmed.get((group.target, mode))
        if cell is None:
            continue
        values = [numbers.nats(cell.mean_over_prompts("kl_first_token"))]
        if group.has_control:
            values.append(numbers.nats(cell.mean_over_prompts("control_kl_first_token")))
        rows.append(Row(name=code(mode), cells=(code(mode), *values)))
    whole = strength("", list(group.confirmed.values()), group.alpha)
    name = say("kl.mean", n=len(group.confirmed))
    control = [numbers.nats(whole.control_kl_nats)] if group.has_control else []
    rows.append(Row(name=name, cells=(name, numbers.nats(whole.kl_nats), *control)))
    return chapter.table("kl", say("c.kl", label=chapter.label(group.target)), header, rows)
