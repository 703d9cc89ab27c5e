"""Which metrics stand for an emotion, and that everybody asks the same place."""

from __future__ import annotations

import doctest
from pathlib import Path

from phase7.effects.selection import selection_metrics
from phase7.experiment.profile import load_profile
from phase7.findings.group import groups
from phase7.vocabulary import emotions
from phase7.vocabulary.metrics import METRICS, metric_place
from tests.report.synthetic import Spec, tree


def test_docstrings_show_what_happens():
    done = doctest.testmod(emotions)
    assert (done.failed, done.attempted) == (0, 2)


def test_report_and_selection_ask_for_the_same_metric():
    """Where a profile names no metrics to select by."""
    profile = load_profile("baseline", Path(__file__).parents[2])
    assert profile.statistics.selection_metrics == ()
    for emotion in ("gratitude", "anger", "apology", "joy", "boredom"):
        own = emotions.goemotions_metric(emotion)
        ranked = selection_metrics(profile, emotion)
        assert ranked == ("sentiment_positive", "politeness", *([] if own is None else [own]))
        assert groups(tree(Spec(emotion=emotion)))[0].emotion_metric == own


def test_a_metric_that_a_profile_names_is_each_emotions_own():
    profile = load_profile("quickstart", Path(__file__).parents[2])
    for emotion in ("gratitude", "anger", "boredom"):
        assert selection_metrics(profile, emotion) == (f"logodds_{emotion}",)


def test_the_place_of_a_metric_is_its_own():
    assert [metric_place(metric) for metric in METRICS] == list(range(35))
