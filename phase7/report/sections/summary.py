"""A table of all groups, a row each, where the report has several."""

from __future__ import annotations

from phase7.findings.facts import count_tests, hits
from phase7.report.chapter import Chapter, Report
from phase7.report.escape import code, escape
from phase7.report.tables import Row


def render(report: Report) -> list[str]:
    """The table; nothing where there is one group, whose result the purpose names."""
    say, chapters = report.say, report.chapters
    if len(chapters) < 2:
        return []
    keys = ("model", "emotion", "target_heads", "n_prompts")
    header = [say(key if key == "n_prompts" else f"set.{key}") for key in keys]
    header += [
        "sentiment",
        "politeness",
        say("emotion_metric"),
        say("n_significant"),
        say("largest"),
    ]
    rows = [_row(chapter) for chapter in chapters]
    alpha = f"{chapters[0].group.alpha:g}"
    effects = list(dict.fromkeys(chapter.effect_name for chapter in chapters))
    return [
        report.table("summary", say("c.summary"), header, rows, n_left=3),
        say("summary", effect=" / ".join(effects), alpha=alpha),
    ]


def _row(chapter: Chapter) -> Row:
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
            f"[{escape(group.model)}](#{chapter.anchor})",
            escape(group.emotion),
            chapter.label(group.target),
            str(group.n_confirmation),
            *values,
            f"{len(found)} / {count_tests(cells)}",
            top,
        ),
    )
