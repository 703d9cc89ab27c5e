"""A few generated texts side by side, chosen by a stated rule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import xarray as xr

from phase7.effects.texts import SWEPT_TEXTS
from phase7.findings.cells import Cell
from phase7.findings.group import Group
from phase7.report.chapter import Chapter
from phase7.report.differences import first_difference, shared_characters, window
from phase7.report.escape import code, escape
from phase7.report.medium import Drawer, ShownText
from phase7.report.sections.comparison import introduction
from phase7.report.tables import Row

N_CHANGED, N_UNCHANGED = 4, 1

Texts = npt.NDArray[np.object_]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Arms:
    """Texts [prompt, sample] of the prompts that the cell was tested on; control may be absent."""

    prompts: list[int]
    baseline: Texts
    patched: Texts
    control: Texts | None

    @property
    def changed(self) -> npt.NDArray[np.bool_]:
        """Whether patched and baseline differ, [prompt, sample]."""
        return np.asarray(self.patched != self.baseline, dtype=bool)


def render(chapter: Chapter) -> list[str]:
    """How many texts changed, the rule, and the chosen texts."""
    say, group, cell = chapter.say, chapter.group, chapter.group.target_cell
    data = group.child("texts")
    if cell is None or data is None or group.target not in data["head_set"].values:
        return [say("texts.none")]
    arms = _arms(group, cell, data)
    metric = choice_metric(group)
    chosen = _chosen(arms, cell, metric)
    header = [say("prompt"), say("baseline"), say("patched")]
    header += [say("control")] if arms.control is not None else []
    shown = [_shown(chapter, arms, cell, metric, place) for place in chosen]
    rows = [_row(chapter, one) for one in shown]
    caption = say("c.texts", label=chapter.label(cell.label), mode=cell.mode)
    table = chapter.table("texts", caption, header, rows, n_left=len(header))
    browser = chapter.medium.browser(_drawers(chapter, data, metric), say)
    return [
        say.joined([introduction(chapter, cell), _count(chapter, arms)]),
        say("texts.rule", metric=code(metric), n=N_CHANGED, m=N_UNCHANGED),
        chapter.medium.texts(chapter.table_of("texts"), shown, say) or table,
        *([] if browser is None else [browser]),
    ]


def _drawers(chapter: Chapter, data: xr.Dataset, metric: str) -> Iterator[Drawer]:
    """The texts of every tested cell in the order of the cells, then of the swept, strongest first."""
    group, swept = chapter.group, chapter.group.child(SWEPT_TEXTS)
    yield from _drawers_of(chapter, group.confirmed.values(), data, metric, "texts.drawer")
    if swept is not None:
        strongest = sorted(group.sweep.values(), key=lambda cell: -_size(cell, metric))
        yield from _drawers_of(chapter, strongest, swept, metric, "texts.drawer.swept")


def _drawers_of(
    chapter: Chapter, cells: Iterable[Cell], data: xr.Dataset, metric: str, name: str
) -> Iterator[Drawer]:
    labels = set(map(str, data["head_set"].values))
    for cell in cells:
        if cell.label not in labels or not any(cell.prompts()):
            continue
        arms = _arms(chapter.group, cell, data)
        n = len(arms.prompts)
        yield Drawer(
            name=chapter.say(name, label=chapter.label(cell.label), mode=cell.mode, n=n),
            texts=partial(_every, chapter, arms, cell, metric),
            n=n,
        )


def _size(cell: Cell, metric: str) -> float:
    """How far a cell moved a metric; 0 where that was not measured."""
    return float(np.nan_to_num(abs(cell.tested_value("delta", metric))))


def _every(chapter: Chapter, arms: _Arms, cell: Cell, metric: str) -> list[ShownText]:
    return [_shown(chapter, arms, cell, metric, place) for place in range(len(arms.prompts))]


def choice_metric(group: Group) -> str:
    """The metric that chooses texts: the emotion's own where measured, else the first measured."""
    wanted = (group.emotion_metric, *group.key_metrics, *group.measured, "sentiment_positive")
    return next(m for m in wanted if m and (m in group.measured or not group.measured))


