"""The embedded scorer: known sentences, odd texts, independence of company, and its record."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from phase7.scoring.embedded.scorer import EmbeddedScorer
from phase7.scoring.embedded.weights import FOLDER, load_record
from phase7.scoring.training.figures import card_tables, figures_table, unseen_figures
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.metrics import GOEMOTIONS, GOEMOTIONS_LABELS, POLITENESS, SENTIMENT

CARD = Path(__file__).parents[2] / "docs" / "scorers.md"

KNOWN = {
    "admiration": "What a brilliant performance, she is an amazing singer.",
    "amusement": "Haha that was hilarious, I can't stop laughing lol",
    "anger": "I fucking hate you, get out of here you piece of shit!",
    "annoyance": "This is so annoying, stop doing that.",
    "approval": "Yes, I agree completely with that.",
    "caring": "I hope you feel better soon, take care of yourself.",
    "confusion": "I'm confused, I don't understand what you mean.",
    "curiosity": "I'm curious, how does that work?",
    "desire": "I really wish I could have one of those.",
    "disappointment": "I am so disappointed, what a letdown.",
    "disapproval": "No, I don't agree with that and I don't think it's right.",
    "disgust": "Ew, that is gross and disgusting.",
    "embarrassment": "I was so embarrassed, how awkward.",
    "excitement": "I'm so excited, I can't wait!",
    "fear": "I'm scared, that is terrifying.",
    "gratitude": "thank you so much",
    "joy": "I'm so happy today, this makes me smile!",
    "love": "I love you, I love everything about this.",
    "nervousness": "I'm so nervous and anxious about tomorrow.",
    "optimism": "I hope it works out in the end.",
    "remorse": "I'm so sorry, I apologize for what I did.",
    "sadness": "That is so sad, I cried all night.",
    "surprise": "Wow, I am shocked, what a surprise!",
    "neutral": "The meeting is on the second floor.",
}

ODD = (
    "",
    " ",
    "\n\n\t",
    "a",
    "\x00\x01\x02\x1f\x7f",
    "ok \x00 thanks \x1b[31m red",
    "😀😭❤️👍🏽👨‍👩‍👧",
    "😡" * 500,
    "Das ist eine sehr schöne Überraschung, vielen Dank!",
    "это очень грустно",
    "とても嬉しいです。ありがとう",
    "شكرا جزيلا",
    "\ud800 lone \udfff surrogates",
    "\u200b\u200d\ufe0f",
    "!" * 3000,
    "why " * 5000,
    "x" * 100_000,
    "'" * 50,
    "it's ''' don''t '",
    "𝕳𝖊𝖑𝖑𝖔 \U0010ffff",
)


@pytest.fixture(scope="module")
def scorer() -> EmbeddedScorer:
    return EmbeddedScorer()


def table(scorer: EmbeddedScorer, texts: list[str]) -> np.ndarray:
    """All metrics as columns, float64 [n_texts, 32]."""
    scores = scorer.score(texts)
    return np.stack([scores[metric] for metric in scorer.metrics], axis=1)


def emotion(scorer: EmbeddedScorer, text: str) -> dict[str, float]:
    scores = scorer.score([text])
    return {label: float(scores[f"goemotions_{label}"][0]) for label in GOEMOTIONS_LABELS}


def test_metrics_are_the_three_groups(scorer: EmbeddedScorer) -> None:
    assert scorer.metrics == SENTIMENT + POLITENESS + GOEMOTIONS
    assert len(scorer.metrics) == 32


@pytest.mark.parametrize("label", KNOWN)
def test_known_sentence_ranks_its_label_among_the_first_two(scorer: EmbeddedScorer, label: str) -> None:
    scores = emotion(scorer, KNOWN[label])
    assert label in sorted(scores, key=scores.__getitem__)[-2:]


@pytest.mark.parametrize("label", ["gratitude", "amusement", "love", "remorse", "anger", "joy"])
def test_plain_sentence_exceeds_a_half(scorer: EmbeddedScorer, label: str) -> None:
    assert emotion(scorer, KNOWN[label])[label] > 0.5


@pytest.mark.parametrize("label", KNOWN)
def test_known_sentence_beats_every_other_sentence_of_an_unrelated_kind(
    scorer: EmbeddedScorer, label: str
) -> None:
    scores = scorer.score(list(KNOWN.values()))[f"goemotions_{label}"]
    position = list(KNOWN).index(label)
    assert (scores > scores[position]).sum() <= 1


@pytest.mark.parametrize(
    ("text", "metric"),
    [
        ("What a lovely day, I am very happy with it.", "sentiment_positive"),
        ("Thank you, this is a great help.", "sentiment_positive"),
        ("This is terrible, I hate it.", "sentiment_negative"),
        ("She died alone and everyone was sad.", "sentiment_negative"),
        ("The train leaves from platform four at noon.", "sentiment_neutral"),
    ],
)
def test_sentiment_of_plain_sentences(scorer: EmbeddedScorer, text: str, metric: str) -> None:
    scores = scorer.score([text])
    assert max(SENTIMENT, key=lambda name: float(scores[name][0])) == metric


def test_polite_requests_score_above_impolite_ones(scorer: EmbeddedScorer) -> None:
    polite = [
        "Hi, thank you for your work on this page! Could you please have a look at my draft?",
        "I would really appreciate your help. Would you mind taking a look when you have time?",
        "Hello! I was wondering if you could possibly help me with this? Thanks in advance.",
    ]
    impolite = [
        "Why did you delete my page? What is wrong with you?",
        "Stop reverting my edits. Do you even read before you post this nonsense?",
        "What nonsense is this? You have no idea, so why do you keep doing that?",
    ]
    scores = scorer.score(polite + impolite)["politeness"]
    assert scores[:3].min() > 0.7
    assert scores[3:].max() < 0.3


def test_odd_texts_give_finite_probabilities(scorer: EmbeddedScorer) -> None:
    scores = table(scorer, list(ODD))
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()
    assert (scores >= 0.0).all()
    assert (scores <= 1.0).all()


def test_sentiments_sum_to_one(scorer: EmbeddedScorer) -> None:
    scores = scorer.score([*ODD, *KNOWN.values()])
    total = sum(scores[metric] for metric in SENTIMENT)
    np.testing.assert_allclose(total, 1.0, rtol=0.0, atol=1e-9)


def test_no_texts_give_empty_arrays(scorer: EmbeddedScorer) -> None:
    scores = scorer.score([])
    assert set(scores) == set(scorer.metrics)
    assert all(column.shape == (0,) for column in scores.values())


def mixed_texts() -> list[str]:
    """Some 700 texts of 0 to 120 words, more than two chunks."""
    rng = np.random.default_rng(5)
    words = np.array(" ".join(KNOWN.values()).split() + list("?!.,:)('") + ["😀", "WOW", "über"])
    made = [" ".join(words[rng.integers(0, words.size, n)]) for n in rng.integers(0, 40, 600)]
    long = [" ".join(words[rng.integers(0, words.size, n)]) for n in rng.integers(60, 120, 60)]
    return [*KNOWN.values(), *ODD, *made, *long]


@pytest.mark.slow
def test_company_and_order_change_no_bit(scorer: EmbeddedScorer) -> None:
    texts = mixed_texts()
    together = table(scorer, texts)
    order = np.random.default_rng(6).permutation(len(texts))
    shuffled = table(scorer, [texts[i] for i in order])
    np.testing.assert_array_equal(shuffled, together[order])
    for size in (2, 7, 33):
        pieces = [table(scorer, texts[i : i + size]) for i in range(0, 330, size)]
        joined = np.concatenate(pieces)
        np.testing.assert_array_equal(joined, together[: len(joined)])


def test_a_text_alone_has_the_same_bits(scorer: EmbeddedScorer) -> None:
    texts = mixed_texts()[:150]
    alone = np.concatenate([table(scorer, [text]) for text in texts])
    np.testing.assert_array_equal(alone, table(scorer, texts))


def test_different_texts_have_different_scores(scorer: EmbeddedScorer) -> None:
    """Liveness of the two laws above: a constant scorer would obey them."""
    scores = table(scorer, list(KNOWN.values()))
    assert len(np.unique(scores, axis=0)) == len(KNOWN)


def test_another_process_computes_the_same_bits(scorer: EmbeddedScorer) -> None:
    code = (
        "import hashlib, numpy as np\n"
        "from phase7.scoring.embedded.scorer import EmbeddedScorer\n"
        f"scores = EmbeddedScorer().score({list(KNOWN.values())!r})\n"
        "print(hashlib.sha256(b''.join(v.tobytes() for v in scores.values())).hexdigest())\n"
    )
    environment = os.environ | {"PYTHONHASHSEED": "12345"}
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd=Path(__file__).parents[2],
    )
    scores = scorer.score(list(KNOWN.values()))
    here = hashlib.sha256(b"".join(column.tobytes() for column in scores.values())).hexdigest()
    assert result.stdout.strip() == here


def test_version_names_the_weights(scorer: EmbeddedScorer) -> None:
    digest = hashlib.sha256((FOLDER / "weights.safetensors").read_bytes()).hexdigest()
    assert scorer.version == f"1-{digest[:8]}" == load_record()["version"]


def test_weights_fit_in_ten_megabytes() -> None:
    size = sum(path.stat().st_size for path in FOLDER.glob("*.safetensors"))
    assert size <= 10_000_000
    assert size == load_record()["weights_bytes"]


def test_description_carries_the_measured_quality(scorer: EmbeddedScorer) -> None:
    described = scorer.describe()
    assert described["name"] == "embedded"
    assert described["metrics"] == list(scorer.metrics)
    assert described["quality"] == load_record()["quality"]
    assert all(math.isfinite(value) for value in described["quality"].values())


def test_record_meets_the_promised_quality() -> None:
    quality = load_record()["quality"]
    assert quality["goemotions_test_macro_f1"] >= 0.48
    assert quality["goemotions_test_macro_auroc"] >= 0.91
    assert quality["sentiment_tweeteval_macro_recall_cv"] >= 0.60
    assert quality["politeness_wikipedia_accuracy_cv"] >= 0.84
    assert quality["politeness_stack_exchange_accuracy_cv"] >= 0.64
    assert 0.72 <= quality["politeness_wikipedia_accuracy_unseen"] <= 0.84


def test_figures_of_texts_kept_aside_belong_to_the_weights_they_were_measured_with() -> None:
    assert unseen_figures(load_record()["version"]).items() <= load_record()["quality"].items()
    assert unseen_figures("1-00000000") == {}
    row = "| politeness | accuracy, Wikipedia, requests kept aside | 0.78 (0.72 to 0.84) |  |"
    assert row in figures_table(load_record())
    assert "requests kept aside" not in figures_table(load_record() | {"version": "1-00000000"})


def test_generated_texts_agree_as_recorded(scorer: EmbeddedScorer) -> None:
    from phase7.scoring.training.evaluate import differences, evaluate_generated

    measured = evaluate_generated(scorer)
    assert measured["n"] >= 36
    assert differences(load_record()["generated"], measured, 1e-6) == []


def test_model_card_holds_the_recorded_tables() -> None:
    card = CARD.read_text(encoding="utf-8")
    for name, content in card_tables(load_record()).items():
        assert f"<!-- {name} -->\n{content}\n<!-- end -->" in card


def test_missing_weights_are_an_error_that_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="train-scorers"):
        EmbeddedScorer(tmp_path)


def test_damaged_weights_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(UserError, match=r"weights\.safetensors"):
        EmbeddedScorer(tmp_path)


@pytest.mark.slow
def test_speed_on_one_core() -> None:
    """At least 3,000 texts per second, in a process whose libraries have one thread each."""
    code = (
        "from phase7.scoring.embedded.scorer import EmbeddedScorer\n"
        "from phase7.scoring.training.evaluate import measure_speed\n"
        f"texts = {list(KNOWN.values())!r}\n"
        "mixed = [f'{a} {i}' for i, a in enumerate(texts * 125)]\n"
        "print(measure_speed(EmbeddedScorer(), mixed))\n"
    )
    one = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | one,
        cwd=Path(__file__).parents[2],
    )
    assert float(result.stdout) >= 3000.0
