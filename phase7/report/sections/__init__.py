"""The sections of the report, one module each, whose `render` gives blocks of Markdown.

Which sections there are, and in which order, is in :mod:`phase7.report.contents`.
"""
