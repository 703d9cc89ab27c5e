"""The ``[statistics]`` of a profile: levels, flips, what orders the heads, and what is tested first."""

from __future__ import annotations

from dataclasses import dataclass

from phase7.experiment.checked import bad_value, check_modes, check_range
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
    primary_metrics : tuple of str
        With the sets that the confirmation declares and `primary_modes`, the primary family. Empty: the
        log-odds of the emotion's words over the path and at its first step, the emotion's GoEmotions
        label, positive sentiment and politeness, as far as they are measured.
    primary_modes : tuple of str
        Empty: the primary mode alone.
    """

    alpha: float = 0.05
    resamples: int = 10_000
    selection_metrics: tuple[str, ...] = ()
    primary_metrics: tuple[str, ...] = ()
    primary_modes: tuple[Mode, ...] = ()

    def __post_init__(self) -> None:
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

    def selection_of(self, emotion: str) -> tuple[str, ...]:
        """The selection metrics of one emotion."""
        return _named(self.selection_metrics, emotion)

    def primary_of(self, emotion: str) -> tuple[str, ...]:
        """The primary metrics of one emotion; none where the profile leaves them to the default."""
        return _named(self.primary_metrics, emotion)


def _named(metrics: tuple[str, ...], emotion: str) -> tuple[str, ...]:
    return tuple(metric.replace(_EMOTION, emotion) for metric in metrics)
