"""Scores through the store: what is scored once is read again, and by no other key."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from phase7.scoring.base import score_distinct
from phase7.scoring.memo import STAGE, score_key, score_through_store
from phase7.store import Store
from phase7.vocabulary.metrics import METRICS

TEXTS = ["thank you", "no", "thank you", "ありがとう\ud800", ""]


class Lengths:
    """A scorer that remembers what it was given."""

    metrics = ("politeness",)

    def __init__(self, name: str = "lengths", version: str = "1") -> None:
        self.name, self.version, self.given = name, version, []

    def score(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        self.given += texts
        return {"politeness": np.array([float(len(text)) for text in texts])}

    def describe(self) -> dict:
        return {"name": self.name}


def test_each_text_is_scored_once_and_then_read(tmp_path):
    scorer = Lengths()
    first = score_through_store([scorer], TEXTS, Store(tmp_path))
    assert sorted(scorer.given) == sorted(set(TEXTS))
    store = Store(tmp_path)
    again = score_through_store([scorer], reversed(TEXTS), store)
    assert len(scorer.given) == len(set(TEXTS))
    assert (store.n_hits, store.n_computed) == ({STAGE: 1}, {})
    assert first.keys() == again.keys() == set(TEXTS)
    direct = score_distinct([scorer], TEXTS)
    for text, scores in first.items():
        assert scores.tobytes() == again[text].tobytes() == direct[text].tobytes()
        assert scores[METRICS.index("politeness")] == len(text)
        assert np.isnan(np.delete(scores, METRICS.index("politeness"))).all()


@pytest.mark.parametrize(
    ("scorers", "texts"),
    [
        ([Lengths(version="2")], TEXTS),
        ([Lengths(name="other")], TEXTS),
        ([Lengths(), Lengths(name="other")], TEXTS),
        ([], TEXTS),
        ([Lengths()], [*TEXTS, "more"]),
        ([Lengths()], TEXTS[2:]),
        ([Lengths()], ["thank you no", "ありがとう\ud800", ""]),
    ],
)
def test_other_scorers_versions_or_texts_have_another_key(scorers, texts):
    one = score_key([Lengths()], sorted(set(TEXTS)))
    assert score_key(scorers, sorted(set(texts))) != one
    assert score_key([Lengths()], sorted({*TEXTS})) == one


def test_the_key_is_the_one_of_entries_that_are_stored_already():
    """A changed key would score every stored text again."""
    assert score_key([Lengths()], ["", "no", "thank you"]) == {
        "scorers": [["lengths", "1"]],
        "texts_sha256": "60174ce2e49f407ed0d15ac45ff3cb9a1e34ef5ef8e5f7a28515f783c356583a",
    }
    assert STAGE == "scores"
