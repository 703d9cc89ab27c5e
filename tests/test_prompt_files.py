"""The prompts and keywords that the package ships: complete, matched, and neutral where they must be."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from phase7.prompts import load_prompts
from phase7.scoring.keywords import KeywordScorer

DATA = Path(__file__).parents[1] / "data"
NAMES = ("neutral", "gratitude", "anger", "apology")

#: Words of feeling that no neutral prompt may hold, besides those of data/keywords.toml.
EMOTION_WORDS = set(
    """love loved lovely like liked enjoy enjoyed happy happily glad joy joyful delighted pleased great
    wonderful amazing awesome beautiful nice kind good best better bad worse worst terrible awful
    horrible sad unhappy cry cried fear afraid scared worry worried nervous anxious hope hoped proud
    pride shame guilt excited exciting fun funny surprised shocked disgust disgusting bored boring
    lonely grief mourn miserable please welcome congratulations dear friend friendly""".split()
) - {"dear", "like"}  # a letter's opening; a comparison


def prompts(name: str) -> tuple[str, ...]:
    return load_prompts(DATA / f"{name}_prompts.json").prompts


@pytest.mark.parametrize("name", NAMES)
def test_seventy_distinct_prompts_without_stray_blanks(name):
    texts = prompts(name)
    assert len(texts) == 70
    assert len({" ".join(text.lower().split()) for text in texts}) == 70
    assert all(text == text.strip() for text in texts)
    openings = {tuple(text.lower().split()[:3]) for text in texts}
    assert len(openings) >= 66


def test_lengths_match_across_files():
    lengths = {name: np.array([len(text.split()) for text in prompts(name)]) for name in NAMES}
    means = {name: n.mean() for name, n in lengths.items()}
    assert max(means.values()) - min(means.values()) <= 2
    assert all(n.min() <= 7 and n.max() >= 14 for n in lengths.values())


def test_neutral_prompts_carry_no_emotion_words():
    scorer = KeywordScorer(DATA / "keywords.toml")
    counts = scorer.score(prompts("neutral"))
    assert all((column == 0).all() for column in counts.values())
    for text in prompts("neutral"):
        assert not set(re.findall(r"[a-z']+", text.lower())) & EMOTION_WORDS, text
        assert "!" not in text


@pytest.mark.parametrize("name", NAMES[1:])
def test_most_emotion_prompts_name_their_emotion_and_no_file_overlaps(name):
    counts = KeywordScorer(DATA / "keywords.toml").score(prompts(name))
    own = counts[f"{name}_keywords"]
    assert (own > 0).mean() > 0.65
    for other in NAMES[1:]:
        if other != name:
            assert counts[f"{other}_keywords"].sum() < 0.2 * own.sum()
    assert all(not set(prompts(name)) & set(prompts(other)) for other in NAMES if other != name)


def test_keyword_families_are_lower_case_and_disjoint():
    table = tomllib.loads((DATA / "keywords.toml").read_text(encoding="utf-8"))
    assert set(table) == {"gratitude", "anger", "apology"}
    forms = [form for families in table.values() for family in families.values() for form in family]
    assert len(forms) == len(set(forms))
    assert all(form == form.lower().strip() and form for form in forms)
