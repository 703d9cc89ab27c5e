"""Section 5: a few generated texts side by side, chosen by a stated rule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from phase7.metrics import METRICS
from phase7.report.chapter import Chapter
from phase7.report.escape import code, escape
from phase7.report.sections.comparison import introduction
from phase7.report.tables import Row
from phase7.report.view import Cell, Group

N_CHANGED, N_UNCHANGED = 4, 1

#: Characters of one text that are shown, and how many of them lie before the first difference.
SHOWN, BEFORE = 600, 200

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
    blocks = [chapter.heading(5)]
    data = group.child("texts")
    if cell is None or data is None or group.target not in data["head_set"].values:
        return [*blocks, say("five.none")]
    arms = _arms(group, cell, data)
    metric = choice_metric(group)
    chosen = _chosen(arms, cell, metric)
    header = [say("prompt"), say("baseline"), say("patched")]
    header += [say("control")] if arms.control is not None else []
    rows = [_row(chapter, arms, cell, metric, place) for place in chosen]
    caption = say("c.texts", label=chapter.label(cell.label), mode=cell.mode)
    return [
        *blocks,
        say.joined([introduction(chapter, cell), _count(chapter, arms)]),
        say("five.rule", metric=code(metric), n=N_CHANGED, m=N_UNCHANGED),
        chapter.table("texts", "5", caption, header, rows, n_left=len(header)),
    ]


def choice_metric(group: Group) -> str:
    """The metric that chooses texts: the emotion's own where measured, else the first measured."""
    wanted = (group.emotion_metric, *group.key_metrics, *group.measured, "sentiment_positive")
    return next(m for m in wanted if m and (m in group.measured or not group.measured))


def _arms(group: Group, cell: Cell, data: xr.Dataset) -> _Arms:
    here = data.sel(head_set=cell.label, mode=cell.mode)
    tested = np.isfinite(cell.arrays["patched"]).any(axis=0)
    tables = {}
    for name in ("baseline_text", "patched_text", "control_text"):
        if name in here:
            tables[name] = here[name].transpose("prompt", "sample").values.astype(object)[tested]
    control = tables.get("control_text") if group.has_control else None
    return _Arms(
        prompts=[i for i, one in enumerate(tested) if one],
        baseline=tables["baseline_text"],
        patched=tables["patched_text"],
        control=control,
    )


def _chosen(arms: _Arms, cell: Cell, metric: str) -> list[int]:
    """Places in `arms`: changed ones by |patched - baseline|, then unchanged ones."""
    m = METRICS.index(metric)
    scores = cell.arrays["patched"][m] - cell.arrays["baseline"][m]
    size = np.nan_to_num(np.abs(scores[arms.prompts]))
    changed = arms.changed.any(axis=1)
    moved = sorted(np.flatnonzero(changed), key=lambda i: (-size[i], i))
    return [*map(int, moved[:N_CHANGED]), *map(int, np.flatnonzero(~changed)[:N_UNCHANGED])]


def _row(chapter: Chapter, arms: _Arms, cell: Cell, metric: str, place: int) -> Row:
    say, group, numbers = chapter.say, chapter.group, chapter.numbers
    differs = np.flatnonzero(arms.changed[place])
    sample = int(differs[0]) if differs.size else 0
    index = arms.prompts[place]
    name = say("five.prompt", prompt=group.prompts[index], sample=sample)
    m = METRICS.index(metric)
    before, after = (float(cell.arrays[n][m, index]) for n in ("baseline", "patched"))
    score = f"{code(metric)} {numbers.score(before)} → {numbers.score(after)}"
    prompt = f"{name}<br>{_window(chapter, group.prompt_texts[index], None)}<br>{score}"
    baseline, patched = str(arms.baseline[place, sample]), str(arms.patched[place, sample])
    cells = [prompt, _window(chapter, baseline, first_difference(baseline, patched))]
    others = [patched] if arms.control is None else [patched, str(arms.control[place, sample])]
    for text in others:
        same = text == baseline
        at = first_difference(text, baseline)
        cells.append(say("five.unchanged") if same else _window(chapter, text, at))
    return Row(name=name, cells=tuple(cells))


def first_difference(text: str, other: str) -> int | None:
    """Where `text` first differs from `other`, moved back to the start of that word.

    None where they are equal.
    """
    if text == other:
        return None
    at = shared_characters(text, other)
    while 0 < at < len(text) and not text[at - 1].isspace() and not text[at].isspace():
        at -= 1
    return at


def shared_characters(text: str, other: str) -> int:
    """Leading characters that two texts have in common."""
    pairs = enumerate(zip(text, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(text), len(other)))


def _window(chapter: Chapter, text: str, at: int | None) -> str:
    """The text, escaped, cut around the mark where it is long."""
    say = chapter.say
    if not text:
        return f"<b>▶</b>{say('five.empty')}" if at is not None else say("five.empty")
    start = 0 if at is None or len(text) <= SHOWN else max(0, at - BEFORE)
    stop = min(len(text), start + SHOWN)
    head = "… " if start else ""
    tail = say("five.cut", n=f"{len(text):,}") if stop - start < len(text) else ""
    if at is None:
        return head + escape(text[start:stop]) + tail
    return f"{head}{escape(text[start:at])}<b>▶</b>{escape(text[at:stop])}{tail}"


def _count(chapter: Chapter, arms: _Arms) -> str:
    changed = arms.changed
    if not changed.any():
        return chapter.say("five.count.none", total=changed.size)
    prefixes = [
        shared_characters(str(one), str(two))
        for one, two in zip(arms.baseline[changed], arms.patched[changed], strict=True)
    ]
    return chapter.say(
        "five.count",
        total=changed.size,
        changed=int(changed.sum()),
        prefix=f"{np.median(prefixes):g}",
    )
