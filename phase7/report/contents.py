"""What the report consists of, in order: the one place that knows which sections there are.

A new section is a module with a `render` in :mod:`phase7.report.sections` and one entry here. Its
number, and every reference to the number of another section, follows from the order.
"""

from __future__ import annotations

from phase7.report.chapter import Contents, Section
from phase7.report.sections import (
    comparison,
    controls,
    discussion,
    groups,
    heads,
    lengths,
    modes,
    purpose,
    reading,
    reproducibility,
    settings,
    summary,
    texts,
)

CONTENTS = Contents(
    before=(
        Section(name="purpose", title="h.purpose", render=purpose.render),
        Section(name="summary", title="h.summary", render=summary.render, mark="S"),
        Section(name="reading", title="h.reading", render=reading.render),
    ),
    chapter=(
        Section(name="controls", title="h.controls", render=controls.render),
        Section(name="settings", title="h.settings", render=settings.render),
        Section(name="comparison", title="h.comparison", render=comparison.render),
        Section(name="modes", title="h.modes", render=modes.render),
        Section(name="heads", title="h.heads", render=heads.render),
        Section(name="texts", title="h.texts", render=texts.render),
        Section(name="lengths", title="h.lengths", render=lengths.render),
        # Last, because it cites the tables of the others.
        Section(name="discussion", title="h.discussion", render=discussion.render),
    ),
    after=(
        Section(name="groups", title="h.groups", render=groups.render, mark="C"),
        Section(name="run", title="h.reproducibility", render=reproducibility.render, mark="R"),
    ),
)
