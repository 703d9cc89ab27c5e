"""Scorers: what counts as a keyword, what VADER and classifiers give, and how scorers are chosen."""

from __future__ import annotations

import json
import math
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, BertForSequenceClassification

from phase7.scoring import choose
from phase7.scoring.base import score_distinct
from phase7.scoring.choose import choose_scorers
from phase7.scoring.hub import HubScorer
from phase7.scoring.keywords import KeywordScorer
from phase7.scoring.vader import VaderScorer
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.metrics import (
    GOEMOTIONS,
    GOEMOTIONS_LABELS,
    KEYWORDS,
    METRICS,
    POLITENESS,
    SENTIMENT,
)
from tests import tiny

LAW = settings(max_examples=100, deadline=None, derandomize=True)
ROOT = Path(__file__).parents[2]
WORDS = """
[gratitude]
thank = ["thank", "thanks", "thankful"]
thank_you = ["thank you", "thank you so much"]
much = ["I'm obliged"]
[anger]
angry = ["angry", "angrier"]
fed_up = ["fed up"]
mad = ["mad", "hell", "mad as hell"]
[apology]
sorry = ["sorry"]
desole = ["désolé"]
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def keywords(tmp_path):
    return KeywordScorer(write(tmp_path / "keywords.toml", WORDS))


def counts(scorer: KeywordScorer, text: str) -> tuple[float, ...]:
    scores = scorer.score([text])
    return tuple(float(scores[metric][0]) for metric in KEYWORDS)


# --- keywords ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (0, 0, 0)),
        ("The kettle is on the shelf.", (0, 0, 0)),
        ("thanks", (1, 0, 0)),
        ("Thanks, THANKS and tHaNkS!", (3, 0, 0)),
        ("I am angry and sorry.", (0, 1, 1)),
        ("thankless, unthankful, thanksgiving, hangry, sorrys, angry1, 2sorry", (0, 0, 0)),
        ("thank you", (1, 0, 0)),
        ("Thank  you\nso much, thank you", (2, 0, 0)),
        ("thank your mother", (1, 0, 0)),
        ("thank\tyou so", (1, 0, 0)),
        ("fed up; fed; up; fedup; fed-up", (0, 1, 0)),
        ("mad as hell; mad, as hell", (0, 3, 0)),
        ("I'm obliged. I\u2019m obliged. I\u2019M OBLIGED", (3, 0, 0)),
        ("I`m obliged", (0, 0, 0)),
        ("sorry's 'sorry' \u2018sorry\u2019 \u201csorry\u201d (sorry) sorry\u2014sorry", (0, 0, 7)),
        ("_sorry_ **sorry** sorry_", (0, 0, 3)),
        ("Désolé, DÉSOLÉ; désolée", (0, 0, 2)),
        ("sorryé ésorry ごめんsorry sorry。", (0, 0, 1)),
        ("sorry\u00a0sorry\u3000sorry", (0, 0, 3)),
        ("thank\u00a0you", (1, 0, 0)),
        ("so\u00adrry so rry s o r r y", (0, 0, 0)),
    ],
)
def test_whole_words_and_phrases_are_counted(keywords, text, expected):
    assert counts(keywords, text) == expected


words = st.sampled_from(
    ["sorry", "Thanks", "thank you", "angry", "thankless", "the", "up", "fed", "désolé", "kettle"]
)


@LAW
@given(
    first=st.lists(words, max_size=6),
    second=st.lists(words, max_size=6),
    cut=st.sampled_from([". ", "; ", "!\n"]),
)
def test_counts_add_over_sentences_whatever_the_case(tmp_path_factory, first, second, cut):
    scorer = KeywordScorer(write(tmp_path_factory.mktemp("k") / "k.toml", WORDS))
    one, other = " ".join(first), " ".join(second)
    together = np.add(counts(scorer, one), counts(scorer, other))
    np.testing.assert_array_equal(counts(scorer, one + cut + other), together)
    np.testing.assert_array_equal(counts(scorer, (one + cut + other).upper()), together)
    expected = sum(word.lower() in ("sorry", "désolé") for word in first + second)
    assert together[2] == expected


@LAW
@given(st.text(max_size=60))
def test_counts_of_any_text_are_whole_numbers(tmp_path_factory, text):
    scorer = KeywordScorer(write(tmp_path_factory.mktemp("k") / "k.toml", WORDS))
    for metric, column in scorer.score([text, "sorry"]).items():
        assert column.dtype == np.float64
        assert column[0] == int(column[0]) >= 0
        assert column[1] == (metric == "apology_keywords")


def test_typographic_apostrophes_in_the_file_count_as_plain_ones(tmp_path):
    scorer = KeywordScorer(write(tmp_path / "k.toml", WORDS.replace("I'm", "I\u2019m")))
    assert counts(scorer, "I'm obliged, I\u2019m obliged") == (2, 0, 0)


def test_characters_with_a_meaning_in_patterns_are_taken_as_they_are(tmp_path):
    scorer = KeywordScorer(write(tmp_path / "k.toml", WORDS.replace('"sorry"', '"s.rry", "so(rry"')))
    assert counts(scorer, "sorry s.rry so(rry") == (0, 0, 2)


def test_the_version_follows_the_families_and_not_the_files_layout(tmp_path):
    def version(text: str) -> str:
        return KeywordScorer(write(tmp_path / "k.toml", text)).version

    plain = version(WORDS)
    assert version("# a comment\n" + WORDS.replace('"thank", "thanks"', '"thanks", "thank"')) == plain
    assert version(WORDS.replace('"thanks"', '"thanx"')) != plain
    moved = WORDS.replace('"angry", ', "").replace('"sorry"', '"sorry", "angry"')
    assert version(moved) != plain


@pytest.mark.parametrize(
    "text",
    [
        WORDS.replace("[apology]", "[regret]"),
        WORDS.replace('["sorry"]', "3"),
        WORDS.replace('["sorry"]', '"sorry"'),
        WORDS.replace('["sorry"]', "[3]"),
        WORDS.replace('["sorry"]', '[""]'),
        WORDS.replace('["sorry"]', '["  "]'),
        WORDS.partition("[apology]")[0] + "[apology]\n",
        WORDS.partition("[apology]")[0] + "[apology]\nsorry = []\n",
        "gratitude = 1\n" + WORDS.partition("[anger]")[2].join(["[anger]", ""]),
        "not toml",
        "",
    ],
    ids=["emotion missing", "number", "text for list", "number in list", "empty form", "blank form",
         "no lemma", "no form", "no table", "not TOML", "empty file"],
)  # fmt: skip
def test_another_form_of_the_keywords_file_is_refused(tmp_path, text):
    path = write(tmp_path / "keywords.toml", text)
    with pytest.raises(UserError) as caught:
        KeywordScorer(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: expected tables [gratitude], [anger], [apology]")
    assert message.endswith("; restore or correct the file")
    assert len(message.splitlines()) == 1


def test_a_missing_keywords_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="FileNotFoundError"):
        KeywordScorer(tmp_path / "none.toml")


def test_the_keywords_of_the_repository_load_and_count():
    scorer = KeywordScorer(ROOT / "data" / "keywords.toml")
    assert counts(scorer, "The bus leaves at ten.") == (0, 0, 0)
    assert min(counts(scorer, "Thank you. I am so angry. I am sorry.")) >= 1


# --- VADER -------------------------------------------------------------------------------------


@LAW
@given(
    st.lists(
        st.text(max_size=80)
        | st.lists(
            st.sampled_from(
                ["good", "bad", "not", "great", "terrible", "VERY", "!", ":)", "😀", "the", "bus"]
            )
        ).map(" ".join),
        min_size=1,
        max_size=3,
    )
)
def test_vaders_shares_sum_to_one_for_any_text(texts):
    scores = VaderScorer().score(texts)
    assert set(scores) == set(SENTIMENT)
    total = sum(scores[metric] for metric in SENTIMENT)
    np.testing.assert_allclose(total, 1.0, atol=0.002)
    assert all(((column >= 0) & (column <= 1)).all() for column in scores.values())


@pytest.mark.parametrize("text", ["", " ", "\n\t", "...", "\u200b"])
def test_a_text_without_words_is_wholly_neutral(text):
    scores = VaderScorer().score(["A wonderful, great day!", text])
    assert [scores[metric][1] for metric in SENTIMENT] == [0.0, 0.0, 1.0]
    assert scores["sentiment_neutral"][0] < 1.0


def test_vader_tells_good_from_bad_and_does_not_look_at_neighbours():
    texts = ["I love this wonderful gift.", "I hate this horrible mess.", "The bus leaves at ten."]
    scores = VaderScorer().score(texts)
    assert scores["sentiment_positive"].argmax() == 0
    assert scores["sentiment_negative"].argmax() == 1
    assert scores["sentiment_neutral"].argmax() == 2
    for i, text in enumerate(texts):
        alone = VaderScorer().score([text])
        assert {m: column[0] for m, column in alone.items()} == {m: scores[m][i] for m in SENTIMENT}


# --- classifiers -------------------------------------------------------------------------------

LABELS = {
    "sentiment": ("positive", "neutral", "negative"),
    "goemotions": tuple(reversed(GOEMOTIONS_LABELS)),
    "politeness": ("Polite", "somewhat polite", "neutral", "impolite"),
}
TEXTS = [
    "Thank you so much for the lift.",
    "She wrote the number on a card",
    "",
    "I am furious about it",
]


def classifier(folder: Path, labels: tuple[str, ...], seed: int) -> str:
    """A tiny random classifier with these labels, in Hugging Face format."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=tiny.N_VOCAB, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=64, initializer_range=0.5, pad_token_id=0,
        id2label=dict(enumerate(labels)), label2id={label: i for i, label in enumerate(labels)},
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    words = tiny.tokenizer()
    words.pad_token = "<|endoftext|>"
    words.model_max_length = 64
    words.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def repositories(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    return {
        task: classifier(folder / task, labels, seed)
        for seed, (task, labels) in enumerate(LABELS.items())
    }


def probabilities(folder: str, text: str, *, multi_label: bool) -> dict[str, float]:
    """One text through transformers alone, unpadded."""
    model = BertForSequenceClassification.from_pretrained(folder).eval()
    ids = tiny.tokenizer()(text)["input_ids"]
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0].double()
    values = logits.sigmoid() if multi_label else logits.softmax(dim=-1)
    return {model.config.id2label[i].lower(): float(value) for i, value in enumerate(values)}


