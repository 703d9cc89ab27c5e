"""From the names in a profile or in ``--scorers`` to scorers.

What enters: names and where data and store lie. What leaves: scorers. What it refuses: an unknown name,
and two scorers that measure the same metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from phase7.data_files import find_data
from phase7.errors import UserError
from phase7.scoring.base import Scorer

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
    raise UserError(
        expected=f"some of {', '.join(NAMES)}",
        got=repr(name),
        where="scorers",
        remedy="correct the name",
    )
