"""One patch as tables and sentences read it: a cell of the effects tree, and what it did to a metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from phase7.vocabulary.heads import HeadSet
from phase7.vocabulary.metrics import METRICS

Floats = npt.NDArray[np.float64]

#: Below this a difference is rounding noise of the sum behind it: the scores were equal.
DUST = 1e-12


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What one patch did to one metric.

    Attributes
    ----------
    baseline, patched : float
        Mean score over the cell's prompts, in the metric's unit.
    delta, control_delta, net_delta : float
        Emotion donor - baseline, control donor - baseline, and their difference.
    low, high, p, q, d_z : float
        Interval, p, q and d_z of the *tested* effect: net where a control was run, else Δ.

    NaN means "not measured", or, beside a finite Δ, that there were too few prompts to test it.
    """

    baseline: float
    patched: float
    delta: float
    control_delta: float
    net_delta: float
    low: float
    high: float
    p: float
    q: float
    d_z: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """One patch: a head or a set of heads in one mode.

    Attributes
    ----------
    heads : HeadSet
    mode : str
    arrays : mapping
        Variables of the tree at this cell: [metric], [metric, prompt], [prompt] or scalar. Ask for one
        metric by its name.
    prefix : str
        ``"net_"`` where a control was run, else ``""``.
    metrics : tuple of str
        Names along the metric axis: all metrics of text, or a group's read-outs.
    """

    heads: HeadSet
    mode: str
    arrays: Mapping[str, npt.NDArray[Any]]
    prefix: str
    metrics: tuple[str, ...] = METRICS

    @cached_property
    def label(self) -> str:
        """Head spec, e.g. ``"3:5"`` or ``"3:5,7:2"``."""
        return self.heads.label

    @property
    def n_prompts(self) -> int:
        """Prompts the cell was tested on."""
        return int(self.arrays["n_prompts"])

    def column(self, name: str) -> Floats:
        """A variable of all metrics at once, NaN where the tree does not have it."""
        found = self.arrays.get(name)
        return np.full(len(self.metrics), np.nan) if found is None else np.asarray(found, float)

    def value(self, name: str, metric: str) -> float:
        """A variable of one metric, e.g. ``value("delta", "politeness")``."""
        return float(self.column(name)[self.metrics.index(metric)])

    def tested(self, name: str) -> Floats:
        """A statistic of the tested effect on all metrics at once, e.g. ``tested("q_value")``."""
        return self.column(f"{self.prefix}{name}")

    def tested_value(self, name: str, metric: str) -> float:
        """A statistic of the tested effect on one metric."""
        return self.value(f"{self.prefix}{name}", metric)

    def word(self, name: str, metric: str) -> str:
        """A variable of one metric that holds words, such as ``synergy_verdict``."""
        return str(self.arrays[name][self.metrics.index(metric)])

    def by_other(self, name: str, metric: str) -> Floats:
        """A variable of one metric along the other emotions, NaN for one where there is none."""
        found = self.arrays.get(name)
        if found is None:
            return np.full(1, np.nan)
        by_emotion: Floats = np.asarray(found, float)[:, self.metrics.index(metric)]
        return by_emotion

    def scores(self, name: str, metric: str) -> Floats:
        """Scores of one metric by prompt, e.g. ``scores("patched", "politeness")``."""
        one: Floats = self._scores(name)[self.metrics.index(metric)]
        return one

    def effect(self, metric: str) -> Effect:
        """Everything about one metric."""
        baseline, patched = self.scores("baseline", metric), self.scores("patched", metric)
        both = np.isfinite(baseline) & np.isfinite(patched)
        names = {
            "low": "ci_low",
            "high": "ci_high",
            "p": "p_value",
            "q": "q_value",
            "d_z": "effect_size",
        }
        return Effect(
            baseline=_mean(baseline[both]),
            patched=_mean(patched[both]),
            **{n: self.value(n, metric) for n in ("delta", "control_delta", "net_delta")},
            **{short: self.tested_value(name, metric) for short, name in names.items()},
        )

    def differences_by_metric(self) -> Floats:
        """The tested effect [metric, prompt], NaN for prompts of another stage."""
        other = "control_patched" if self.prefix else "baseline"
        difference: Floats = self._scores("patched") - self._scores(other)
        return difference

    def differences(self, metric: str) -> Floats:
        """The tested effect on one metric by prompt."""
        one: Floats = self.differences_by_metric()[self.metrics.index(metric)]
        return one

    def prompts(self) -> npt.NDArray[np.bool_]:
        """The prompts on which any metric was measured, as a mask over the group's prompts."""
        return np.asarray(np.isfinite(self._scores("patched")).any(axis=0))

    def mean_over_prompts(self, name: str) -> float:
        """Mean of a per-prompt variable such as ``kl_first_token``; NaN where not measured."""
        values = np.asarray(self.arrays.get(name, np.nan), float)
        return _mean(values[np.isfinite(values)]) if values.ndim else float("nan")

    def scalar(self, name: str) -> float:
        """A variable with one number a cell, such as ``changed_share``."""
        return float(self.arrays.get(name, np.array(np.nan)))

    def _scores(self, name: str) -> Floats:
        found = self.arrays.get(name)
        return np.full((len(self.metrics), 1), np.nan) if found is None else np.asarray(found, float)


Cells = dict[tuple[str, str], Cell]


def _mean(values: Floats) -> float:
    return float(values.mean()) if values.size else float("nan")
