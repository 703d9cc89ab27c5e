"""The shipped prompts and keywords: well formed, matched item by item, neutral where they must be.

The four prompt files are parallel: the prompts at one index share register, topic, length and final
punctuation, so that the emotion is what differs. These tests guard what of that can be counted.
"""

from __future__ import annotations

import json
import re
import tomllib
from itertools import combinations
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

DATA = Path(__file__).parents[2] / "data"
EMOTIONS = ("gratitude", "anger", "apology")
NAMES = ("neutral", *EMOTIONS)
N_PROMPTS = 70

#: Words of feeling and courtesy that no neutral prompt may hold, besides those of keywords.toml.
#: A trailing hyphen stands for any ending ("enjoy-": enjoy, enjoyed, enjoyable).
EMOTION_WORDS = """
    abhor- admir- ador- affection- afraid aghast agony alarm- alas alone amaz- amus- anguish-
    anxi- appal- ashamed astonish- attract- aversion awe awed awesome awful awfully bad badly
    beaut- belov- best better bitter- blame- bless- bliss- bore bored boring brave- brilliant
    calm- care cared careless- caring celebrat- charm- cheer- cherish- comfort- compassion-
    congrat- contempt- content courage- cranky crie- cruel- cry crying curious- damn- darling
    dear- delight- depress- desir- despair- despis- detest- devastat- disappoint- disgrac-
    disgust- dislik- dismay- distress- doubt- dread- eager- ecsta- elat- embarrass- enjoy-
    enthus- envied envious envy excellent excit- fabulous fail- fantastic fault- favo- fear-
    feel- felt fond fondly fortunate- friend- fright- frustrat- fun funny generous- gentle-
    glad- gloom- good gorgeous gracious great- grief griev- grim- grump- guilt- happi- happy
    hate- hating hatred heartbr- heartfelt help- hope- hoping horr- hostil- humiliat- hurt-
    inspir- insult- jealous- jolly joy- kind kindly kindness laugh- lonel- longing love- loving
    luck- marvel- merry miser- mourn- nasty nervous- nice- offend- optimis- outstanding pain
    pained painful- pains panic- passion- pathetic peaceful- perfect- pity pleasant- please-
    pleasure- pride proud- relief relieve- rotten rude- sad sadder sadly sadness scare- scream-
    shame- shock- sincer- smil- sob sobb- sorrow- splendid stress- stupid- suffer- sullen
    superb surpris- sweet- sympath- tear tears tender- terribl- terrif- thrill- tragic-
    treasure- trembl- ugly unfortunate- unhapp- upset- warm- weep- welcome- wept wonder- worr-
    worse- worst- wow yearn- yell-
"""

WORD = re.compile(r"[a-z0-9']+")


def prompts(name: str) -> list[str]:
    document = json.loads((DATA / f"{name}_prompts.json").read_text(encoding="utf-8"))
    texts: list[str] = document["prompts"]
    return texts


def n_words(name: str) -> list[int]:
    return [len(text.split()) for text in prompts(name)]


def squeezed(text: str) -> str:
    return " ".join(text.lower().split())


def keywords() -> dict[str, dict[str, list[str]]]:
    table: dict[str, Any] = tomllib.loads((DATA / "keywords.toml").read_text(encoding="utf-8"))
    return table


def keyword_pattern(emotion: str) -> re.Pattern[str]:
    """Whole words and phrases of one emotion, longest first."""
    forms = sorted((form for family in keywords()[emotion].values() for form in family), key=len)
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, reversed(forms)))})\b", re.IGNORECASE)


def emotion_words_in(text: str) -> set[str]:
    listed = EMOTION_WORDS.split()
    stems = tuple(word[:-1] for word in listed if word.endswith("-"))
    whole = {word for word in listed if not word.endswith("-")}
    return {word for word in WORD.findall(text.lower()) if word in whole or word.startswith(stems)}


def ending(text: str) -> str:
    return text[-1] if text[-1] in ".?:," else "mid-sentence"


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_one_list_of_seventy_texts_in_utf8_indented_by_two(name):
    raw = (DATA / f"{name}_prompts.json").read_text(encoding="utf-8")
    document = json.loads(raw)
    assert list(document) == ["prompts"]
    assert all(isinstance(text, str) for text in document["prompts"])
    assert len(document["prompts"]) == N_PROMPTS
    assert raw == json.dumps(document, ensure_ascii=False, indent=2) + "\n"


@pytest.mark.parametrize("name", NAMES)
def test_prompts_are_clean(name):
    for text in prompts(name):
        assert text and text == " ".join(text.split()), f"stray white space: {text!r}"
        assert text.isascii(), f"typographic characters split into rare tokens: {text!r}"
        assert "!" not in text, f"exclamation marks would set one file apart: {text!r}"
        assert text[-1].isalnum() or text[-1] in ".?:,", f"ends in {text[-1]!r}: {text!r}"


def test_no_prompt_occurs_twice_in_any_file():
    texts = [squeezed(text) for name in NAMES for text in prompts(name)]
    assert len(set(texts)) == len(NAMES) * N_PROMPTS


