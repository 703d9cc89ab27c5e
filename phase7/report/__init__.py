"""The report in Markdown: everything in it is computed from the effects tree.

`render` puts it together, `view` reads one (model, emotion), `sections` writes the seven sections,
`claims` the sentences of the discussion, `tables` and `language` are their tools.
"""

from phase7.report.render import render_report

__all__ = ["render_report"]
