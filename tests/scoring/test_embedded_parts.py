"""The parts of the embedded scorer: tokens, features, the network, calibration and training."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from phase7.scoring.embedded.features import character_ngrams, count_matrix, word_ngrams
from phase7.scoring.embedded.network import TOKEN_LIMIT, network_logits
from phase7.scoring.embedded.sentiment import CLASSES, emotion_sentiment
from phase7.scoring.embedded.strategies import FEATURE_NAMES, WORD_LISTS, strategy_features
from phase7.scoring.embedded.text import hash_word, spelled, tokenize
from phase7.scoring.embedded.weights import load_model
from phase7.scoring.training import command
from phase7.scoring.training.calibration import (
    auroc,
    f1_per_label,
    fit_platt,
    fit_thresholds,
    macro_recall,
)
from phase7.scoring.training.corpora import read_corpora
from phase7.scoring.training.evaluate import differences
from phase7.scoring.training.overlap import overlapping_sentences
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.metrics import GOEMOTIONS_LABELS

NONE = np.zeros(0, dtype=np.uint64)


def words_of(text: str) -> list[str]:
    tokens = tokenize([text])
    characters = [chr(code) for code in tokens.codes]
    return ["".join(characters[a:b]) for a, b in zip(tokens.starts, tokens.ends, strict=True)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I don't KNOW", ["i", "don't", "know"]),
        ("'quoted' it’s", ["'", "quoted", "'", "it's"]),
        ("soooooo good!!!!", ["soo", "good", "!", "!"]),
        ("in 1999, 2 of 3", ["in", "00", ",", "0", "of", "0"]),
        ("nice😀👍🏽", ["nice", "😀", "👍"]),
        ("Überraschung — ÉTÉ", ["überraschung", "—", "été"]),
        ("a\x00b\tc\u00a0d", ["a", "b", "c", "d"]),
        ("", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words_of(text) == expected


def test_hash_of_a_token_is_the_hash_of_its_spelling_wherever_it_stands() -> None:
    tokens = tokenize(["tea for two", "", "two cups of tea"])
    by_word = {"tea": [0, 6], "for": [1], "two": [2, 3], "cups": [4], "of": [5]}
    for word, places in by_word.items():
        assert set(tokens.hashes[places].tolist()) == {hash_word(word)}
    assert tokens.first_token.tolist() == [0, 3, 3, 7]


def test_shouted_words_have_two_capitals_and_nothing_else() -> None:
    assert tokenize(["I AM Not LOUD a1 B2B"]).shouted.tolist() == [
        False, True, False, True, False, False,
    ]  # fmt: skip


def test_ngrams_stay_inside_their_text() -> None:
    texts = ["one two three", "", "four", "five six"]
    tokens = tokenize(texts)
    _, owners = word_ngrams(tokens, (1, 2))
    assert np.bincount(owners, minlength=4).tolist() == [5, 0, 1, 3]
    _, owners = character_ngrams(tokens, (3,))
    assert np.bincount(owners, minlength=4).tolist() == [13, 0, 4, 8]


def test_spelled_tokens_have_the_ngrams_of_the_word_alone() -> None:
    tokens = tokenize(["what a lovely day"])
    inside, _ = character_ngrams(spelled(tokens, np.array([2])), (3, 4, 5))
    alone, _ = character_ngrams(tokenize(["lovely"]), (3, 4, 5))
    np.testing.assert_array_equal(inside, alone)


def test_counts_equal_a_plain_count() -> None:
    texts = ["the cat and the dog", "the the the", ""]
    groups = [word_ngrams(tokenize(texts), (1,))]
    matrix = count_matrix(groups, len(texts), 40)
    for row, text in enumerate(texts):
        expected = Counter(hash_word(word) for word in text.split())
        begin, end = matrix.indptr[row : row + 2]
        assert sorted(matrix.data[begin:end]) == sorted(expected.values())


def test_strategies_of_a_polite_request() -> None:
    text = "Hi! Could you please help me? Thanks"
    (row,) = strategy_features(tokenize([text]), NONE, NONE)
    found = {name for name, value in zip(FEATURE_NAMES, row, strict=True) if value > 0}
    assert {"greeting_first", "could_you", "please_later", "any_gratitude"} <= found
    assert not {"please_first", "can_you", "question_word_first", "any_insult"} & found


def test_strategy_words_are_tokens_as_spelled() -> None:
    for words in WORD_LISTS.values():
        for word in words.split():
            assert words_of(word) == [word]


def test_network_sums_stay_exact() -> None:
    """The bounds that make every sum of whole numbers exact in float32 and float64."""
    network = load_model()[0].emotion_network
    reach = np.abs(network.kernels).sum(axis=0) * TOKEN_LIMIT + np.abs(network.kernel_bias)
    assert reach.max() < 2**24
    assert (np.abs(network.attention) * reach).sum() < 2**53
    assert (np.abs(network.output) * np.tile(reach, 2)[:, None]).sum(axis=0).max() < 2**53
    for name in ("kernels", "kernel_bias", "attention", "output"):
        value = getattr(network, name)
        np.testing.assert_array_equal(value, np.rint(value))


@pytest.mark.slow
def test_quantised_network_follows_the_trained_one() -> None:
    from phase7.scoring.training.train_emotions import lexicon_table
    from phase7.scoring.training.train_network import (
        NetworkConfig,
        predict,
        quantise,
        sequences,
        train_network,
    )

    rng = np.random.default_rng(3)
    words = "good bad awful GREAT thanks you the a cat dog ! ? 😀 sad"
    vocabulary = np.array(words.split())
    texts = [" ".join(vocabulary[rng.integers(0, 14, n)]) for n in rng.integers(1, 20, 200)]
    targets = np.array([["good" in t, "sad" in t, "cat" in t] for t in texts], dtype=np.float32)
    config = NetworkConfig(word_bits=10, subword_bits=10, size=16, channels=8, epochs=40, batch=16)
    tokens, lexicon = tokenize(texts), lexicon_table()
    data = sequences(tokens, config, lexicon)
    model = train_network(data, targets, config, seed=1)
    expected = predict(model, data)
    found = network_logits(tokens, quantise(model, data, lexicon))
    assert np.abs(found - expected).max() < 0.05 * np.ptp(expected)
    assert min(auroc(y, z) for y, z in zip(targets.T, found.T, strict=True)) > 0.9


def test_auroc_equals_the_share_of_ordered_pairs() -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.random(60) < 0.3, np.round(rng.normal(size=60), 1)
    gaps = scores[labels][:, None] - scores[~labels][None, :]
    assert auroc(labels, scores) == pytest.approx(((gaps > 0) + 0.5 * (gaps == 0)).mean())
    assert np.isnan(auroc(np.zeros(4), np.arange(4.0)))


def test_platt_recovers_a_known_distortion() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(40_000, 1))
    labels = (rng.random(truth.shape) < 1 / (1 + np.exp(-truth))).astype(np.float32)
    slope, intercept = fit_platt(labels, (truth + 1.0) / 3.0)
    assert slope[0] == pytest.approx(3.0, abs=0.15)
    assert intercept[0] == pytest.approx(-1.0, abs=0.1)


def test_thresholds_separate_what_can_be_separated() -> None:
    labels = np.repeat([[1.0], [0.0]], [30, 70], axis=0).astype(np.float32)
    scores = np.concatenate([np.linspace(2, 3, 30), np.linspace(-1, 1, 70)])[:, None]
    thresholds = fit_thresholds(labels, scores)
    assert 1.0 < thresholds[0] < 2.1
    assert f1_per_label(labels, scores >= thresholds)[0] > 0.95


def test_macro_recall_averages_classes_not_texts() -> None:
    assert macro_recall(np.array([[90, 10, 0], [0, 1, 1], [0, 0, 4]])) == pytest.approx(2.4 / 3)


def test_sentiment_classes_of_label_sets() -> None:
    sets = [["joy"], ["anger", "confusion"], ["neutral"], ["joy", "anger"], ["surprise"],
            ["surprise", "neutral"], ["love", "neutral"]]  # fmt: skip
    targets = np.zeros((len(sets), 28), dtype=np.float32)
    for row, labels in enumerate(sets):
        targets[row, [GOEMOTIONS_LABELS.index(label) for label in labels]] = 1
    positive, negative, neutral = range(len(CLASSES))
    expected = [positive, negative, neutral, -1, -1, -1, positive]
    assert emotion_sentiment(targets, GOEMOTIONS_LABELS).tolist() == expected


def test_differences_name_the_place() -> None:
    one = {"a": {"b": 1.0, "c": [1, 2]}, "d": "x"}
    assert differences(one, json.loads(json.dumps(one)), 0.0) == []
    other = {"a": {"b": 1.1, "c": [1, 2, 3]}, "d": "y"}
    assert [line.split(":")[0] for line in differences(one, other, 0.01)] == ["/a/b", "/a/c", "/d"]


@pytest.fixture
def data_folder(tmp_path: Path) -> Path:
    """Made-up data in the format of the real ones: each label has words of its own."""
    rng = np.random.default_rng(7)
    folder = tmp_path / "data"
    for name in ("goemotions", "politeness", "tweeteval"):
        (folder / name).mkdir(parents=True)
    (folder / "goemotions" / "labels.txt").write_text("\n".join(GOEMOTIONS_LABELS) + "\n")
    for split, n in (("train", 20), ("dev", 6), ("test", 6)):
        lines = [
            f"{label} word{rng.integers(9)} here\t{k}\tid{i}"
            for i in range(n)
            for k, label in enumerate(GOEMOTIONS_LABELS)
        ]
        (folder / "goemotions" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    for domain in ("wikipedia", "stack-exchange"):
        rows = [f'"please {"thanks" if i % 2 else "why"} item {i}",{(i % 2) * 2 - 1 + i / 1e4}'
                for i in range(80)]  # fmt: skip
        path = folder / "politeness" / f"{domain}.csv"
        path.write_text("request,normalized_score\n" + "\n".join(rows) + "\n")
    tweets = [("bad day", "so so", "good day")[i % 3] + f" number {i}" for i in range(60)]
    (folder / "tweeteval" / "sentiment_val_text.txt").write_text("\n".join(tweets) + "\n")
    labels = "\n".join(str(i % 3) for i in range(60)) + "\n"
    (folder / "tweeteval" / "sentiment_val_labels.txt").write_text(labels)
    return folder


@pytest.mark.slow
def test_training_repeats_itself_and_learns(data_folder: Path, tmp_path: Path) -> None:
    from phase7.scoring.training.train import train
    from phase7.scoring.training.train_emotions import EmotionConfig
    from phase7.scoring.training.train_network import NetworkConfig

    network = NetworkConfig(word_bits=8, subword_bits=8, size=8, channels=4, epochs=2, batch=64)
    config = EmotionConfig(linear_iterations=4, n_teachers=1, teacher=network, student=network)
    records = []
    for name in ("one", "two"):
        log: list[str] = []
        record = train(data_folder, tmp_path / name, 3, config, log.append)
        record.pop("timing")
        records.append(record)
        assert log
    assert records[0] == records[1]
    one, two = (tmp_path / name / "weights.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert records[0]["quality"]["goemotions_test_macro_auroc"] > 0.9
    assert records[0]["quality"]["politeness_wikipedia_accuracy_cv"] > 0.9


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("goemotions/labels.txt", "joy\n", "28 GoEmotions labels"),
        ("goemotions/dev.tsv", "no tabs here\n", r"dev\.tsv, line 1: expected text, tab"),
        ("goemotions/train.tsv", "fine\t0\tid\n", "none for amusement"),
        ("politeness/wikipedia.csv", "a,b\n1,2\n", "columns request and normalized_score"),
        ("tweeteval/sentiment_val_labels.txt", "5\n", "60 labels of 0, 1 or 2"),
    ],
)
def test_malformed_data_are_named(data_folder: Path, name: str, content: str, message: str) -> None:
    (data_folder / name).write_text(content)
    with pytest.raises(UserError, match=message):
        read_corpora(data_folder)


def test_missing_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"labels\.txt.*--data"):
        read_corpora(tmp_path)


def test_overlap_finds_a_planted_sentence(data_folder: Path, tmp_path: Path) -> None:
    tweets = data_folder / "tweeteval" / "sentiment_val_text.txt"
    planted = "my neighbour planted nine tall pear trees by the gate"
    lines = tweets.read_text().splitlines()
    tweets.write_text("\n".join([planted, *lines[1:]]) + "\n")
    corpora = read_corpora(data_folder)
    other = tmp_path / "other"
    other.mkdir()
    (other / "clean.md").write_text("A page about pear trees.")
    assert overlapping_sentences(corpora, other) == []
    (other / "note.md").write_text("He wrote: my neighbour planted nine TALL, pear trees by it.")
    (found,) = overlapping_sentences(corpora, other)
    assert "note.md: my neighbour planted nine tall pear trees by" in found


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(words)


def test_show_prints_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(arguments("--show")) == 0
    printed = capsys.readouterr().out
    assert "macro-F1, GoEmotions test" in printed
    assert load_model()[1] in printed


def test_training_without_data_is_a_user_error() -> None:
    with pytest.raises(UserError, match="--data"):
        command.run(arguments())


def test_card_is_renewed_without_other_changes(tmp_path: Path) -> None:
    card = tmp_path / "scorers.md"
    card.write_text(
        "Before\n<!-- machine -->\n<!-- end -->\n<!-- figures -->\nold\n<!-- end -->\nafter\n"
    )
    assert command.run(arguments("--card", str(card))) == 0
    text = card.read_text()
    assert text.startswith("Before\n<!-- machine -->\nWeights: ")
    assert " s.\n<!-- end -->\n<!-- figures -->\n| part |" in text
    assert text.endswith("\n<!-- end -->\nafter\n")
    assert "old" not in text
    assert (tmp_path / "figures" / "calibration.png").read_bytes().startswith(b"\x89PNG")
