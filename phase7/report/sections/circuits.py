"""Which circuit of a head to look at next: what the modes say, what the head promotes, and its paths."""

from __future__ import annotations

import math

from phase7.findings.facts import circuit
from phase7.findings.lens import Lens, lens_of, most_emotional
from phase7.report.chapter import Chapter
from phase7.report.escape import code, escape
from phase7.report.sections.paths import paths
from phase7.report.tables import Row

_N_TOKENS = 6
_N_QUOTED = 3


def circuits(chapter: Chapter) -> tuple[list[str], list[str]]:
    """Tables of OV tokens with what the modes say of each head and of its paths, and the sentences."""
    say, group = chapter.say, chapter.group
    run = {label for label, _ in group.confirmed}
    heads = [h for h in dict.fromkeys([*group.strongest, *group.target_heads]) if h in run]
    readings = {label: circuit(group, label) for label in heads}
    lenses = {label: lens_of(group, label) for label in heads}
    lines = []
    table = _table(chapter, heads, lenses)
    for kind in ("ov", "qk", "fixed", "unknown"):
        named = [label for label in heads if readings[label][0] == kind]
        if named:
            listed = say.listed([code(label) for label in named])
            sentence = say("circuit.some", heads=listed, reading=say(f"reading.{kind}"))
            lines.append(chapter.claim([sentence], *(chapter.cite("ov", code(h)) for h in named)))
    if not lines:
        cited = [chapter.cite("ov")] if heads else []
        lines.append(chapter.claim([say("circuit.no_basis")], *cited))
    blocks, measured = paths(chapter)
    return [*table, *blocks], [*lines, _quoted(chapter, heads, lenses), *measured]


def _table(chapter: Chapter, heads: list[str], lenses: dict[str, Lens]) -> list[str]:
    """The table of some heads and its note; nothing without heads."""
    say, group = chapter.say, chapter.group
    if not heads:
        return []
    with_words = any(not math.isnan(lens.z) for lens in lenses.values())
    words = ["emotion_z", "emotion_rank"] if with_words else []
    header = [say(key) for key in ("head", *words, "promoted", "suppressed", "acting", "lead")]
    rows = []
    for label in heads:
        kind, acting = circuit(group, label)
        lens = lenses[label]
        cells = (
            code(label),
            *(_standing(chapter, lens) if with_words else ()),
            *(say.listed(one) or say("not_measured") for one in _tokens(chapter, lens)),
            say.listed([code(mode) for mode in acting]) or say("none"),
            say(f"circuit.{kind}"),
        )
        rows.append(Row(name=code(label), cells=cells))
    notes = [say("note.ov"), say("note.ov.tokens"), say("note.circuit")]
    if with_words:
        notes.insert(1, say("note.ov.words", emotion=escape(group.emotion), n=_n_heads(chapter)))
    table = chapter.table("ov", say("c.ov"), header, rows, n_left=len(header))
    return [table, say.joined(notes)]


def _quoted(chapter: Chapter, heads: list[str], lenses: dict[str, Lens]) -> str:
    """The first tokens of the head that promotes the emotion's words most."""
    say = chapter.say
    label = most_emotional(heads, lenses)
    if label is None:
        return chapter.claim([say("circuit.no_ov")])
    lens, sentences = lenses[label], []
    up, down = (say.listed(one[:_N_QUOTED]) for one in _tokens(chapter, lens))
    if not math.isnan(lens.z):
        z, rank = _standing(chapter, lens)
        emotion = escape(chapter.group.emotion)
        sentences.append(say("circuit.words", label=code(label), emotion=emotion, z=z, rank=rank))
    sentences.append(say("circuit.tokens", label=code(label), up=up, down=down))
    return chapter.claim(sentences, chapter.cite("ov", code(label)))


def _standing(chapter: Chapter, lens: Lens) -> tuple[str, str]:
    """The z-score and the rank among all heads, as they are written."""
    if math.isnan(lens.z):
        return (chapter.say("not_measured"),) * 2
    return chapter.numbers.signed(lens.z, 2), f"{lens.rank:.0f} / {_n_heads(chapter)}"


def _n_heads(chapter: Chapter) -> int:
    sizes = chapter.group.main.sizes
    return sizes["layer"] * sizes["head"]


def _tokens(chapter: Chapter, lens: Lens) -> tuple[list[str], list[str]]:
    """Promoted and suppressed tokens with their scores, safe."""
    found = [
        [f"“{escape(token)}” ({chapter.numbers.signed(score, 2)})" for token, score in some[:_N_TOKENS]]
        for some in (lens.promoted, lens.suppressed)
    ]
    return found[0], found[1]
