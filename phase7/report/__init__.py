"""The report: from the effects tree to one Markdown or HTML page in Japanese or English.

Every number, text and sentence of the page is computed from the tree.
"""

from phase7.report.html import render_html
from phase7.report.render import render_report
from phase7.report.write import report_files, write_reports

__all__ = ["render_html", "render_report", "report_files", "write_reports"]
