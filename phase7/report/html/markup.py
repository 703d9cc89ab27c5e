"""Small pieces of HTML and SVG, escaped.

What enters: any text and numbers. What leaves: markup on one line: a Markdown page passes a block of
HTML through untouched up to its first blank line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from phase7.report.escape import escape

_LINES = re.compile(r"\r\n|[\n\r\x0b\x0c\x85\u2028\u2029]")

#: The same colours as the figures of :mod:`phase7.plots`.
EMOTION, CONTROL, NET = "#0072B2", "#767676", "#D55E00"


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


def diverging(value: float, largest: float) -> str:
    """Colour of a signed value on a scale centred on 0: blue below, red above."""
    share = 0.5 + 0.5 * max(-1.0, min(1.0, value / largest)) if largest else 0.5
    return _hex("RdBu_r", share)


def sequential(value: float, largest: float) -> str:
    """Colour of a magnitude: dark is small."""
    return _hex("cividis", min(1.0, value / largest) if largest else 0.0)


def _hex(name: str, share: float) -> str:
    # Imported late: a build that finds everything done needs no colours.
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return str(to_hex(colormaps[name](share)))


def svg(width: float, height: float, parts: Iterable[str], *, label: str) -> str:
    """An SVG drawing that scales with its column; `label` is read to those who cannot see it."""
    return element(
        "svg",
        *parts,
        viewBox=f"0 0 {attribute(float(width))} {attribute(float(height))}",
        width=float(width),
        height=float(height),
        role="img",
        aria_label=label,
    )


def text(x: float, y: float, content: str, **attributes: object) -> str:
    """SVG text; `content` is any text."""
    return element("text", escape(content).replace("<wbr>", ""), x=float(x), y=float(y), **attributes)


def line(x1: float, y1: float, x2: float, y2: float, **attributes: object) -> str:
    """An SVG line."""
    return element("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), **attributes)
