"""Training of the whole scorer: a data folder and a seed become `weights.safetensors` and `model.json`.

Torch and BLAS run on one thread here, so that the same machine repeats every bit however many cores it
is given.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from phase7.scoring.embedded.scorer import EmbeddedScorer
from phase7.scoring.embedded.sentiment import SentimentModel
from phase7.scoring.embedded.weights import (
    RECORD_NAME,
    WEIGHTS_NAME,
    EmbeddedModel,
    load_model,
    load_record,
    save_model,
)
from phase7.scoring.training.corpora import POLITENESS_DOMAINS, Corpora, read_corpora
from phase7.scoring.training.evaluate import evaluate_emotions, evaluate_generated, measure_speed
from phase7.scoring.training.figures import unseen_figures
from phase7.scoring.training.folds import near_duplicate_groups
from phase7.scoring.training.train_emotions import (
    EmotionConfig,
    EmotionResult,
    train_emotions,
)
from phase7.scoring.training.train_heads import choose_stack, fit_stack
from phase7.scoring.training.train_politeness import Calibrated, featurise_requests, fit_chosen
from phase7.scoring.training.validate import cross_validated, sentiment_data, valence_lexicon
from phase7.store import writable_folder, write_bytes, write_text
from phase7.vocabulary.metrics import GOEMOTIONS_LABELS

Floats = NDArray[np.float64]


def train(
    data: Path,
    out: Path,
    seed: int = 0,
    config: EmotionConfig | None = None,
    log: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train every part, measure it, and write the files.

    Parameters
    ----------
    data, out : Path
        Folder with `goemotions/`, `politeness/` and `tweeteval/`; folder for the two files.
    seed : int
    config : EmotionConfig, optional
    log : callable
        Takes one line of progress.

    Returns
    -------
    dict
        The content of `model.json`.

    Raises
    ------
    UserError
        If the data are missing or malformed, or `out` cannot be written.
    """
    begin = time.perf_counter()
    config = config or EmotionConfig()
    writable_folder(out)
    corpora = read_corpora(data)
    with _one_thread():
        emotions = train_emotions(corpora.train, corpora.dev, config, seed, log)
        model, choices = _train_heads(corpora, emotions, seed)
        log("sentiment and politeness heads trained")
        figures = cross_validated(model, corpora, seed)
    with tempfile.TemporaryDirectory() as draft:
        weights = save_model(model, Path(draft)).read_bytes()
        record = _measured(EmbeddedScorer(Path(draft)), corpora, emotions)
    record |= {"seed": seed, "settings": asdict(config)} | _parameters(emotions, model)
    record |= {"choices": choices, "cross_validated": figures, "weights_bytes": len(weights)}
    record["quality"] = quality(record)
    record["timing"]["training_s"] = round(time.perf_counter() - begin, 1)
    write_bytes(out / WEIGHTS_NAME, weights)
    write_text(
        out / RECORD_NAME,
        json.dumps(rounded(record), indent=1, ensure_ascii=False) + "\n",
    )
    return record


def measure_again(data: Path, out: Path, seed: int = 0) -> dict[str, Any]:
    """Cross-validate the heads anew and write the figures into the record beside kept weights.

    Parameters
    ----------
    data, out : Path
        Folder with the corpora; folder that holds both files.
    seed : int

    Returns
    -------
    dict
        The new content of `model.json`.

    Raises
    ------
    UserError
        If the data are missing or malformed, or `out` lacks weights or record.
    """
    corpora = read_corpora(data)
    model, record = load_model(out)[0], load_record(out)
    with _one_thread():
        record["cross_validated"] = cross_validated(model, corpora, seed)
    record["quality"] = quality(record)
    write_text(out / RECORD_NAME, json.dumps(rounded(record), indent=1, ensure_ascii=False) + "\n")
    return record


