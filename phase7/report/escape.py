"""Makes foreign text (a model's output, a prompt, a path) safe for a Markdown table cell.

The result is one line that Markdown and HTML show as that text and cannot take for markup. A character
that acts instead of showing (a control character, a bidirectional override) is replaced by its name.
"""

from __future__ import annotations

import re
import unicodedata

#: Characters that mean something to CommonMark, GFM, HTML, templates or LaTeX.
_MARKUP = frozenset("&<>|*_`[]#~$\\{}@^")

#: Joiners inside emoji and several scripts: invisible, harmless, and needed.
_JOINERS = frozenset("\u200c\u200d")
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

#: A word longer than this gets places to break: one endless word would stretch the whole table.
_WORD_CHARACTERS = 32

_CODE = re.compile(r"[\w:,.+\-/]+", re.ASCII)


def escape(text: str) -> str:
    """Make a text safe.

    Parameters
    ----------
    text : str
        Anything.

    Returns
    -------
    str
        One line. Line breaks show as ``↵``, markup characters as HTML entities (which Markdown
        never takes for markup), invisible characters by code point, and long words may break.
    """
    pieces: list[str] = []
    run = 0
    text = text.replace("\r\n", "\n")
    for i, character in enumerate(text):
        run = 0 if character.isspace() else run + 1
        if run > _WORD_CHARACTERS:
            pieces.append("<wbr>")
            run = 1
        before, after = text[max(0, i - 3) : i], text[i + 1 : i + 2]
        if character == "_" and before[-1:].isalnum() and after.isalnum():
            pieces.append(character)  # inside a word it is no markup
        elif (character == "." and before.lower() == "www") or (character == ":" and after == "/"):
            pieces.append(f"&#{ord(character)};")  # would become a link
        else:
            pieces.append(_one(character))
    return "".join(pieces)


def code(text: str) -> str:
    """An identifier in code type: backticks where it is plain, escaped HTML where it is not."""
    short = len(text) <= 2 * _WORD_CHARACTERS
    return f"`{text}`" if short and _CODE.fullmatch(text) else f"<code>{escape(text)}</code>"


def _one(character: str) -> str:
    if character in _MARKUP:
        return f"&#{ord(character)};"
    if character in "\n\r\x0b\x0c\x85\u2028\u2029":
        return "↵ "
    if character == "\t":
        return "→ "
    if character in _JOINERS or unicodedata.category(character) not in _INVISIBLE:
        return character
    if ord(character) < 0x20:
        return chr(0x2400 + ord(character))
    return f"⟨U+{ord(character):04X}⟩"
