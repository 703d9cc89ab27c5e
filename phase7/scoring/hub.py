"""Transformer classifiers from the Hugging Face hub, for publication-grade work.

Each task names a repository with its pinned commit: three-class sentiment, the 28 GoEmotions
probabilities (independent, by sigmoid) and politeness. Weights that are not safetensors and a classifier
whose labels are not the task's are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from phase7.scoring.base import Scores
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.metrics import GOEMOTIONS, POLITENESS, SENTIMENT

_BATCH = 16


@dataclass(frozen=True, kw_only=True)
class HubTask:
    """One classifier: which labels of its make up each metric, and how logits become probabilities.

    `labels` maps a metric to the classifier's labels (lower case) whose probabilities are summed.
    """

    repository: str
    multi_label: bool
    labels: dict[str, tuple[str, ...]]


#: Repository ids, ``owner/name@commit`` where the commit is pinned.
DEFAULT_REPOSITORIES = {
    "sentiment": "lxyuan/distilbert-base-multilingual-cased-sentiments-student"
    "@cf991100d706c13c0a080c097134c05b7f436c45",
    "goemotions": "SamLowe/roberta-base-go_emotions@58b6c5b44a7a12093f782442969019c7e2982299",
    "politeness": "Intel/polite-guard",
}

_LABELS: dict[str, dict[str, tuple[str, ...]]] = {
    "sentiment": {metric: (metric.removeprefix("sentiment_"),) for metric in SENTIMENT},
    "goemotions": {metric: (metric.removeprefix("goemotions_"),) for metric in GOEMOTIONS},
    "politeness": {POLITENESS[0]: ("polite", "somewhat polite")},
}


class HubScorer:
    """The three classifiers behind one scorer.

    Parameters
    ----------
    store_root : Path
        The store, for models known by name; hub files go to the hub's own cache.
    repositories : dict of str to str, optional
        Overrides for ``sentiment``, ``goemotions``, ``politeness``.
    """

    name = "hub"
    metrics = SENTIMENT + POLITENESS + GOEMOTIONS

    def __init__(self, store_root: Path, repositories: dict[str, str] | None = None) -> None:
        chosen = DEFAULT_REPOSITORIES | (repositories or {})
        self._classifiers = [
            _Classifier(
                HubTask(
                    repository=chosen[task],
                    multi_label=task == "goemotions",
                    labels=_LABELS[task],
                ),
                store_root,
            )
            for task in _LABELS
        ]
        self.version = "-".join(one.fingerprint[:8] for one in self._classifiers)

    def score(self, texts: Sequence[str]) -> dict[str, Scores]:
        """Probabilities per text."""
        return {
            metric: column
            for classifier in self._classifiers
            for metric, column in classifier.score(texts).items()
        }

    def describe(self) -> dict[str, Any]:
        """See :class:`phase7.scoring.base.Scorer`."""
        sources = ", ".join(one.source for one in self._classifiers)
        return {
            "name": self.name,
            "version": self.version,
            "metrics": list(self.metrics),
            "description": f"transformer classifiers {sources}",
            "quality": {},
        }


class _Classifier:
    def __init__(self, task: HubTask, store_root: Path) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        from phase7.models.files import find_model
        from phase7.models.quiet import quiet

        files = find_model(task.repository, store_root=store_root)
        self.fingerprint = files.fingerprint
        self.source = f"{files.source}@{files.revision}"
        try:
            with quiet():
                self._tokenizer = AutoTokenizer.from_pretrained(str(files.folder), local_files_only=True)
                self._model = AutoModelForSequenceClassification.from_pretrained(
                    str(files.folder),
                    local_files_only=True,
                    use_safetensors=True,
                    trust_remote_code=False,
                ).eval()
        except Exception as error:
            raise UserError(
                expected="a sequence classifier with safetensors weights",
                got=f"{type(error).__name__}: {error}"[:200],
                where=f"hub scorer {task.repository}",
                remedy="choose another classifier or another --scorers",
            ) from error
        self._task = task
        self._columns = self._match_labels()

    def score(self, texts: Sequence[str]) -> dict[str, Scores]:
        import torch

        probabilities = []
        with torch.inference_mode():
            # One text at a time is slow and batches change the last bits: fixed batches of sorted
            # distinct texts, which is what score_distinct hands over, repeat exactly.
            for start in range(0, len(texts), _BATCH):
                encoded = self._tokenizer(
                    list(texts[start : start + _BATCH]),
                    return_tensors="pt",
                    truncation=True,
                    padding=True,
                )
                logits = self._model(**encoded).logits.double()
                positive = logits.sigmoid() if self._task.multi_label else logits.softmax(dim=-1)
                probabilities.append(positive.numpy())
        table = np.concatenate(probabilities)
        return {metric: table[:, ids].sum(axis=1) for metric, ids in self._columns.items()}

    def _match_labels(self) -> dict[str, list[int]]:
        known = {label.lower(): int(i) for i, label in self._model.config.id2label.items()}
        wanted = {label for labels in self._task.labels.values() for label in labels}
        if not wanted <= known.keys():
            raise UserError(
                expected=f"the labels {', '.join(sorted(wanted))}",
                got=", ".join(sorted(known))[:200],
                where=f"hub scorer {self._task.repository}",
                remedy="choose a classifier trained for this task",
            )
        return {m: [known[label] for label in ls] for m, ls in self._task.labels.items()}
