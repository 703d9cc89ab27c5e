"""What the words, signs and marks of the report mean."""

from __future__ import annotations

from phase7.report.chapter import Report
from phase7.report.escape import code, escape


def render(report: Report) -> list[str]:
    """A list of explanations; those on the split and on figures only where they apply."""
    say, chapters = report.say, report.chapters
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
    items.append(say(report.medium.note))
    return ["\n".join(f"- {item}" for item in items)]
