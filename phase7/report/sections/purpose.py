"""What the report asks and, where there is one group, the answer in a sentence."""

from __future__ import annotations

from phase7.report.chapter import Report
from phase7.report.escape import escape
from phase7.report.sections import answer
from phase7.report.sections.discussion import headline


def render(report: Report) -> list[str]:
    """Question, control, and the result of a single group."""
    say, chapters = report.say, report.chapters
    groups = [chapter.group for chapter in chapters]
    emotions = list(dict.fromkeys(escape(group.emotion) for group in groups))
    models = list(dict.fromkeys(escape(group.model) for group in groups))
    text = say("purpose", emotions=say.listed(emotions), models=say.listed(models))
    controlled = all(group.has_control for group in groups)
    blocks = [text, say("purpose.control" if controlled else "purpose.no_control")]
    if len(chapters) == 1:
        text = say.joined([*answer.headline(chapters[0]), headline(chapters[0])])
        blocks.append(say("headline", group=chapters[0].name, text=text))
    return blocks
