"""The report as one HTML file with its style, script and figures inside.

A content security policy forbids the page to load or send anything.
"""

from phase7.report.html.page import render_html

__all__ = ["render_html"]
