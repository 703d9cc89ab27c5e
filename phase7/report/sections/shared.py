"""Parts that a report has once: purpose, summary, how to read, reproducibility."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phase7.findings.facts import count_tests, hits
from phase7.report.chapter import Chapter, Page
from phase7.report.escape import code, escape
from phase7.report.sections.discussion import headline
from phase7.report.tables import Row


def purpose(page: Page, chapters: Sequence[Chapter]) -> list[str]:
    """What the report asks, and the answer of each group."""
    say = page.say
    groups = [chapter.group for chapter in chapters]
    emotions = list(dict.fromkeys(escape(group.emotion) for group in groups))
    models = list(dict.fromkeys(escape(group.model) for group in groups))
    text = say("purpose", emotions=say.listed(emotions), models=say.listed(models))
    controlled = all(group.has_control for group in groups)
    blocks = [f"## {say('h.purpose')}", text]
    blocks.append(say("purpose.control" if controlled else "purpose.no_control"))
    if len(chapters) == 1:
        blocks.append(say("headline", group=chapters[0].name, text=headline(chapters[0])))
    return blocks


def summary(page: Page, chapters: Sequence[Chapter]) -> list[str]:
    """A row for each group; only where there are several."""
    if len(chapters) < 2:
        return []
    say = page.say
    keys = ("model", "emotion", "target_heads", "n_prompts")
    header = [say(key if key == "n_prompts" else f"set.{key}") for key in keys]
    header += [
        "sentiment",
        "politeness",
        say("emotion_metric"),
        say("n_significant"),
        say("largest"),
    ]
    rows = [_summary_row(chapter, i) for i, chapter in enumerate(chapters, 1)]
    alpha = f"{chapters[0].group.alpha:g}"
    effects = list(dict.fromkeys(chapter.effect_name for chapter in chapters))
    return [
        f"## {say('h.summary')}",
        page.table("summary", "S", say("c.summary"), header, rows, n_left=3),
        say("summary", effect=" / ".join(effects), alpha=alpha),
    ]


def _summary_row(chapter: Chapter, index: int) -> Row:
    group, say, cell = chapter.group, chapter.say, chapter.group.target_cell
    values = []
    metrics = [*group.key_metrics, *[None] * (3 - len(group.key_metrics))]
    for metric in metrics:
        if cell is None or metric is None:
            values.append(say("not_run" if cell is None else "not_measured"))
            continue
        effect = cell.effect(metric)
        tested = effect.net_delta if group.has_control else effect.delta
        name = f" ({code(metric)})" if metric not in ("sentiment_positive", "politeness") else ""
        values.append(chapter.starred(tested, effect.q) + name)
    cells = list(group.confirmed.values())
    found = hits(group, cells)
    top = chapter.row_name(found[0].cell, found[0].metric) if found else say("none")
    return Row(
        name=chapter.name,
        cells=(
            f"[{escape(group.model)}](#{anchor(index)})",
            escape(group.emotion),
            chapter.label(group.target),
            str(group.n_confirmation),
            *values,
            f"{len(found)} / {count_tests(cells)}",
            top,
        ),
    )


def anchor(index: int) -> str:
    """HTML id of the `index`-th group's chapter."""
    return f"group-{index}"


def reading(page: Page, chapters: Sequence[Chapter]) -> list[str]:
    """What the words, signs and marks mean."""
    say = page.say
    own = dict.fromkeys(
        say(
            "read.own.fallback" if metric.endswith("_keywords") else "read.own",
            emotion=escape(chapter.group.emotion),
            metric=code(metric),
        )
        for chapter in chapters
        if (metric := chapter.group.emotion_metric) is not None
    )
    keys = ["delta", "statistics", "rounding", "missing", "heads", "modes"]
    items = [say(f"read.{key}") for key in keys]
    items.insert(1, say("read.metrics", own=say.listed(list(own)) or say("none")))
    if any(chapter.group.sweep for chapter in chapters):
        items.append(say("read.split"))
    if any(chapter.group.settings.get("discovery_overlaps_confirmation") for chapter in chapters):
        items.append(say("read.overlap"))
    items.append(say(page.medium.note))
    return [f"## {say('h.reading')}", "\n".join(f"- {item}" for item in items)]