def _parameters(emotions: EmotionResult, model: EmbeddedModel) -> dict[str, Any]:
    """A readable copy of thresholds and calibration."""
    return {
        "network_share": emotions.network_share,
        "thresholds": _by_label(emotions.thresholds),
        "calibration": {
            "emotion_slope": _by_label(emotions.slope),
            "emotion_intercept": _by_label(emotions.intercept),
            "politeness_slope": model.politeness_slope,
            "politeness_intercept": model.politeness_intercept,
        },
    }


def quality(record: dict[str, Any]) -> dict[str, float]:
    """The headline figures, flat, for reports."""
    validated, polite = record["cross_validated"], record["cross_validated"]["politeness"]
    wikipedia, stack_exchange = (polite["shipped_recipe"][d] for d in POLITENESS_DOMAINS)
    figures = {
        "goemotions_test_macro_f1": record["test"]["macro_f1"],
        "goemotions_test_macro_auroc": record["test"]["macro_auroc"],
        "goemotions_test_calibration_error": record["test"]["calibration_error"],
        "sentiment_tweeteval_macro_recall_cv": validated["sentiment"]["stack"]["macro_recall"],
        "sentiment_goemotions_test_macro_recall": record["test"]["sentiment"]["macro_recall"],
        "politeness_wikipedia_accuracy_cv": wikipedia["accuracy"],
        "politeness_stack_exchange_accuracy_cv": stack_exchange["accuracy"],
        "generated_sentiment_agreement": record["generated"]["sentiment_agreement"],
        "generated_emotion_top3_agreement": record["generated"]["emotion_top3_agreement"],
    }
    figures |= unseen_figures(record["version"])
    return {name: round(float(value), 4) for name, value in figures.items()}


def rounded(value: Any, digits: int = 6) -> Any:
    """Round every float of a JSON tree; NaN becomes None."""
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, digits)
    if isinstance(value, dict):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item, digits) for item in value]
    return value


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)


def _measured(scorer: EmbeddedScorer, corpora: Corpora, emotions: EmotionResult) -> dict[str, Any]:
    """What the weights alone determine, and the speed."""
    return {
        "version": scorer.version,
        "dev": evaluate_emotions(scorer, corpora.dev, emotions.thresholds),
        "test": evaluate_emotions(scorer, corpora.test, emotions.thresholds),
        "generated": evaluate_generated(scorer),
        "timing": {"texts_per_s": round(measure_speed(scorer, corpora.test.texts))},
    }


def _train_heads(
    corpora: Corpora, emotions: EmotionResult, seed: int
) -> tuple[EmbeddedModel, dict[str, Any]]:
    """Choose and fit sentiment and politeness on the calibrated emotions; return parts and choices."""
    lexicon = valence_lexicon()
    requests = featurise_requests(corpora.politeness, lexicon)
    polite, request_choice = fit_chosen(requests, lexicon, seed=seed)
    tweets, dev = sentiment_data(_assemble(emotions, polite, None), corpora)
    groups = near_duplicate_groups(corpora.tweets.texts)
    stack_choice = choose_stack(tweets, dev, groups, seed=seed)
    choices = {"politeness": asdict(request_choice), "sentiment": asdict(stack_choice)}
    return _assemble(emotions, polite, fit_stack(tweets, dev, stack_choice)), choices


def _assemble(
    emotions: EmotionResult,
    polite: Calibrated,
    sentiment: SentimentModel | None,
) -> EmbeddedModel:
    empty = SentimentModel(coefficients=np.zeros((0, 3)), bias=np.zeros(3))
    return EmbeddedModel(
        emotion_linear=emotions.linear,
        emotion_network=emotions.network,
        network_share=emotions.network_share,
        slope=emotions.slope,
        intercept=emotions.intercept,
        sentiment=sentiment or empty,
        politeness=polite.model,
        politeness_slope=polite.slope,
        politeness_intercept=polite.intercept,
    )


def _by_label(values: Floats) -> dict[str, float]:
    return dict(zip(GOEMOTIONS_LABELS, values.tolist(), strict=True))
