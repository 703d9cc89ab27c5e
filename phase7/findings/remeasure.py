"""A metric of the user's own, measured on the texts that an effects store keeps.

What enters: one group of an effects tree and a function from a text to a number. What leaves: a Dataset
of the same statistics as the store's, for that one metric. What it refuses: a node without texts, and a
function that returns no number. Nothing is generated again, so neither the model nor torch is needed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from phase7.effects.attributes import label
from phase7.effects.inference import tested
from phase7.effects.scores import Scores
from phase7.experiment.profile import Statistics
from phase7.vocabulary.errors import UserError

Floats = npt.NDArray[np.float64]


def measure(group: xr.DataTree, metric: str, function: Callable[[str], float]) -> xr.Dataset:
    """Test a metric of your own on the confirmed heads and head sets of one group.

    Parameters
    ----------
    group : xarray.DataTree
        ``tree["<model>/<emotion>"]`` of :func:`phase7.open_effects`.
    metric : str
        The name it shall have.
    function : callable
        Given a continuation (str, without its prompt), returns its score as a number; NaN for "cannot be
        measured". It must not depend on anything but the text: each distinct text is scored once.

    Returns
    -------
    xarray.Dataset
        Dims (head_set, mode, metric), metric of length 1; float64, NaN where a cell was not tested. The
        variables ``delta``, ``net_delta``, their intervals, p, q and d_z, ``baseline``, ``patched`` and
        ``n_prompts`` mean what they mean in the store; the samples of a prompt are averaged first, and
        10,000 resamples are drawn with the run's seed. q is Benjamini-Hochberg over this metric's own
        cells: who tries several metrics must correct over all of them. The accessor ``.phase7`` works on
        it.

    Raises
    ------
    UserError
        If the node has no texts, or the function returns something other than a number or NaN.
    """
    texts, settings = _texts(group), json.loads(str(group.attrs.get("settings") or "{}"))
    ran = texts["prompt"].values[texts["split"].values != "discovery"]
    texts = texts.sel(prompt=ran)
    cells = _cells(group, texts)
    score = _Scored(metric, function)
    patched = {"emotion": score.table(texts["patched_text"], cells)}
    if settings.get("control") is not None:
        patched["control"] = score.table(texts["control_text"], cells)
    baseline = score.rows(texts["baseline_text"].transpose("prompt", "sample").values)[np.newaxis]
    scores = Scores(baseline=baseline, patched=patched, changed={})  # type: ignore[arg-type]
    result = tested(scores, Statistics(), int(settings.get("seed", 0)))
    return _dataset(group, texts, cells, scores, result.values, metric)


def _texts(group: xr.DataTree) -> xr.Dataset:
    if "texts" not in group.children or "n_prompts" not in group:
        raise UserError(
            expected="a group with its texts",
            got=f"the node {group.path!r}",
            where="measure",
            remedy='take a group of the tree, e.g. tree["smollm2/gratitude"]',
        )
    return group["texts"].to_dataset()


def _cells(group: xr.DataTree, texts: xr.Dataset) -> list[tuple[int, int]]:
    """Places (head_set, mode) of the cells that were tested, in the order of the texts."""
    found = []
    for h, name in enumerate(map(str, texts["head_set"].values)):
        if "," in name:
            counts = group["head_sets"].to_dataset()["n_prompts"].sel(head_set=name)
        else:
            layer, _, head = name.partition(":")
            counts = group.to_dataset()["n_prompts"].sel(layer=int(layer), head=int(head))
        modes = texts["mode"].values
        found += [(h, m) for m, mode in enumerate(modes) if int(counts.sel(mode=mode)) > 0]
    return found


class _Scored:
    """The user's function, called once for each distinct text."""

    def __init__(self, metric: str, function: Callable[[str], float]) -> None:
        self._metric, self._function = metric, function
        self._known: dict[str, float] = {}

    def __call__(self, text: str) -> float:
        if text not in self._known:
            given: Any = self._function(text)
            try:
                number = float(given)
            except (TypeError, ValueError):
                number = math.inf
            if math.isinf(number):
                raise UserError(
                    expected="a finite number, or NaN where a text cannot be measured",
                    got=repr(given)[:80],
                    where=f"the function of metric {self._metric!r}, text {text[:40]!r}",
                    remedy="correct the function",
                )
            self._known[text] = number
        return self._known[text]

    def rows(self, texts: npt.NDArray[Any]) -> Floats:
        """Means over the samples: texts [prompt, sample] -> float64 [prompt]."""
        return np.array([np.mean([self(str(text)) for text in row]) for row in texts])

    def table(self, texts: xr.DataArray, cells: list[tuple[int, int]]) -> Floats:
        """Scores of cells, float64 [cell, 1, prompt]."""
        values = texts.transpose("head_set", "mode", "prompt", "sample").values
        return np.stack([self.rows(values[cell])[np.newaxis] for cell in cells])


def _dataset(
    group: xr.DataTree,
    texts: xr.Dataset,
    cells: list[tuple[int, int]],
    scores: Scores,
    statistics: dict[str, Floats],
    metric: str,
) -> xr.Dataset:
    """Scatter statistics and scores of the cells to their places; NaN elsewhere."""
    dims, shape = ("head_set", "mode"), (texts.sizes["head_set"], texts.sizes["mode"])
    index = tuple(np.array(cells).T)

    def scatter(values: npt.NDArray[Any], empty: float) -> npt.NDArray[Any]:
        whole = np.full((*shape, *values.shape[1:]), empty, dtype=values.dtype)
        whole[index] = values
        return whole

    n_prompts = np.full(len(cells), texts.sizes["prompt"])
    variables: dict[str, Any] = {
        name: ((*dims, "metric"), scatter(values, np.nan)) for name, values in statistics.items()
    }
    variables["n_prompts"] = (dims, scatter(n_prompts, 0))
    variables["baseline"] = (("metric", "prompt"), scores.baseline)
    for role, name in (("emotion", "patched"), ("control", "control_patched")):
        if role in scores.patched:
            values = scores.patched[role]
            variables[name] = ((*dims, "metric", "prompt"), scatter(values, np.nan))
    coords = {name: texts[name] for name in ("head_set", "mode", "prompt", "prompt_text")}
    made = xr.Dataset(variables, coords=coords | {"metric": [metric]})
    return label(made.assign_attrs(group.attrs))