def _arms(group: Group, cell: Cell, data: xr.Dataset) -> _Arms:
    tested = [i for i, measured in enumerate(cell.prompts()) if measured]
    here = data.sel(head_set=cell.label, mode=cell.mode, prompt=[group.prompts[i] for i in tested])
    tables = {}
    for name in ("baseline_text", "patched_text", "control_text"):
        if name in here:
            tables[name] = here[name].transpose("prompt", "sample").values.astype(object)
    control = tables.get("control_text") if group.has_control else None
    return _Arms(
        prompts=tested,
        baseline=tables["baseline_text"],
        patched=tables["patched_text"],
        control=control,
    )


def _chosen(arms: _Arms, cell: Cell, metric: str) -> list[int]:
    """Places in `arms`: changed ones by |patched - baseline|, then unchanged ones."""
    scores = cell.scores("patched", metric) - cell.scores("baseline", metric)
    size = np.nan_to_num(np.abs(scores[arms.prompts]))
    changed = arms.changed.any(axis=1)
    moved = sorted(np.flatnonzero(changed), key=lambda i: (-size[i], i))
    return [*map(int, moved[:N_CHANGED]), *map(int, np.flatnonzero(~changed)[:N_UNCHANGED])]


def _shown(chapter: Chapter, arms: _Arms, cell: Cell, metric: str, place: int) -> ShownText:
    """One prompt's texts: of the first sample that differs, else of the first."""
    say, group, numbers = chapter.say, chapter.group, chapter.numbers
    differs = np.flatnonzero(arms.changed[place])
    sample = int(differs[0]) if differs.size else 0
    index = arms.prompts[place]
    before, after = (float(cell.scores(name, metric)[index]) for name in ("baseline", "patched"))
    others = [(say("patched"), str(arms.patched[place, sample]))]
    if arms.control is not None:
        others.append((say("control"), str(arms.control[place, sample])))
    return ShownText(
        name=say("texts.prompt", prompt=group.prompts[index], sample=sample),
        score=f"{code(metric)} {numbers.score(before)} → {numbers.score(after)}",
        prompt=group.prompt_texts[index],
        baseline=str(arms.baseline[place, sample]),
        others=tuple(others),
    )


def _row(chapter: Chapter, shown: ShownText) -> Row:
    say, baseline = chapter.say, shown.baseline
    prompt = f"{shown.name}<br>{_window(chapter, shown.prompt, None)}<br>{shown.score}"
    patched = shown.others[0][1]
    cells = [prompt, _window(chapter, baseline, first_difference(baseline, patched))]
    for _, text in shown.others:
        at = first_difference(text, baseline)
        cells.append(say("texts.unchanged") if text == baseline else _window(chapter, text, at))
    return Row(name=shown.name, cells=tuple(cells))


def _window(chapter: Chapter, text: str, at: int | None) -> str:
    """The text, escaped, cut around the mark where it is long."""
    say = chapter.say
    if not text:
        return f"<b>▶</b>{say('texts.empty')}" if at is not None else say("texts.empty")
    start, stop = window(text, at)
    head = "… " if start else ""
    tail = say("texts.cut", n=f"{len(text):,}") if stop - start < len(text) else ""
    if at is None:
        return head + escape(text[start:stop]) + tail
    return f"{head}{escape(text[start:at])}<b>▶</b>{escape(text[at:stop])}{tail}"


def _count(chapter: Chapter, arms: _Arms) -> str:
    changed = arms.changed
    if not changed.any():
        return chapter.say("texts.count.none", total=changed.size)
    prefixes = [
        shared_characters(str(one), str(two))
        for one, two in zip(arms.baseline[changed], arms.patched[changed], strict=True)
    ]
    return chapter.say(
        "texts.count",
        total=changed.size,
        changed=int(changed.sum()),
        prefix=f"{np.median(prefixes):g}",
    )