def test_classifiers_give_independent_goemotions_and_shares_of_sentiment(repositories, tmp_path):
    scorer = HubScorer(tmp_path, repositories)
    scores = scorer.score(TEXTS)
    assert set(scores) == set(scorer.metrics) == set(SENTIMENT + POLITENESS + GOEMOTIONS)
    for i, text in enumerate(TEXTS):
        if not text:
            continue
        expected = probabilities(repositories["goemotions"], text, multi_label=True)
        got = {label: scores[f"goemotions_{label}"][i] for label in GOEMOTIONS_LABELS}
        assert got == pytest.approx(expected, abs=1e-5)
        assert sum(got.values()) != pytest.approx(1.0, abs=0.5)
        expected = probabilities(repositories["sentiment"], text, multi_label=False)
        got = {label: scores[f"sentiment_{label}"][i] for label in LABELS["sentiment"]}
        assert got == pytest.approx(expected, abs=1e-5)
        polite = probabilities(repositories["politeness"], text, multi_label=False)
        assert scores["politeness"][i] == pytest.approx(
            polite["polite"] + polite["somewhat polite"], abs=1e-5
        )
    np.testing.assert_allclose(sum(scores[metric] for metric in SENTIMENT), 1.0, atol=1e-9)


def test_a_classifiers_scores_do_not_depend_on_company_beyond_rounding(repositories, tmp_path):
    scorer = HubScorer(tmp_path, repositories)
    together = scorer.score(TEXTS * 5)  # more than one batch
    alone = scorer.score([TEXTS[1]])
    for metric in scorer.metrics:
        np.testing.assert_allclose(together[metric][1::4], alone[metric][0], atol=1e-5)
    assert np.ptp(together["politeness"]) > 1e-3