def reproducibility(
    page: Page, chapters: Sequence[Chapter], record: Mapping[str, Any], attrs: Mapping[Any, Any]
) -> list[str]:
    """Seed, versions, fingerprints, self-check, scorers, and the family of q."""
    say = page.say
    header = (say("item"), say("value"))
    rows = _run_rows(page, record, attrs)
    blocks = [f"## {say('h.reproducibility')}"]
    blocks.append(page.table("run", "R", say("c.run"), header, rows, n_left=2))
    if not record:
        blocks.append(say("no_provenance"))
    described = {
        repr(sorted(one.items(), key=repr)): one
        for chapter in chapters
        for one in chapter.group.settings.get("scorers") or ()
    }
    if described:
        names = ("name", "version", "metrics", "description", "quality")
        scorers = [_scorer(page, i, one) for i, one in enumerate(described.values())]
        caption = say("c.scorers")
        blocks.append(page.table("scorers", "R", caption, [say(n) for n in names], scorers, n_left=5))
    families = [
        say(
            "note.family",
            family=escape(str(chapter.group.settings.get("fdr_family", ""))),
            tests=f"{count_tests(chapter.group.confirmed.values()):,}",
            group=chapter.name,
        )
        for chapter in chapters
    ]
    return [*blocks, "\n".join(f"- {family}" for family in families)]


def _run_rows(page: Page, record: Mapping[str, Any], attrs: Mapping[Any, Any]) -> list[Row]:
    say = page.say

    def plain(value: object) -> str:
        return say("none") if value is None else escape(str(value))

    rows = [
        _item(say("run.profile"), plain(attrs.get("profile"))),
        _item(say("run.schema"), plain(attrs.get("schema_version"))),
    ]
    if not record:
        return rows
    rows.append(_item(say("run.seed"), plain(record.get("seed"))))
    for name, model in (record.get("models") or {}).items():
        facts = {key: plain(model.get(key)) for key in ("source", "revision", "fingerprint")}
        row_name = say("run.model", name=escape(str(name)))
        rows.append(_item(row_name, say("run.model.value", **facts)))
    check = record.get("self_check") or {}
    counts = {key: plain(check.get(key)) for key in ("batches", "rows", "failures")}
    rows.append(_item(say("run.self_check"), say("run.self_check.value", **counts)))
    rows.append(_item(say("run.packages"), _listed(record.get("packages") or {})))
    rows.append(_item(say("run.machine"), _listed(record.get("machine") or {})))
    rows.append(_item(say("run.git_commit"), plain(record.get("git_commit"))))
    return rows


def _item(name: str, value: str) -> Row:
    """One row; `value` is foreign, except where it is a phrase with safe values in it."""
    return Row(name=name, cells=(name, value))


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(escape(f"{k} {v}") for k, v in values.items() if v is not None)


def _scorer(page: Page, index: int, one: Mapping[str, Any]) -> Row:
    quality = one.get("quality") or {}
    measured = ", ".join(f"{escape(str(k))} {_quality(v)}" for k, v in quality.items())
    metrics = [str(metric) for metric in one.get("metrics") or ()]
    name = escape(str(one.get("name")))
    return Row(
        name=f"{index} {name}",
        cells=(
            name,
            escape(str(one.get("version"))),
            page.say.listed([code(metric) for metric in metrics]),
            escape(str(one.get("description"))),
            measured or page.say("not_measured"),
        ),
    )


def _quality(value: object) -> str:
    if isinstance(value, (float, np.floating)):
        return f"{value:.3f}".replace("-", "−")
    return escape(str(value))
