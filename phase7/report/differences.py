"""Where two generated texts first differ, and which of their words do.

Long texts are cut to a window around the first difference before their words are compared, so that the
work is bounded.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from functools import lru_cache

#: Characters of one text that are shown, and how many of them lie before the first difference.
SHOWN, BEFORE = 600, 200

#: A word, a run of blanks, or one other character; scripts without blanks go character by character.
_TOKEN = re.compile(r"[A-Za-z0-9\u00c0-\u024f'’]+|\s+|.", re.DOTALL)


@lru_cache(maxsize=4_096)
def first_difference(text: str, other: str) -> int | None:
    """Where `text` first differs from `other`, moved back to the start of that word.

    None where they are equal.
    """
    if text == other:
        return None
    at = shared_characters(text, other)
    while 0 < at < len(text) and not text[at - 1].isspace() and not text[at].isspace():
        at -= 1
    return at


def shared_characters(text: str, other: str) -> int:
    """Leading characters that two texts have in common."""
    pairs = enumerate(zip(text, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(text), len(other)))


def window(text: str, at: int | None) -> tuple[int, int]:
    """First and last place shown of a text whose first difference is at `at` (None: it has none)."""
    start = 0 if at is None or len(text) <= SHOWN else max(0, at - BEFORE)
    return start, min(len(text), start + SHOWN)


@lru_cache(maxsize=4_096)
def changed_spans(text: str, other: str) -> tuple[tuple[str, bool], ...]:
    """Pieces of `text` in order, each with whether `other` lacks it.

    Words are compared, by their longest common runs. The pieces join to `text`. Patches often give the
    same text, so what was compared is kept.
    """
    ours, theirs = _TOKEN.findall(text), _TOKEN.findall(other)
    found: list[tuple[str, bool]] = []
    at = 0
    for start, _, size in SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks():
        for piece, changed in ((ours[at:start], True), (ours[start : start + size], False)):
            if piece:
                found.append(("".join(piece), changed))
        at = start + size
    return tuple(found)
