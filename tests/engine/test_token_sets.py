"""Token sets: the spellings of words that are one token, and what is no such word."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from phase7.engine.model.token_sets import form_token_set, word_token_set
from phase7.experiment.word_families import load_families
from phase7.vocabulary.errors import UserError
from tests import tiny

#: Tokens behind the letters, each with its id from 100 on; Ġ is a leading space.
WHOLE = ("thank", "Ġthank", "ĠThank", "Thank", "Ġsorry", "Ġjoy", "NASA", "ĠNASA", "thanks", "ĠTHANK")


def emotion_token_set(tokenizer, emotion, path):
    """The set of an emotion, as a run makes it from the file's families."""
    forms = load_families(path, [emotion])[emotion]
    return form_token_set(tokenizer, emotion, forms, where=str(path))


@pytest.fixture(scope="module")
def tokenizer():
    """Words of :data:`WHOLE` are one token; all others are spelled out."""
    letters = ["<unk>", "Ġ", *"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'"]
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    vocabulary |= {f"<{number}>": number for number in range(len(letters), 100)}
    vocabulary |= {word: 100 + number for number, word in enumerate(WHOLE)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")


@pytest.fixture
def families(tmp_path) -> Path:
    path = tmp_path / "keywords.toml"
    path.write_text(
        '[gratitude]\nthank = ["thank", "thanks", "thankful"]\nmuch_obliged = ["much obliged"]\n'
        '[apology]\nsorry = ["sorry"]\n[anger]\nfury = ["fury"]\n',
        encoding="utf-8",
    )
    return path


def ids(*words: str) -> tuple[int, ...]:
    return tuple(sorted(100 + WHOLE.index(word) for word in words))


def test_an_emotions_set_is_every_form_that_is_one_token(tokenizer, families):
    expected = ids("thank", "Ġthank", "ĠThank", "Thank", "thanks")
    assert emotion_token_set(tokenizer, "gratitude", families) == expected  # not THANK: capitalised only
    assert emotion_token_set(tokenizer, "apology", families) == ids("Ġsorry")


def test_an_emotion_without_a_token_is_an_error(tokenizer, families):
    with pytest.raises(
        UserError, match=r"\[anger\]: expected a word of anger .* got none among 1 forms"
    ):
        emotion_token_set(tokenizer, "anger", families)


def test_an_emotion_without_a_table_is_an_error(tokenizer, families):
    with pytest.raises(UserError, match=r"expected tables \[joy\].*got KeyError: 'joy'"):
        emotion_token_set(tokenizer, "joy", families)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["thank"], ("thank", "Ġthank", "ĠThank", "Thank")),
        ([" Thank "], ("thank", "Ġthank", "ĠThank", "Thank")),
        (["THANK"], ("thank", "Ġthank", "ĠThank", "Thank", "ĠTHANK")),
        (["joy", "sorry", "joy"], ("Ġjoy", "Ġsorry")),
        (["NASA"], ("NASA", "ĠNASA")),
    ],
)
def test_a_users_words_are_taken_as_written_too(tokenizer, words, expected):
    assert word_token_set(tokenizer, words, where="--readout") == ids(*expected)


@pytest.mark.parametrize("words", [[], [""], ["joy", " "]])
def test_no_word_and_a_blank_one_are_errors(tokenizer, words):
    with pytest.raises(UserError, match="--readout: expected at least one word, and none blank"):
        word_token_set(tokenizer, words, where="--readout")


def test_a_word_that_is_no_single_token_is_an_error(tokenizer):
    with pytest.raises(
        UserError, match=r"joys: expected .*got 'delight', which it reads as <unk>; leave"
    ):
        word_token_set(tokenizer, ["joy", "delight"], where="joys")
    with pytest.raises(UserError, match=r"got 'shelf', which it reads as Ġs \+ he \+ lf; leave"):
        word_token_set(tiny.tokenizer(), ["shelf"], where="joys")
