"""The ``[statistics]`` of a profile: levels, flips, what orders the heads, and what is tested first."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from phase7.experiment.checked import bad_value, check_ascending, check_modes, check_range
from phase7.vocabulary.metrics import METRICS
from phase7.vocabulary.modes import Mode
from phase7.vocabulary.readouts import has_direction, is_readout

#: In names of metrics, the place of an emotion's name.
_EMOTION = "{emotion}"


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Level, resampling, what ranks the sweep's heads, and which tests are declared as primary.

    ``{emotion}`` in the name of a metric stands for the emotion of each group, as in
    ``logodds_{emotion}``.

    Attributes
    ----------
    alpha : float
        Level of q and of the adjusted p.
    resamples : int
        Sign flips of a first stage where they are drawn, and bootstrap resamples.
    selection_metrics : tuple of str
        What orders the heads of a search. Empty: the metrics of text that stand for the emotion.
    primary_metrics : tuple of str
        With the sets that the confirmation declares and `primary_modes`, the primary family. Empty: the
        log-odds of the emotion's words over the path and at its first step, the emotion's GoEmotions
        label, positive sentiment and politeness, as far as they are measured.
    primary_modes : tuple of str
        Empty: the primary mode alone.
    looks : tuple of int
        Numbers of confirmed prompts after which the primary tests are looked at, and the run stops if
        each primary metric is significant by then; numbers beyond the prompts there are count for
        nothing. Empty: all prompts are run, and looked at once.
    spending : {"obrien_fleming", "pocock"}
        How the level is shared out among the looks (:mod:`phase7.statistics.spending`).
    """

    alpha: float = 0.05
    resamples: int = 10_000
    selection_metrics: tuple[str, ...] = ()
    primary_metrics: tuple[str, ...] = ()
    primary_modes: tuple[Mode, ...] = ()
    looks: tuple[int, ...] = ()
    spending: Literal["obrien_fleming", "pocock"] = "obrien_fleming"

    def __post_init__(self) -> None:
        check_ascending("looks", self.looks, 2)
        check_range(self, "alpha", 0.0, 0.5, open_low=True)
        check_range(self, "resamples", 100, 1_000_000)
        for key in ("selection_metrics", "primary_metrics"):
            for metric in getattr(self, key):
                if metric not in METRICS and not is_readout(metric) and _EMOTION not in metric:
                    raise bad_value(key, "names of metrics", metric)
        for metric in self.primary_metrics:
            if not has_direction(metric):
                raise bad_value("primary_metrics", "metrics with a direction, which are tested", metric)
        if self.primary_modes:
            check_modes(self.primary_modes, "primary_modes")

    @property
    def share(self) -> float:
        """The share of the level that belongs to what is tested now."""
        return 1.0

    def confidence(self, whole: float) -> float:
        """The confidence of one interval, so that those of all looks together have `whole`."""
        return 1 - (1 - whole) * self.share

    def at_once(self) -> Statistics:
        """The same for data that are looked at once."""
        return Statistics(**self._declared)

    def at_look(self, n_prompts: int, n_planned: int) -> AtLook:
        """The same for the look at the first `n_prompts` of the planned ones.

        Raises
        ------
        ValueError
            If there is no such look.
        """
        from phase7.statistics import level_shares  # SciPy takes time to load, and a profile needs none

        ends = self.ends(n_planned)
        shares = level_shares(ends, alpha=self.alpha, spending=self.spending)
        return AtLook(**self._declared, part=float(shares[ends.index(n_prompts)]))

    @property
    def _declared(self) -> dict[str, Any]:
        """What a profile says, without what belongs to one look."""
        return {one.name: getattr(self, one.name) for one in fields(Statistics)}

    def ends(self, n_planned: int) -> tuple[int, ...]:
        """Numbers of prompts at which so many planned prompts are looked at; the last is all of them."""
        return (*(n for n in self.looks if n < n_planned), n_planned)

    def selection_of(self, emotion: str) -> tuple[str, ...]:
        """The selection metrics of one emotion."""
        return _named(self.selection_metrics, emotion)

    def primary_of(self, emotion: str) -> tuple[str, ...]:
        """The primary metrics of one emotion; none where the profile leaves them to the default."""
        return _named(self.primary_metrics, emotion)


@dataclass(frozen=True, kw_only=True)
class AtLook(Statistics):
    """The statistics of one look of several.

    Attributes
    ----------
    part : float
        Its share of the level. p and q are divided by it, and intervals are made at the confidence that
        it leaves, so that they are compared with the whole level.
    """

    part: float = 1.0

    @property
    def share(self) -> float:
        """Its share of the level."""
        return self.part


def _named(metrics: tuple[str, ...], emotion: str) -> tuple[str, ...]:
    return tuple(metric.replace(_EMOTION, emotion) for metric in metrics)
