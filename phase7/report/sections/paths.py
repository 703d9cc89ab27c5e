"""How the effects of the heads found reach the logits, and what these heads read and write."""

from __future__ import annotations

import math

from phase7.findings.circuit import HeadCircuit, Path, circuits_of, largest_gap, n_prompts
from phase7.findings.lens import Lens, lens_of
from phase7.report.chapter import Chapter
from phase7.report.escape import code, escape
from phase7.report.numbers import tiny
from phase7.report.tables import Row
from phase7.vocabulary.donors import donor_words

_N_TOKENS = 3


def paths(chapter: Chapter) -> tuple[list[str], list[str]]:
    """Tables and figure of the circuit, and a claim for each head; nothing where none was measured."""
    say, group = chapter.say, chapter.group
    found = circuits_of(group)
    if not found:
        return [], []
    lenses = {one.label: lens_of(group, one.label) for one in found}
    data = group.child("circuit")
    assert data is not None  # it has heads
    notes = [
        say(
            "note.paths",
            donor=donor_words(str(group.settings.get("donor", "mean"))),
            words=code(str(data.attrs["words"])),
            steps=data.attrs["n_steps"],
            gap=tiny(largest_gap(group)),
        ),
        say("note.reads"),
    ]
    blocks = [
        _heads(chapter, found, lenses),
        _paths(chapter, found),
        say.joined(notes),
        *chapter.figures_of("circuit"),
    ]
    return blocks, [_claim(chapter, one, lenses[one.label]) for one in found]


def _heads(chapter: Chapter, found: tuple[HeadCircuit, ...], lenses: dict[str, Lens]) -> str:
    """A row for each head found."""
    say, numbers = chapter.say, chapter.numbers
    keys = ("head", "effect", "share", "readers", "reads", "asks", "writes")
    header = [say(key if key == "head" else f"circuit.{key}") for key in keys]
    rows = []
    for one in found:
        cells = (
            code(one.label),
            f"{numbers.signed(one.total)} {numbers.interval(one.low, one.high)}",
            say("circuit.unclear") if math.isnan(one.share) else numbers.share(one.share),
            say.listed([_reader(chapter, path) for path in one.through]) or say("none"),
            say.listed(_read(chapter, one)) or say("none"),
            say.listed([_quoted(token) for token, _ in one.asked[:_N_TOKENS]]) or say("not_measured"),
            say.listed(_written(lenses[one.label])) or say("not_measured"),
        )
        rows.append(Row(name=code(one.label), cells=cells))
    caption = say("c.circuit", n=n_prompts(chapter.group))
    return chapter.table("circuit", caption, header, rows, n_left=len(header))


def _paths(chapter: Chapter, found: tuple[HeadCircuit, ...]) -> str:
    """A row for each path that is named."""
    say, numbers = chapter.say, chapter.numbers
    header = [say("circuit.path"), say("circuit.part")]
    header += [say(key, effect=say("circuit.part")) for key in ("ci", "p", "q")]
    rows = [
        Row(
            name=_arrow(chapter, path),
            cells=(
                _arrow(chapter, path),
                numbers.signed(path.delta),
                numbers.interval(path.low, path.high),
                numbers.p(path.p),
                chapter.q(path.q),
            ),
        )
        for one in found
        for path in (one.direct, *one.through)
    ]
    return chapter.table("paths", say("c.paths"), header, rows, n_left=1)


def _claim(chapter: Chapter, one: HeadCircuit, lens: Lens) -> str:
    """What was measured of one head, with the rows that show it."""
    say, numbers, label = chapter.say, chapter.numbers, code(one.label)
    total = numbers.signed(one.total)
    interval = numbers.interval(one.low, one.high)
    if math.isnan(one.share):
        sentences = [say("paths.unclear", label=label, total=total, interval=interval)]
    else:
        low, high = numbers.share(one.share_low), numbers.share(one.share_high)
        share = numbers.share(one.share)
        sentences = [
            say(
                "paths.share",
                label=label,
                total=total,
                interval=interval,
                share=share,
                low=low,
                high=high,
            )
        ]
    if one.through:
        readers = say.listed([_reader(chapter, path) for path in one.through])
        sentences.append(say("paths.through", readers=readers))
    else:
        sentences.append(say("paths.last", label=label))
    if one.read:
        sentences.append(say("paths.reads", label=label, tokens=say.listed(_read(chapter, one))))
    if lens.promoted:
        sentences.append(say("paths.writes", tokens=say.listed(_written(lens))))
    cited = [chapter.cite("circuit", label)]
    cited += [chapter.cite("paths", _arrow(chapter, path)) for path in (one.direct, *one.through)]
    return chapter.claim(sentences, *cited)


def _arrow(chapter: Chapter, path: Path) -> str:
    return chapter.say("circuit.arrow", head=code(path.head), reader=escape(path.label))


def _reader(chapter: Chapter, path: Path) -> str:
    """A reader with its part of the effect, and a star where its q is below the level."""
    return f"{escape(path.label)} ({chapter.starred(path.delta, path.q)})"


def _read(chapter: Chapter, one: HeadCircuit) -> list[str]:
    share = chapter.numbers.share
    return [f"{_quoted(token)} ({share(a)} / {share(b)})" for token, a, b in one.read[:_N_TOKENS]]


def _written(lens: Lens) -> list[str]:
    return [_quoted(token) for token, _ in lens.promoted[:_N_TOKENS]]


def _quoted(token: str) -> str:
    return f"“{escape(token)}”"
