"""What all figures share: colours, fonts, resolution, and settings that keep dates and random ids out.

With them the same tree gives the same bytes on one machine.
"""

from __future__ import annotations

from typing import Any

#: Blue and orange differ for every kind of colour vision (Okabe & Ito 2008); grey by lightness.
EMOTION, CONTROL, NET = "#0072B2", "#767676", "#D55E00"
UNTESTED, HATCH = "#d9d9d9", "#8c8c8c"

#: Lines of up to eight groups (Okabe & Ito 2008); dashes and markers tell them apart in grey.
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8c6d00")

STYLE: Any = {
    "font.size": 10.0,
    "axes.titlesize": 10.0,
    "hatch.linewidth": 0.6,
    "svg.hashsalt": "phase7",
    "svg.fonttype": "path",
    "text.parse_math": False,
}
DPI = 150
