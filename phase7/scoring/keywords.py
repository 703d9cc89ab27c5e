"""Counts of emotion words.

For gratitude, anger and apology, the number of whole words (or phrases) of the lemma families in
``data/keywords.toml``. Substrings never count: "thankless" is not "thank".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phase7.experiment.word_families import load_families
from phase7.scoring.base import Scores
from phase7.vocabulary.metrics import KEYWORDS


class KeywordScorer:
    """Whole-word counts, case-insensitive; typographic apostrophes count as plain ones.

    Raises
    ------
    UserError
        If the file is missing or not of the form ``[emotion] lemma = ["form", ...]``.
    """

    name = "keywords"
    metrics = KEYWORDS

    def __init__(self, path: Path) -> None:
        families = load_families(path, [metric.removesuffix("_keywords") for metric in KEYWORDS])
        text = repr(sorted((e, sorted(forms)) for e, forms in families.items()))
        self.version = f"1-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        self._patterns = {f"{emotion}_keywords": _pattern(forms) for emotion, forms in families.items()}
        self._n_forms = sum(len(forms) for forms in families.values())

    def score(self, texts: Sequence[str]) -> dict[str, Scores]:
        """Counts per text."""
        plain = [text.replace("\u2019", "'") for text in texts]
        return {
            metric: np.array([len(pattern.findall(text)) for text in plain], dtype=np.float64)
            for metric, pattern in self._patterns.items()
        }

    def describe(self) -> dict[str, Any]:
        """See :class:`phase7.scoring.base.Scorer`."""
        return {
            "name": self.name,
            "version": self.version,
            "metrics": list(self.metrics),
            "description": "counts of whole words of lemma families"
            f" ({self._n_forms} forms, data/keywords.toml)",
            "quality": {},
        }


def _pattern(forms: set[str]) -> re.Pattern[str]:
    """Longest forms first, so that a phrase counts once and not also as its words."""
    ordered = sorted(forms, key=lambda form: (-len(form), form))
    alternatives = "|".join(r"\s+".join(map(re.escape, form.split())) for form in ordered)
    return re.compile(rf"(?<![^\W_])(?:{alternatives})(?![^\W_])", re.IGNORECASE)