def test_the_hub_scorers_version_follows_the_weights(repositories, tmp_path):
    other = classifier(tmp_path / "other", LABELS["politeness"], seed=99)
    version = HubScorer(tmp_path, repositories).version
    assert HubScorer(tmp_path, repositories).version == version
    assert HubScorer(tmp_path, repositories | {"politeness": other}).version != version


def test_a_classifier_of_another_task_is_refused_with_its_labels(repositories, tmp_path):
    with pytest.raises(UserError, match=r"expected the labels .*admiration.*, got .*impolite") as caught:
        HubScorer(tmp_path, repositories | {"goemotions": repositories["politeness"]})
    assert repositories["politeness"] in str(caught.value)


@pytest.fixture
def no_hub(monkeypatch):
    """A machine without network and with an empty hub cache."""

    def no_network(*args, **kwargs):
        raise ConnectionError("no route to the hub")

    def nothing_cached(*args, **kwargs):
        raise huggingface_hub.errors.LocalEntryNotFoundError("not cached")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", no_network)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", nothing_cached)


@pytest.mark.usefixtures("no_hub")
def test_a_classifier_that_cannot_be_reached_is_an_error_and_never_a_substitute(tmp_path):
    with pytest.raises(UserError, match="no route to the hub") as caught:
        choose_scorers(["keywords", "hub"], root=ROOT, store_root=tmp_path)
    assert "distilbert-base-multilingual" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


# --- many texts, many scorers ------------------------------------------------------------------


