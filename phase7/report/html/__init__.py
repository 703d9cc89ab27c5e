"""The report as one HTML file that needs nothing but itself.

What enters: the effects tree and where its figures lie. What leaves: HTML with its style, script and
figures inside. A content security policy forbids the page to load or send anything.
"""

from phase7.report.html.page import render_html

__all__ = ["render_html"]
