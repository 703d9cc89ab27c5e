"""The report: from the effects tree to one Markdown page in Japanese or English.

What enters: the tree alone. Every number, text and sentence of the page is computed from it.
"""

from phase7.report.render import render_report

__all__ = ["render_report"]
