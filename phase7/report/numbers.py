"""Numbers as text: one precision and one minus sign for every table and sentence.

A missing number becomes the word given for it, never 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from phase7.findings.cells import DUST

MINUS = "−"


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """Formats of the report in one language.

    Parameters
    ----------
    not_measured : str
        For a number that is not there.
    no_test : str
        For a statistic that is missing beside a measured Δ: too few prompts.
    """

    not_measured: str
    no_test: str

    def score(self, value: float, digits: int = 3) -> str:
        """A mean score: a probability or a count."""
        return _plain(value, digits) or self.not_measured

    def size(self, value: float) -> str:
        """A size above 0: as a score, and with two significant digits where that would show fewer."""
        return tiny(value) if 0 < value < 0.01 else self.score(value)

    def signed(self, value: float, digits: int = 3) -> str:
        """A difference, with its sign; 0 has none, so ``+0.000`` means rounded to 0."""
        return _signed(value, digits) or self.not_measured

    def d_z(self, value: float) -> str:
        """An effect size, two decimals."""
        return _signed(value, 2) or self.no_test

    def interval(self, low: float, high: float, *, measured: bool = True) -> str:
        """``[low, high]``, both signed."""
        if math.isnan(low) or math.isnan(high):
            return self.no_test if measured else self.not_measured
        return f"[{_signed(low, 3)}, {_signed(high, 3)}]"

    def p(self, value: float, *, measured: bool = True) -> str:
        """A probability of a test: three decimals, ``<0.001`` below."""
        if math.isnan(value):
            return self.no_test if measured else self.not_measured
        return "<0.001" if value < 0.001 else f"{value:.3f}"

    def q(self, value: float, alpha: float, *, measured: bool = True) -> str:
        """As `p`, with a star where it is below `alpha` before rounding."""
        return self.p(value, measured=measured) + ("*" if value < alpha else "")

    def equals(self, name: str, value: float) -> str:
        """``"p = 0.012"`` or ``"p < 0.001"``, for sentences."""
        shown = self.p(value)
        return f"{name} < {shown[1:]}" if shown.startswith("<") else f"{name} = {shown}"

    def share(self, value: float) -> str:
        """A share as a percentage."""
        return self.not_measured if math.isnan(value) else f"{100 * value:.1f} %"

    def nats(self, value: float) -> str:
        """A KL divergence, four decimals."""
        if math.isnan(value):
            return self.not_measured
        return "<0.0001" if 0 < value < 0.0001 else f"{value:.4f}"


def tiny(value: float) -> str:
    """A number that may be very small, two significant digits, e.g. ``1.9e-06`` or ``0.031``."""
    return f"{value:.2g}".replace("-", MINUS)


def _plain(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}".replace("-", MINUS)


def _signed(value: float, digits: int) -> str:
    if math.isnan(value):
        return ""
    value = 0.0 if abs(value) < DUST else value
    sign = "+" if value > 0 else MINUS if value < 0 else ""
    size = "∞" if math.isinf(value) else f"{abs(value):.{digits}f}"
    return sign + size
