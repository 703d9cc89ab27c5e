"""A finished run's primary tests: their differences by prompt and sample, to plan the next run by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from phase7.findings.group import Group, groups
from phase7.statistics import Spread, spread
from phase7.vocabulary.heads import Head
from phase7.vocabulary.metrics import metric_place
from phase7.vocabulary.readouts import is_readout

Floats = npt.NDArray[np.float64]

#: From texts to their scores, each float64 [metric].
ScoreOf = Callable[[Iterable[str]], Mapping[str, Floats]]


@dataclass(frozen=True, kw_only=True, eq=False)
class PilotTest:
    """One primary test.

    Attributes
    ----------
    model, emotion, heads, mode, metric : str
        `heads` as tables call them.
    differences : float64 array [prompt, sample]
        Of the tested effect, in the metric's unit; one sample for a read-out, which has none.
    """

    model: str
    emotion: str
    heads: str
    mode: str
    metric: str
    differences: Floats

    @property
    def spread(self) -> Spread:
        """Its variance between and within prompts."""
        return spread(self.differences, is_sampled=not is_readout(self.metric))


def primary_tests(tree: xr.DataTree, score_of: ScoreOf) -> list[PilotTest]:
    """The primary tests of all groups of an effects tree; none with fewer than two prompts.

    Parameters
    ----------
    score_of : callable
        The scores of the tree's own texts, as its run's scorers give them.
    """
    found = []
    for group in groups(tree):
        node = tree[f"{group.model}/{group.emotion}"]
        for name in ("", "head_sets"):
            if name in ("", *node.children):
                data = (node[name] if name else node).to_dataset()
                found += list(_of(group, data, node, score_of))
    return found


def _of(group: Group, data: xr.Dataset, node: Any, score_of: ScoreOf) -> Iterator[PilotTest]:
    if "is_primary" not in data:
        return
    dims = [str(dim) for dim in data.is_primary.dims if dim not in ("mode", "metric")]
    cells = data.stack(cell=dims)
    reference = "control_patched" if group.has_control else "baseline"
    for place, mode, metric in np.argwhere(
        cells.is_primary.transpose("cell", "mode", "metric").values == 1
    ):
        one = cells.isel(cell=place, mode=mode, metric=metric)
        label = str(one.head_set.values) if "head_set" in dims else str(Head(*one.cell.item()))
        name = str(one.metric.values)
        if is_readout(name):
            differences = (one.patched - one[reference]).values[:, None]
        else:
            texts = node["texts"].to_dataset().sel(head_set=label, mode=str(one["mode"].values))
            differences = _by_sample(
                texts, name, score_of, "control" if group.has_control else "baseline"
            )
        differences = differences[np.isfinite(differences).all(axis=1)]
        if len(differences) > 1:
            yield PilotTest(
                model=group.model, emotion=group.emotion, heads=group.short(label),
                mode=str(one["mode"].values), metric=name, differences=differences,
            )  # fmt: skip


def _by_sample(texts: xr.Dataset, metric: str, score_of: ScoreOf, reference: str) -> Floats:
    """Differences of the scores of texts, [prompt, sample]; NaN for a prompt that was not run."""
    arms = [texts[f"{arm}_text"].transpose("prompt", "sample").values for arm in ("patched", reference)]
    was_run = [prompt for prompt in range(len(arms[0])) if any(arms[0][prompt]) or any(arms[1][prompt])]
    scores = score_of({str(text) for arm in arms for text in arm[was_run].ravel()})
    place, whole = metric_place(metric), np.full(arms[0].shape, np.nan)
    for prompt in was_run:
        patched, other = ([scores[str(text)][place] for text in arm[prompt]] for arm in arms)
        whole[prompt] = np.subtract(patched, other)
    return whole
