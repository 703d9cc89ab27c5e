"""Scorers of one's own that are not what they should be: one line that says which, what was expected and came."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from phase7.scoring.base import score_distinct
from phase7.scoring.choose import choose_scorers
from phase7.scoring.memo import score_key, score_through_store
from phase7.store import Store
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.metrics import METRICS

TEXTS = ["a", "b", "c"]


class Own:
    """A scorer of two metrics that can be given other parts."""

    name, version = "own", "1"
    metrics: Any = ("politeness", "sentiment_positive")

    def score(self, texts):
        return {metric: np.arange(len(texts)) / 10 for metric in self.metrics}

    def describe(self):
        return {"name": self.name}


def made(**parts: Any) -> Own:
    """A scorer with some parts replaced; functions take no self."""
    parts = {name: staticmethod(part) if callable(part) else part for name, part in parts.items()}
    scorer: Own = type("Odd", (Own,), parts)()
    return scorer


def fails(*ignored: object) -> Any:
    raise RuntimeError("no model\nhere")


class Untouchable:
    def __array__(self, *ignored: object, **more: object) -> Any:
        raise MemoryError("too large")


def of_politeness(column: Any) -> dict[str, Any]:
    return {"politeness": column, "sentiment_positive": [0.5, 0.5, 0.5]}


BAD: dict[str, tuple[Any, str]] = {
    "raises": (fails, "got RuntimeError: no model here;"),
    "no dict": (lambda texts: [0.0] * 3, "got a list;"),
    "nothing": (lambda texts: None, "got a NoneType;"),
    "a metric is missing": (lambda texts: {"politeness": [0.0] * 3}, "got the metrics politeness;"),
    "no metric": (lambda texts: {}, "got the metrics (none);"),
    "an undeclared metric": (
        lambda texts: of_politeness([0.0] * 3) | {"goemotions_joy": [0.0] * 3},
        "goemotions_joy;",
    ),
    "too few": (lambda texts: of_politeness([0.0] * 2), "got an array of shape (2,) for 3 texts;"),
    "too many": (lambda texts: of_politeness([0.0] * 4), "got an array of shape (4,) for 3 texts;"),
    "one for all": (lambda texts: of_politeness([0.3]), "got an array of shape (1,) for 3 texts;"),
    "a scalar": (lambda texts: of_politeness(0.3), "got an array of shape () for 3 texts;"),
    "a column": (lambda texts: of_politeness(np.zeros((3, 1))), "got an array of shape (3, 1) for"),
    "infinite": (lambda texts: of_politeness([0.0, np.inf, 0.0]), "got inf for text 1;"),
    "minus infinite": (lambda texts: of_politeness([0.0, 0.0, -np.inf]), "got -inf for text 2;"),
    "texts": (lambda texts: of_politeness(["1", "2", "3"]), "got values of type <U1;"),
    "objects": (lambda texts: of_politeness([None, 1, 2]), "got values of type object;"),
    "complex": (lambda texts: of_politeness([1j, 1, 2]), "got values of type complex128;"),
    "ragged": (lambda texts: of_politeness([[1], [1, 2], 3]), "ValueError"),
    "no array": (lambda texts: of_politeness(Untouchable()), "MemoryError: too large"),
}


@pytest.mark.parametrize(("score", "told"), BAD.values(), ids=BAD)
def test_scores_of_another_form_are_refused_in_one_line(score, told):
    with pytest.raises(UserError) as caught:
        score_distinct([made(score=score)], TEXTS)
    line = str(caught.value)
    assert told in line and "\n" not in line
    assert line.startswith("scorer 'own'")
    assert "for each of its metrics an array with a finite number" in line
    assert "politeness, sentiment_positive" in line


def test_the_metric_is_named_where_it_is_known():
    with pytest.raises(UserError, match=r"^scorer 'own', politeness: expected"):
        score_distinct([made(score=BAD["too few"][0])], TEXTS)


@pytest.mark.parametrize(
    "column",
    [[1, 2, 3], (True, False, True), np.array([1, 2, 3], np.int8), np.array([1, 2, 3], np.float32)],
)
def test_numbers_of_any_kind_are_taken(column):
    scored = score_distinct([made(score=lambda texts: of_politeness(column))], TEXTS)
    at = METRICS.index("politeness")
    assert [scored[text][at] for text in TEXTS] == [float(number) for number in column]


def test_nan_means_that_a_text_cannot_be_measured():
    scored = score_distinct([made(score=lambda texts: of_politeness([np.nan, 0.25, 1]))], TEXTS)
    at = METRICS.index("politeness")
    np.testing.assert_array_equal([scored[text][at] for text in TEXTS], [np.nan, 0.25, 1.0])


# --- its parts -----------------------------------------------------------------------------------


def chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, scorer: object) -> Any:
    module = ModuleType("own_scorers")
    module.scorer = scorer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_scorers", module)
    return choose_scorers(["own_scorers:scorer"], root=tmp_path, store_root=tmp_path)


def test_a_scorer_of_ones_own_is_taken(monkeypatch, tmp_path):
    scorer = made(metrics=["politeness"])  # a list does as well
    assert chosen(monkeypatch, tmp_path, scorer) == [scorer]
    assert isinstance(chosen(monkeypatch, tmp_path, Own)[0], Own)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"name": 7}, "got 7 as name of Odd"),
        ({"name": ""}, "got '' as name of Odd"),
        ({"name": "a\nb"}, "as name of Odd"),
        ({"version": None}, "got None as version of Odd"),
        ({"version": property(fails)}, "got RuntimeError of Odd: no model here"),
        ({"metrics": "politeness"}, "got 'politeness' as metrics of Odd"),
        ({"metrics": ()}, "got () as metrics of Odd"),
        ({"metrics": 3}, "got 3 as metrics of Odd"),
        ({"metrics": ("politeness", 3)}, "got 3 as metrics[1] of Odd"),
        ({"metrics": ("politeness", "politeness")}, "as metrics of Odd"),
        ({"metrics": ("kindness",)}, "expected some of the 35 metrics, got kindness"),
        ({"describe": fails}, "got RuntimeError of Odd: no model here"),
        ({"describe": lambda: "good"}, "got a str from Odd.describe()"),
        ({"describe": lambda: {"quality": 0.9}}, "got 0.9 as quality from Odd.describe()"),
        ({"describe": lambda: {"metrics": 1}}, "got 1 as metrics from Odd.describe()"),
        ({"describe": lambda: {"quality": {"r": np.float32(1)}}}, "got TypeError of Odd"),
        ({"describe": lambda: {"quality": {"r": float("nan")}}}, "got ValueError of Odd"),
    ],
)
def test_a_part_that_is_not_right_is_refused_in_one_line(monkeypatch, tmp_path, parts, told):
    with pytest.raises(UserError) as caught:
        chosen(monkeypatch, tmp_path, made(**parts))
    assert told in str(caught.value) and "\n" not in str(caught.value)
    assert caught.value.where == "scorers: 'own_scorers:scorer'"


def test_a_missing_part_is_named(monkeypatch, tmp_path):
    with pytest.raises(UserError, match="got str without name, version, metrics"):
        chosen(monkeypatch, tmp_path, lambda: "no scorer")


# --- stored scores -------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["politeness", "goemotions_joy"])
def test_scores_that_an_earlier_version_accepted_are_refused(tmp_path, place):
    """Infinite, or of a metric that the scorer does not declare."""
    store = Store(tmp_path, on_damage=lambda line: None)
    table = np.full((3, len(METRICS)), np.nan)
    table[:, METRICS.index(place)] = np.inf if place == "politeness" else 0.5
    store.get("scores", score_key([Own()], TEXTS), lambda: table)
    with pytest.raises(UserError, match="others, which an earlier version stored") as caught:
        score_through_store([Own()], TEXTS, store)
    assert "scores" in caught.value.where and "store prune --stage scores" in caught.value.remedy
    right = score_through_store([made(version="2")], TEXTS, store)
    assert right["b"][METRICS.index("politeness")] == 0.1