class Fixed:
    """Scores a text by its length; remembers what it was asked."""

    def __init__(self, name: str, metrics: tuple[str, ...], factor: float = 1.0) -> None:
        self.name, self.version, self.metrics, self.factor = name, "1", metrics, factor
        self.asked: list[str] = []

    def score(self, texts):
        self.asked += texts
        column = np.array([self.factor * len(text) for text in texts], dtype=np.float64)
        return {metric: column for metric in self.metrics}

    def describe(self):
        return {}


def test_a_metric_that_no_scorer_measures_is_nan():
    scored = score_distinct(
        [Fixed("a", ("politeness",)), Fixed("b", ("goemotions_joy",), 2.0)], ["abc", ""]
    )
    assert set(scored) == {"abc", ""}
    measured = {METRICS.index("politeness"): 3.0, METRICS.index("goemotions_joy"): 6.0}
    for i, value in enumerate(scored["abc"]):
        assert value == measured[i] if i in measured else math.isnan(value)
    assert scored[""][METRICS.index("politeness")] == 0.0
    assert scored["abc"].shape == (len(METRICS),)
    assert scored["abc"].dtype == np.float64


@pytest.mark.slow
@LAW
@given(st.lists(st.text(max_size=6), max_size=8), st.randoms(use_true_random=False))
def test_neither_order_nor_repeats_change_a_score_and_each_text_is_scored_once(texts, random):
    shuffled = texts + texts[:3]
    random.shuffle(shuffled)
    scorer = Fixed("a", ("politeness",))
    first = score_distinct([scorer, VaderScorer()], texts)
    assert sorted(scorer.asked) == sorted(set(texts))
    again = score_distinct([VaderScorer(), Fixed("a", ("politeness",))], shuffled)
    assert list(first) == list(again)
    for text in texts:
        np.testing.assert_array_equal(first[text], again[text])
        assert first[text][METRICS.index("politeness")] == len(text)


def test_no_texts_give_no_scores():
    assert score_distinct([Fixed("a", ("politeness",))], []) == {}


def test_scorers_come_in_the_order_of_their_names(tmp_path):
    for names in (["vader", "keywords"], ["keywords", "vader"]):
        chosen = choose_scorers(names, root=ROOT, store_root=tmp_path)
        assert [scorer.name for scorer in chosen] == names


@pytest.mark.parametrize("name", ["VADER", "", " keywords", "bert"])
def test_an_unknown_scorer_is_refused_with_the_known_ones(tmp_path, name):
    with pytest.raises(UserError) as caught:
        choose_scorers(["keywords", name], root=ROOT, store_root=tmp_path)
    assert str(caught.value) == (
        f"scorers: expected some of {', '.join(choose.NAMES)}, got {' '.join(repr(name).split())};"
        + {
            "VADER": " did you mean vader? else correct the name",
            " keywords": " did you mean keywords? else correct the name",
        }.get(name, " correct the name")
    )


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize("name", choose.NAMES)
def test_a_known_name_is_not_refused_as_unknown(tmp_path, name):
    """Liveness of the refusal above; a scorer may still be impossible to load here."""
    try:
        (scorer,) = choose_scorers([name], root=ROOT, store_root=tmp_path)
    except UserError as error:
        assert "correct the name" not in str(error)
    else:
        assert scorer.name == name


def test_two_scorers_for_one_metric_are_refused_by_name(tmp_path, monkeypatch):
    made = {"a": Fixed("a", ("politeness",)), "b": Fixed("b", ("gratitude_keywords", "politeness"))}
    monkeypatch.setattr(choose, "_make", lambda name, root, store_root: made[name])
    with pytest.raises(
        UserError,
        match=r"^scorers: expected one scorer for each metric, got a and b for politeness;",
    ):
        choose_scorers(["a", "b"], root=ROOT, store_root=tmp_path)
    with pytest.raises(UserError, match="got a and a for politeness"):
        choose_scorers(["a", "a"], root=ROOT, store_root=tmp_path)
    assert len(choose_scorers(["a"], root=ROOT, store_root=tmp_path)) == 1


@pytest.mark.parametrize("name", ["keywords", "vader"])
def test_a_scorer_describes_itself_in_json(tmp_path, name):
    (scorer,) = choose_scorers([name], root=ROOT, store_root=tmp_path)
    said = json.loads(json.dumps(scorer.describe()))
    assert (said["name"], said["version"]) == (scorer.name, scorer.version)
    assert tuple(said["metrics"]) == scorer.metrics
    assert set(scorer.metrics) == set(scorer.score(["a"])) <= set(METRICS)
    assert said["description"]
