"""Small pieces of HTML, escaped and on one line each.

Markdown passes a block of HTML through untouched, but only up to its first blank line.
"""

from __future__ import annotations

import re

from phase7.report.escape import escape

_LINES = re.compile(r"\r\n|[\n\r\x0b\x0c\x85\u2028\u2029]")


def element(name: str, *content: str, **attributes: object) -> str:
    """An element; `content` is markup already, attribute values are any text.

    A name's trailing underscore is dropped and others become hyphens: ``class_``, ``text_anchor``.
    """
    pairs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{attribute(value)}"' for key, value in attributes.items()
    )
    return f"<{name}{pairs}>{''.join(content)}</{name}>"


def attribute(value: object) -> str:
    """A value safe between double quotes; numbers with two decimals at most."""
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return escape(str(value)).replace("<wbr>", "").replace('"', "&#34;").replace("'", "&#39;")


def foreign(text: str) -> str:
    """Foreign text with its line breaks kept and shown."""
    return "↵<br>".join(escape(line) for line in _LINES.split(text))
