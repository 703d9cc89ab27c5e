"""One prompt's generated texts side by side, with the words that differ marked.

Long texts are cut to a window around their first difference.
"""

from __future__ import annotations

from phase7.report.differences import changed_spans, first_difference, window
from phase7.report.html.markup import element, foreign
from phase7.report.language import Language
from phase7.report.medium import ShownText

#: Place of the first difference.
_MARK = '<b class="first">▶</b>'


def article(shown: ShownText, inline: str, say: Language) -> str:
    """One prompt: its text, how the score moved, and the arms.

    Parameters
    ----------
    shown : ShownText
    inline : str
        `shown.score` as HTML.
    say : Language
    """
    prompt = _cut(shown.prompt, say)
    head = element("h5", shown.name) + element("p", prompt, class_="prompt") + element("p", inline)
    patched = shown.others[0][1]
    arms = [_arm(say("baseline"), _spans(shown.baseline, patched, "del", say))]
    for heading, text in shown.others:
        same = text == shown.baseline
        body = say("texts.unchanged") if same else _spans(text, shown.baseline, "ins", say)
        arms.append(_arm(heading, body))
    return element("article", head, element("div", *arms, class_="arms"))


def _arm(heading: str, body: str) -> str:
    return element("div", element("h6", heading), element("p", body, class_="text"))


def _spans(text: str, other: str, tag: str, say: Language) -> str:
    """The text with what `other` lacks in `tag`, and the mark at the first difference."""
    at = first_difference(text, other)
    if not text or at is None:
        return (_MARK if at is not None else "") + _cut(text, say)
    start, stop = window(text, at)
    beside = window(other, first_difference(other, text))
    pieces = ["… "] if start else []
    pieces.append(foreign(text[start:at]) + _MARK)
    # Words before the first difference are the same by its definition: compare from there on.
    rest = other[min(at, beside[1]) : beside[1]]
    for piece, changed in changed_spans(text[at:stop], rest):
        pieces.append(element(tag, foreign(piece)) if changed else foreign(piece))
    if stop - start < len(text):
        pieces.append(say("texts.cut", n=f"{len(text):,}"))
    return "".join(pieces)


def _cut(text: str, say: Language) -> str:
    start, stop = window(text, None)
    tail = say("texts.cut", n=f"{len(text):,}") if stop - start < len(text) else ""
    return (foreign(text[start:stop]) or say("texts.empty")) + tail