@pytest.mark.parametrize(("one", "other"), list(combinations(NAMES, 2)))
def test_parallel_prompts_differ(one, other):
    for index, (a, b) in enumerate(zip(prompts(one), prompts(other), strict=True)):
        assert squeezed(a) != squeezed(b), f"{one} and {other} share the prompt at index {index}"


def test_no_two_prompts_open_with_the_same_three_words():
    seen: dict[tuple[str, ...], str] = {}
    for name in NAMES:
        for text in prompts(name):
            opening = tuple(WORD.findall(text.lower())[:3])
            assert opening not in seen, f"{text!r} opens like {seen[opening]!r}"
            seen[opening] = text


@pytest.mark.parametrize("name", NAMES)
def test_lengths_spread_over_three_ranges(name):
    lengths = n_words(name)
    assert min(lengths) >= 3 and max(lengths) <= 60
    short = sum(n <= 12 for n in lengths)
    long = sum(n >= 26 for n in lengths)
    assert all(20 <= n <= 28 for n in (short, N_PROMPTS - short - long, long))


@pytest.mark.parametrize(("one", "other"), list(combinations(NAMES, 2)))
def test_lengths_match(one, other):
    a, b = n_words(one), n_words(other)
    assert abs(mean(a) - mean(b)) <= 1
    assert abs(stdev(a) - stdev(b)) <= 1
    worst = max(range(N_PROMPTS), key=lambda i: abs(a[i] - b[i]))
    assert abs(a[worst] - b[worst]) <= 6, f"index {worst}: {a[worst]} against {b[worst]} words"


def test_parallel_prompts_end_in_the_same_punctuation():
    """The last token is the donor's most used position: its kind must not tell the files apart."""
    for index, texts in enumerate(zip(*map(prompts, NAMES), strict=True)):
        assert len({ending(text) for text in texts}) == 1, f"index {index}: {texts}"


@pytest.mark.parametrize("name", NAMES)
def test_most_prompts_break_off_and_some_are_complete(name):
    endings = [ending(text) for text in prompts(name)]
    assert endings.count("mid-sentence") >= 35
    assert sum(end in ".?" for end in endings) >= 20


@pytest.mark.parametrize("name", NAMES)
def test_most_prompts_are_in_the_first_person(name):
    first_person = re.compile(r"\b(?:I|me|my|mine|myself|we|us|our|ours)\b", re.IGNORECASE)
    assert sum(bool(first_person.search(text)) for text in prompts(name)) >= 45


def test_neutral_prompts_hold_no_keyword():
    for emotion in EMOTIONS:
        for text in prompts("neutral"):
            found = keyword_pattern(emotion).findall(text)
            assert not found, f"{emotion}: {found} in {text!r}"


def test_neutral_prompts_hold_no_emotion_word():
    for text in prompts("neutral"):
        assert not emotion_words_in(text), f"{emotion_words_in(text)} in {text!r}"


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_the_emotion_word_check_can_fail(emotion):
    """Liveness: the search that finds nothing in the neutral file finds plenty elsewhere."""
    assert sum(bool(emotion_words_in(text)) for text in prompts(emotion)) >= 10


def test_neutral_prompts_have_no_valence_in_vader():
    analyzer = SentimentIntensityAnalyzer()
    for text in prompts("neutral"):
        scores = analyzer.polarity_scores(text)
        assert scores["pos"] == scores["neg"] == 0, f"{scores} for {text!r}"


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_emotion_prompts_name_their_own_emotion_and_no_other(emotion):
    own = [text for text in prompts(emotion) if keyword_pattern(emotion).search(text)]
    assert len(own) >= 0.9 * N_PROMPTS
    for other in set(EMOTIONS) - {emotion}:
        for text in prompts(emotion):
            assert not keyword_pattern(other).search(text), f"{other} in {text!r}"


def test_keywords_hold_the_three_emotions_with_ten_to_twenty_families_each():
    table = keywords()
    assert set(table) == set(EMOTIONS)
    assert all(10 <= len(families) <= 20 for families in table.values())


def test_keyword_forms_are_lower_case_words():
    for families in keywords().values():
        for forms in families.values():
            for form in forms:
                assert re.fullmatch(r"[a-z']+(?: [a-z']+)*", form), repr(form)


def test_no_keyword_form_occurs_twice():
    forms = [form for families in keywords().values() for family in families.values() for form in family]
    assert not {form for form in forms if forms.count(form) > 1}


def test_a_keyword_family_holds_its_lemma():
    for families in keywords().values():
        for lemma, forms in families.items():
            assert lemma.replace("_", " ") in forms, lemma


@pytest.mark.parametrize("text", ["unapologetic", "thankless", "nomad", "unforgivable", "courage"])
def test_a_longer_word_does_not_count(text):
    assert not any(keyword_pattern(emotion).search(text) for emotion in EMOTIONS)


@pytest.mark.parametrize(
    ("emotion", "text", "n"),
    [
        ("apology", "I'm sorry", 1),
        ("apology", "It was MY FAULT, forgive me.", 2),
        ("gratitude", "Thanks; I am much obliged to you.", 2),
        ("anger", "I am fed up and angrier than ever.", 2),
    ],
)
def test_whole_words_and_phrases_count_once(emotion, text, n):
    assert len(keyword_pattern(emotion).findall(text)) == n
