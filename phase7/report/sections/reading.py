"""What the words, signs and marks of the report mean."""

from __future__ import annotations

from phase7.report.chapter import Chapter, Report
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
    items += dict.fromkeys(text for chapter in chapters for text in _looks(chapter))
    if any(chapter.group.settings.get("discovery_overlaps_confirmation") for chapter in chapters):
        items.append(say("read.overlap"))
    items.append(say(report.medium.note))
    return ["\n".join(f"- {item}" for item in items)]


def _looks(chapter: Chapter) -> list[str]:
    """What tests mean that were made at one look of several; nothing where there was only one."""
    looks = chapter.group.settings.get("looks")
    if not looks:
        return []
    return [
        chapter.say(
            "read.looks",
            looks=chapter.say.listed([str(n) for n in looks["prompts"]]),
            n=chapter.group.n_confirmation,
            share=f"{100 * looks['share']:.1f}",
        )
    ]
