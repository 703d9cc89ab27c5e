"""Read the raw training data: `goemotions/`, `politeness/` and `tweeteval/` of one folder.

A missing file, a malformed line, and a list of labels other than the package's are refused.
"""

from __future__ import annotations

import csv
import html
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phase7.vocabulary.errors import UserError
from phase7.vocabulary.metrics import GOEMOTIONS_LABELS

POLITENESS_DOMAINS = ("wikipedia", "stack-exchange")
_REMEDY = "give --data the folder that holds goemotions/, politeness/ and tweeteval/"
_TWEET_CLASSES = {"2": 0, "0": 1, "1": 2}
"""TweetEval's 2 positive, 0 negative, 1 neutral in the order positive, negative, neutral."""


@dataclass(frozen=True, kw_only=True)
class EmotionCorpus:
    """One split of GoEmotions: texts, and targets float32 [n, 28] of 0 and 1."""

    texts: list[str]
    targets: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class PolitenessCorpus:
    """Requests of one domain.

    Attributes
    ----------
    texts : list of str
    scores : float64 [n]
        Mean normalised annotator score; higher is more polite.
    quartile : int64 [n]
        1 in the top quartile, -1 in the bottom one, else 0.
    """

    texts: list[str]
    scores: NDArray[np.float64]
    quartile: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class TweetCorpus:
    """Tweets and their class: 0 positive, 1 negative, 2 neutral (int64 [n])."""

    texts: list[str]
    classes: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Corpora:
    """All training data; `politeness` by domain."""

    train: EmotionCorpus
    dev: EmotionCorpus
    test: EmotionCorpus
    politeness: dict[str, PolitenessCorpus]
    tweets: TweetCorpus


def read_corpora(folder: Path) -> Corpora:
    """Read everything.

    Raises
    ------
    UserError
        If a file is missing or malformed; the message names it.
    """
    labels = _lines(folder / "goemotions" / "labels.txt")
    if tuple(labels) != GOEMOTIONS_LABELS:
        raise UserError(
            expected=f"the {len(GOEMOTIONS_LABELS)} GoEmotions labels in id order",
            got=f"{len(labels)} lines beginning {labels[:3]}",
            where=str(folder / "goemotions" / "labels.txt"),
            remedy=_REMEDY,
        )
    splits = {s: _read_emotions(folder / "goemotions" / f"{s}.tsv") for s in ("train", "dev", "test")}
    missing = [
        label for label, n in zip(labels, splits["train"].targets.sum(axis=0), strict=True) if n == 0
    ]
    if missing:
        raise UserError(
            expected="training texts for every label",
            got=f"none for {', '.join(missing)}",
            where=str(folder / "goemotions" / "train.tsv"),
            remedy=_REMEDY,
        )
    return Corpora(
        train=splits["train"],
        dev=splits["dev"],
        test=splits["test"],
        politeness={
            domain: _read_politeness(folder / "politeness" / f"{domain}.csv")
            for domain in POLITENESS_DOMAINS
        },
        tweets=_read_tweets(folder / "tweeteval"),
    )


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            expected="a readable UTF-8 file", got=str(error), where=str(path), remedy=_REMEDY
        ) from error


def _lines(path: Path) -> list[str]:
    # Not splitlines: some texts hold characters that it takes for line ends.
    return [line.rstrip("\r") for line in _text(path).split("\n") if line.strip()]


def _malformed(path: Path, number: int, expected: str, got: str) -> UserError:
    return UserError(
        expected=expected, got=repr(got[:60]), where=f"{path}, line {number}", remedy=_REMEDY
    )


def _read_emotions(path: Path) -> EmotionCorpus:
    texts, rows = [], []
    for number, line in enumerate(_lines(path), 1):
        cells = line.split("\t")
        row = np.zeros(len(GOEMOTIONS_LABELS), dtype=np.float32)
        try:
            row[[int(label) for label in cells[1].split(",")]] = 1.0
        except (IndexError, ValueError) as error:
            raise _malformed(path, number, "text, tab, label ids, tab, id", line) from error
        texts.append(cells[0])
        rows.append(row)
    return EmotionCorpus(texts=texts, targets=np.array(rows))


def _read_politeness(path: Path) -> PolitenessCorpus:
    texts, scores = [], []
    reader = csv.DictReader(_text(path).splitlines(keepends=True))
    for row in reader:
        try:
            texts.append(html.unescape(row["request"]))
            scores.append(float(row["normalized_score"]))
        except (KeyError, TypeError, ValueError) as error:
            expected = "columns request and normalized_score"
            raise _malformed(path, reader.line_num, expected, str(row)) from error
    values = np.array(scores)
    low, high = np.quantile(values, [0.25, 0.75])
    quartile = (values >= high).astype(np.int64) - (values <= low).astype(np.int64)
    return PolitenessCorpus(texts=texts, scores=values, quartile=quartile)


def _read_tweets(folder: Path) -> TweetCorpus:
    texts = _lines(folder / "sentiment_val_text.txt")
    path = folder / "sentiment_val_labels.txt"
    labels = _lines(path)
    if len(labels) != len(texts) or not set(labels) <= set(_TWEET_CLASSES):
        raise UserError(
            expected=f"{len(texts)} labels of 0, 1 or 2",
            got=f"{len(labels)} lines",
            where=str(path),
            remedy=_REMEDY,
        )
    classes = np.array([_TWEET_CLASSES[label] for label in labels], dtype=np.int64)
    return TweetCorpus(texts=texts, classes=classes)
