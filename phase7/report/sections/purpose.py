"""What the report asks and, where there is one group or an answer by text, the result in sentences."""

from __future__ import annotations

from phase7.findings.trials import was_asked
from phase7.report.chapter import Report
from phase7.report.escape import escape
from phase7.report.sections import answer
from phase7.report.sections.discussion import headline


def render(report: Report) -> list[str]:
    """Question, control, and the result of a single group, or of each that looked for an answer."""
    say, chapters = report.say, report.chapters
    groups = [chapter.group for chapter in chapters]
    emotions = list(dict.fromkeys(escape(group.emotion) for group in groups))
    models = list(dict.fromkeys(escape(group.model) for group in groups))
    text = say("purpose", emotions=say.listed(emotions), models=say.listed(models))
    controlled = all(group.has_control for group in groups)
    blocks = [text, say("purpose.control" if controlled else "purpose.no_control")]
    for chapter in chapters:
        if len(chapters) == 1 or was_asked(chapter.group):
            text = say.joined([*answer.headline(chapter), headline(chapter)])
            blocks.append(say("headline", group=chapter.name, text=text))
    return blocks
