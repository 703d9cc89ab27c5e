"""The prompts that come with the package: distinct, alike but for the emotion, and fit for their format."""

from __future__ import annotations

import pytest

from phase7.experiment.data_files import packaged_data
from phase7.experiment.prompts import load_prompts
from phase7.scoring.keywords import KeywordScorer

EMOTIONS = ("gratitude", "anger", "apology")
SETS = ("neutral", *EMOTIONS)
#: By folder: how many prompts a set holds.
SIZES = {"": 70, "requests": 60}


def prompts(folder: str, name: str) -> tuple[str, ...]:
    return load_prompts(packaged_data() / folder / f"{name}_prompts.json").prompts


def counted(texts: tuple[str, ...]) -> dict[str, list[float]]:
    """Emotion words of each text, by emotion."""
    found = KeywordScorer(packaged_data() / "keywords.toml").score(list(texts))
    return {emotion: list(found[f"{emotion}_keywords"]) for emotion in EMOTIONS}


@pytest.mark.parametrize("folder", SIZES)
def test_every_prompt_is_there_once_and_on_one_line(folder):
    every = [text for name in SETS for text in prompts(folder, name)]
    assert len(every) == len(set(every)) == 4 * SIZES[folder]
    assert all(text == " ".join(text.split()) for text in every)


def test_requests_are_whole_and_most_others_are_openings():
    """A chat template makes a message of each request; openings are for models without one."""
    ends = {folder: [text[-1] for name in SETS for text in prompts(folder, name)] for folder in SIZES}
    assert set(ends["requests"]) <= set(".!?")
    assert sum(end.isalnum() or end == "," for end in ends[""]) > len(ends[""]) / 2


@pytest.mark.parametrize("name", EMOTIONS)
def test_requests_of_a_position_are_about_as_long(name):
    for plain, felt in zip(prompts("requests", "neutral"), prompts("requests", name), strict=True):
        short, long = sorted(len(text.split()) for text in (plain, felt))
        assert long <= 1.6 * short + 1, (plain, felt)


@pytest.mark.parametrize("name", SETS)
def test_words_of_an_emotion_stand_in_its_own_requests_alone(name):
    found = counted(prompts("requests", name))
    for emotion, counts in found.items():
        n_with = sum(count > 0 for count in counts)
        assert n_with >= 0.9 * len(counts) if emotion == name else n_with == 0, emotion
