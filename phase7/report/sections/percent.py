"""Shares in whole percent."""

from __future__ import annotations

from phase7.report.numbers import MINUS


def percent(value: float) -> str:
    """A share in whole percent."""
    return f"{100 * value:.0f} %".replace("-0 %", "0 %").replace("-", MINUS)
