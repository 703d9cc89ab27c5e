"""Does the text still read: the fluency guards of the confirmed heads and sets."""

from __future__ import annotations

from phase7.findings.guards import Guarded, guarded, has_guards, reads_otherwise
from phase7.findings.readouts import sets_by_size
from phase7.report.chapter import Chapter
from phase7.report.escape import code
from phase7.report.tables import Row


def part(chapter: Chapter) -> list[str]:
    """What the guards are, which heads and sets leave the baseline's range, and a table."""
    say, group = chapter.say, chapter.group
    if not has_guards(group):
        return []
    left = [chapter.label(label) for label in group.labels if reads_otherwise(group, label)]
    told = say("guards.left", labels=say.listed(left)) if left else say("guards.nobody")
    wanted = [*sets_by_size(group), group.target, *group.strongest, *group.target_heads]
    rows = [_row(chapter, one) for label in dict.fromkeys(wanted) for one in guarded(group, label)]
    header = [say("heads")]
    header += [say(f"guards.{key}") for key in ("name", "baseline", "range", "patched", "kept")]
    caption = say("c.guards", mode=group.mode, stage=chapter.stage_name)
    table = [chapter.table("guards", caption, header, rows, n_left=2)] if rows else []
    return [chapter.subheading("h.guards"), say.joined([say("guards.what"), told]), *table]


def sentence(chapter: Chapter, label: str) -> list[str]:
    """That a set's texts no longer read as the baseline's, and by which guard; nothing where they do."""
    say, numbers = chapter.say, chapter.numbers
    left = [one for one in guarded(chapter.group, label) if not one.is_kept]
    if not left:
        return []
    which = [
        say(
            "guards.value", guard=code(one.guard), value=numbers.score(one.patched),
            range=_range(chapter, one),
        )
        for one in left
    ]  # fmt: skip
    return [say("guards.sentence", which=say.listed(which))]


def _row(chapter: Chapter, one: Guarded) -> Row:
    say, numbers = chapter.say, chapter.numbers
    label = chapter.label(one.label)
    return Row(
        name=say("where.guard", label=label, guard=code(one.guard)),
        cells=(
            label,
            code(one.guard),
            numbers.score(one.baseline),
            _range(chapter, one),
            numbers.score(one.patched),
            say("curve.yes") if one.is_kept else say("curve.no"),
        ),
    )


def _range(chapter: Chapter, one: Guarded) -> str:
    low, high = (chapter.numbers.score(end) for end in (one.low, one.high))
    return f"[{low}, {high}]"
