"""From the names in a profile or in ``--scorers`` to scorers.

``module:attribute`` names a scorer of the user's own. An unknown name, an object that is no scorer, and
two scorers that measure the same metric are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from phase7.experiment.data_files import find_data
from phase7.scoring.base import Scorer
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.metrics import METRICS

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
        remedy="correct the name",
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
    missing = [a for a in ("name", "version", "metrics", "score", "describe") if not hasattr(scorer, a)]
    if missing:
        raise UserError(
            expected="an object with name, version, metrics, score and describe",
            got=f"{type(scorer).__name__} without {', '.join(missing)}",
            where=f"scorers: {name!r}",
            remedy="add what is missing; see docs/how-to/own-scorer.md",
        )
    unknown = [metric for metric in scorer.metrics if metric not in METRICS]
    if unknown:
        raise UserError(
            expected="some of the 35 metrics",
            got=", ".join(unknown),
            where=f"scorers: {name!r}",
            remedy="measure a metric of your own on the stored texts; see docs/how-to/own-metric.md",
        )
    own: Scorer = scorer
    return own
