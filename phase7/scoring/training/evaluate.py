"""Figures that the shipped weights alone determine, as `model.json` records them."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phase7.scoring.embedded.scorer import EmbeddedScorer
from phase7.scoring.embedded.sentiment import CLASSES, emotion_sentiment
from phase7.scoring.embedded.weights import FOLDER
from phase7.scoring.training.calibration import (
    auroc,
    confusion,
    expected_calibration_error,
    f1_per_label,
    macro_auroc,
    macro_recall,
    reliability,
)
from phase7.scoring.training.corpora import EmotionCorpus
from phase7.vocabulary.metrics import GOEMOTIONS, GOEMOTIONS_LABELS

Floats = NDArray[np.float64]
GENERATED_NAME = "generated_texts.json"


def evaluate_emotions(
    scorer: EmbeddedScorer, corpus: EmotionCorpus, thresholds: Floats
) -> dict[str, Any]:
    """Figures of one GoEmotions split: emotions, their calibration, and sentiment.

    Parameters
    ----------
    scorer : EmbeddedScorer
    corpus : EmotionCorpus
    thresholds : float64 [28]
        Probability from which a label counts as given.
    """
    scores = scorer.score(corpus.texts)
    emotions = np.stack([scores[metric] for metric in GOEMOTIONS], axis=1)
    f1 = f1_per_label(corpus.targets, emotions >= thresholds)
    curve = reliability(corpus.targets.ravel(), emotions.ravel())
    sentiment = _sentiment_matrix(scores)
    truth = emotion_sentiment(corpus.targets, GOEMOTIONS_LABELS)
    used = truth >= 0
    counts = confusion(truth[used], sentiment[used].argmax(axis=1))
    per_label = {
        label: {
            "f1": float(f1[k]),
            "auroc": auroc(corpus.targets[:, k], emotions[:, k]),
            "n": int(corpus.targets[:, k].sum()),
        }
        for k, label in enumerate(GOEMOTIONS_LABELS)
    }
    return {
        "macro_f1": float(f1.mean()),
        "macro_auroc": macro_auroc(corpus.targets, emotions),
        "per_label": per_label,
        "reliability": curve,
        "calibration_error": expected_calibration_error(curve),
        "sentiment": {"macro_recall": macro_recall(counts), "confusion": counts.tolist()},
    }


def evaluate_generated(scorer: EmbeddedScorer, folder: Path = FOLDER) -> dict[str, Any]:
    """Agreement with the labels given by hand to continuations in a small model's style.

    Returns
    -------
    dict
        `n`; share of texts whose likeliest sentiment is the hand label; share whose hand-given
        emotion is the likeliest and is among the three likeliest; the sentiment confusion; and the
        texts that disagree.
    """
    items = json.loads((folder / GENERATED_NAME).read_text(encoding="utf-8"))["texts"]
    scores = scorer.score([item["text"] for item in items])
    emotions = np.stack([scores[metric] for metric in GOEMOTIONS], axis=1)
    ranked = np.argsort(-emotions, axis=1, kind="stable")
    wanted = np.array([GOEMOTIONS_LABELS.index(item["emotion"]) for item in items])
    truth = np.array([CLASSES.index(item["sentiment"]) for item in items])
    predicted = _sentiment_matrix(scores).argmax(axis=1)
    missed = [
        {
            "text": item["text"],
            "sentiment": item["sentiment"],
            "scored_sentiment": CLASSES[predicted[i]],
            "emotion": item["emotion"],
            "scored_emotion": GOEMOTIONS_LABELS[ranked[i, 0]],
        }
        for i, item in enumerate(items)
        if predicted[i] != truth[i] or ranked[i, 0] != wanted[i]
    ]
    return {
        "n": len(items),
        "sentiment_agreement": float((predicted == truth).mean()),
        "emotion_first_agreement": float((ranked[:, 0] == wanted).mean()),
        "emotion_top3_agreement": float((ranked[:, :3] == wanted[:, None]).any(axis=1).mean()),
        "sentiment_confusion": confusion(truth, predicted).tolist(),
        "disagreements": missed,
    }


def measure_speed(scorer: EmbeddedScorer, texts: list[str], repeats: int = 3) -> float:
    """Texts per second, best of several passes, on however many cores the caller allows."""
    scorer.score(texts[:64])
    best = math.inf
    for _ in range(repeats):
        begin = time.perf_counter()
        scorer.score(texts)
        best = min(best, time.perf_counter() - begin)
    return len(texts) / best


def differences(committed: Any, measured: Any, tolerance: float, where: str = "") -> list[str]:
    """Paths at which two trees of figures differ by more than `tolerance`, one line each."""
    if isinstance(committed, dict) and isinstance(measured, dict):
        keys = sorted(set(committed) | set(measured))
        pairs = [(key, committed.get(key), measured.get(key)) for key in keys]
    elif isinstance(committed, list) and isinstance(measured, list):
        if len(committed) != len(measured):
            return [f"{where}: {len(committed)} committed entries, {len(measured)} measured"]
        pairs = [(str(i), a, b) for i, (a, b) in enumerate(zip(committed, measured, strict=True))]
    elif isinstance(committed, int | float) and isinstance(measured, int | float):
        close = abs(committed - measured) <= tolerance
        return [] if close else [f"{where}: committed {committed}, measured {measured}"]
    else:
        same = committed == measured
        return [] if same else [f"{where}: committed {committed!r}, measured {measured!r}"]
    return [line for key, a, b in pairs for line in differences(a, b, tolerance, f"{where}/{key}")]


def _sentiment_matrix(scores: dict[str, Floats]) -> Floats:
    """Sentiment probabilities in the order of `CLASSES` (float64 [n, 3])."""
    return np.stack([scores[f"sentiment_{name}"] for name in CLASSES], axis=1)
