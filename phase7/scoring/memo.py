"""Score texts through the store: the same texts are scored by the same scorers only once, ever."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from phase7.scoring.base import Scorer, Scores, score_distinct
from phase7.store import Store
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.metrics import metric_place

#: The store's name for these entries.
STAGE = "scores"


def score_key(scorers: Sequence[Scorer], distinct: Sequence[str]) -> dict[str, Any]:
    """The store's key for sorted distinct texts: which scorers, in which versions, and which texts."""
    blob = json.dumps(list(distinct), ensure_ascii=True).encode()
    return {
        "scorers": [[scorer.name, scorer.version] for scorer in scorers],
        "texts_sha256": hashlib.sha256(blob).hexdigest(),
    }


def score_through_store(
    scorers: Sequence[Scorer], texts: Iterable[str], store: Store
) -> dict[str, Scores]:
    """Score each distinct text once, or read the scores that an earlier run stored.

    Parameters
    ----------
    scorers : sequence of Scorer
    texts : iterable of str
        Repetitions and order do not matter.
    store : Store

    Returns
    -------
    dict of str to float64 array [35]
        By text; NaN for metrics that no scorer measures.

    Raises
    ------
    UserError
        As :func:`phase7.scoring.base.score_distinct`; or if stored scores are not what it accepts.
    """
    distinct = sorted(set(texts))

    def compute() -> Any:
        scored = score_distinct(scorers, distinct)
        return np.stack([scored[text] for text in distinct])

    key = score_key(scorers, distinct)
    table = store.get(STAGE, key, compute)
    measured = [metric_place(metric) for scorer in scorers for metric in scorer.metrics]
    if np.isinf(table).any() or not np.isnan(np.delete(table, measured, axis=1)).all():
        raise UserError(
            expected="finite scores of the metrics that the scorers declare",
            got="others, which an earlier version stored for a scorer of this name and version",
            where=str(store.path(STAGE, key)),
            remedy="give the scorer another version, or run `phase7 store prune --stage scores`",
        )
    return dict(zip(distinct, table, strict=True))
