"""The words of the report, Japanese and English side by side.

The phrases say what numbers mean; no phrase holds a result. An unknown key or a missing value raises
KeyError.
"""

from __future__ import annotations

from typing import Literal

from phase7.report.language.answers import ANSWERS
from phase7.report.language.circuits import CIRCUITS
from phase7.report.language.groups import GROUPS
from phase7.report.language.labels import LABELS
from phase7.report.language.notes import NOTES
from phase7.report.language.sentences import SENTENCES
from phase7.report.language.trials import TRIALS

Lang = Literal["ja", "en"]

#: key -> (Japanese, English).
PHRASES: dict[str, tuple[str, str]] = {
    **LABELS, **NOTES, **SENTENCES, **GROUPS, **ANSWERS, **TRIALS, **CIRCUITS,
}  # fmt: skip


class Language:
    """Phrases in one language.

    Parameters
    ----------
    lang : {"ja", "en"}
    """

    def __init__(self, lang: Lang) -> None:
        self.lang = lang
        self._column = ("ja", "en").index(lang)

    def __call__(self, key: str, **values: object) -> str:
        """The phrase of `key` with `values` in its places; values are Markdown already."""
        return PHRASES[key][self._column].format(**values)

    def listed(self, items: list[str]) -> str:
        """Items in a row."""
        return ("、" if self.lang == "ja" else ", ").join(items)

    def joined(self, sentences: list[str]) -> str:
        """Sentences of one paragraph."""
        return ("" if self.lang == "ja" else " ").join(sentences)
