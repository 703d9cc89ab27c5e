"""Markdown tables and safe text.

What enters: numbers and texts, model output included. What leaves: Markdown that no text can break.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence

_LONGEST = 600
#: What Markdown reads inside a table cell or a sentence.
_SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\`*_[]|~$"})


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table; cells must be safe already."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return [*lines, ""]


def safe(text: str) -> str:
    """One line of text that Markdown and HTML show as it is, control characters made visible."""
    shown = "".join(_visible(c) for c in text[:_LONGEST])
    shown = html.escape(shown, quote=False).translate(_SPECIAL).replace("↵", "↵ ")
    return shown + (" …" if len(text) > _LONGEST else "")


def marked(text: str, reference: str) -> str:
    """`text` with ▸ where it first differs from `reference`; unmarked where they are equal."""
    if text == reference:
        return safe(text)
    same = 0
    for a, b in zip(text, reference, strict=False):
        if a != b:
            break
        same += 1
    if same >= _LONGEST:
        return safe(text)
    return safe(text[:same]) + " ▸ " + safe(text[same:])


def number(value: float, digits: int = 3) -> str:
    """A number with fixed digits; NaN is an en dash, infinity its sign."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")


def signed(value: float, digits: int = 3) -> str:
    """A difference with its sign."""
    text = number(value, digits)
    plain = text not in ("–",) and not text.startswith("−") and float(f"{value:.{digits}f}") != 0
    return f"+{text}" if plain else text


def interval(low: float, high: float, digits: int = 3) -> str:
    """``[low, high]``."""
    if math.isnan(low):
        return "–"
    return f"[{signed(low, digits)}, {signed(high, digits)}]"


def probability(p: float) -> str:
    """A p or q value."""
    if math.isnan(p):
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _visible(char: str) -> str:
    if char == "\n":
        return "↵"
    if char.isprintable():
        return char
    return char.encode("unicode_escape").decode()
