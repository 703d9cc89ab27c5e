"""From the names in a profile or in ``--scorers`` to scorers.

``module:attribute`` names a scorer of the user's own. An unknown name, an object that is no scorer, and
two scorers that measure the same metric are refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from phase7.experiment.data_files import find_data
from phase7.scoring.base import Scorer
from phase7.vocabulary.errors import UserError, or_meant
from phase7.vocabulary.metrics import METRICS

_PARTS = ("name", "version", "metrics", "score", "describe")
NAMES = ("embedded", "keywords", "vader", "hub")


def choose_scorers(names: Sequence[str], *, root: Path, store_root: Path) -> list[Scorer]:
    """Make the named scorers, in order.

    Raises
    ------
    UserError
        If a name is unknown, a scorer cannot be loaded, or a metric has two scorers.
    """
    scorers = [_make(name, root, store_root) for name in names]
    owner: dict[str, str] = {}
    for scorer in scorers:
        for metric in scorer.metrics:
            if metric in owner:
                raise UserError(
                    expected="one scorer for each metric",
                    got=f"{owner[metric]} and {scorer.name} for {metric}",
                    where="scorers",
                    remedy="leave one of them out",
                )
            owner[metric] = scorer.name
    return scorers


def _make(name: str, root: Path, store_root: Path) -> Scorer:
    if name == "embedded":
        from phase7.scoring.embedded.scorer import EmbeddedScorer

        return EmbeddedScorer()
    if name == "keywords":
        from phase7.scoring.keywords import KeywordScorer

        return KeywordScorer(find_data("data/keywords.toml", root))
    if name == "vader":
        from phase7.scoring.vader import VaderScorer

        return VaderScorer()
    if name == "hub":
        from phase7.scoring.hub import HubScorer

        return HubScorer(store_root)
    if ":" in name:
        return _own(name)
    raise UserError(
        expected=f"some of {', '.join(NAMES)}",
        got=repr(name),
        where="scorers",
        remedy=or_meant(name, NAMES, "correct the name"),
    )


def _own(name: str) -> Scorer:
    """The scorer that a user's module holds: an object, or a class or function that makes one.

    Importing runs the module's code, as ``python -m`` would.
    """
    module, _, attribute = name.partition(":")
    try:
        scorer = getattr(import_module(module), attribute)
        if not hasattr(scorer, "score") or isinstance(scorer, type):
            scorer = scorer()
    except Exception as error:  # the user's module may raise anything
        raise UserError(
            expected="module:attribute of a scorer that can be imported and made",
            got=f"{type(error).__name__}: {error}"[:200],
            where=f"scorers: {name!r}",
            remedy="start phase7 with `python -m phase7` in the module's folder, or set PYTHONPATH",
        ) from error
    _require_form(scorer, name)
    unknown = [metric for metric in scorer.metrics if metric not in METRICS]
    if unknown:
        raise UserError(
            expected="some of the 35 metrics",
            got=", ".join(unknown),
            where=f"scorers: {name!r}",
            remedy=or_meant(
                unknown[0],
                METRICS,
                "measure a metric of your own on the stored texts; see docs/how-to/own-metric.md",
            ),
        )
    own: Scorer = scorer
    return own


def _require_form(scorer: object, name: str) -> None:
    """Refuse an object that is no scorer: a part is missing, of another type, or fails."""

    def refused(got: str) -> UserError:
        return UserError(
            expected="an object with name and version (texts), metrics (texts, each once), score and"
            " describe (methods; the second gives a dict that JSON can hold)",
            got=got[:200],
            where=f"scorers: {name!r}",
            remedy="add or correct it; see docs/how-to/own-scorer.md",
        )

    kind = type(scorer).__name__
    try:
        missing = [part for part in _PARTS if not hasattr(scorer, part)]
        if missing:
            raise refused(f"{kind} without {', '.join(missing)}")
        given = {part: getattr(scorer, part) for part in _PARTS}
        texts = {part: given[part] for part in ("name", "version")}
        metrics = given["metrics"]
        if isinstance(metrics, list | tuple):
            texts |= {f"metrics[{i}]": metric for i, metric in enumerate(metrics)}
        for part, text in texts.items():
            if not isinstance(text, str) or not text or not text.isprintable():
                raise refused(f"{text!r:.80} as {part} of {kind}")
        if not isinstance(metrics, list | tuple) or not metrics or len(set(metrics)) < len(metrics):
            raise refused(f"{metrics!r:.80} as metrics of {kind}")
        described = given["describe"]()
        if not isinstance(described, dict):
            raise refused(f"a {type(described).__name__} from {kind}.describe()")
        if not isinstance(described.get("quality", {}), dict):
            raise refused(f"{described['quality']!r:.80} as quality from {kind}.describe()")
        if not isinstance(described.get("metrics", []), list | tuple):
            raise refused(f"{described['metrics']!r:.80} as metrics from {kind}.describe()")
        json.dumps(described, allow_nan=False)
    except UserError:
        raise
    except Exception as error:  # the user's object may raise anything
        raise refused(f"{type(error).__name__} of {kind}: {error}") from error
