"""A metric of the user's own, measured on the texts that an effects store keeps.

The statistics are those of the store. Nothing is generated again, so neither the model nor torch is
needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from phase7.effects.attributes import label
from phase7.effects.inference import cell_statistics
from phase7.effects.scores import Scores
from phase7.experiment.statistics import AtLook
from phase7.findings.pairs import generated
from phase7.findings.reader import control_ran, in_order, settings_of, share_of_level
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.heads import HeadSet

Floats = npt.NDArray[np.float64]


def measure(group: xr.DataTree, metric: str, function: Callable[[str], float]) -> xr.Dataset:
    """Test a metric of your own on the confirmed heads and head sets of one group, or on swept heads.

    Parameters
    ----------
    group : xarray.DataTree
        ``tree["<model>/<emotion>"]`` of :func:`phase7.open_effects`, or the ``sweep`` in it.
    metric : str
        What to call it.
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
    texts, main, head_sets = _datasets(group)
    ran = generated(texts).any(("head_set", "mode")).values
    texts = texts.sel(prompt=texts["prompt"].values[ran])
    cells = _cells(texts, main, head_sets)
    score = _Scored(metric, function)
    patched = {"emotion": score.table(texts["patched_text"], cells)}
    if control_ran(main, *([] if head_sets is None else [head_sets])):
        patched["control"] = score.table(texts["control_text"], cells)
    baseline = score.rows(texts["baseline_text"].transpose("prompt", "sample").values)[np.newaxis]
    scores = Scores(
        baseline=baseline,
        patched=patched,  # type: ignore[arg-type]
        changed={},
        metrics=(metric,),
    )
    settings = _settings(group)
    stats = AtLook(part=share_of_level(settings))
    result = cell_statistics(scores, stats, int(settings.get("seed", 0)))
    return _dataset(group, texts, cells, scores, result.values, metric)


def _settings(group: xr.DataTree) -> dict[str, Any]:
    """Those of a group; of a sweep its group's, but that it looks at all its prompts at once."""
    if "settings" in group.attrs or group.parent is None:
        return settings_of(group)
    return {name: one for name, one in settings_of(group.parent).items() if name != "looks"}


def _datasets(group: xr.DataTree) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset | None]:
    """Texts, single heads and head sets (where there are some) of a group, axes in order."""
    if "texts" not in group.children or "n_prompts" not in group:
        raise UserError(
            expected="a group with its texts",
            got=f"the node {group.path!r}",
            where="measure",
            remedy='take a group of the tree, e.g. tree["smollm2/gratitude"]',
        )
    sets = in_order(group["head_sets"].to_dataset()) if "head_sets" in group.children else None
    return in_order(group["texts"].to_dataset()), in_order(group.to_dataset()), sets


def _cells(texts: xr.Dataset, main: xr.Dataset, sets: xr.Dataset | None) -> list[tuple[int, int]]:
    """Places (head_set, mode) of the cells that were tested, in the order of the texts."""
    found = []
    for h, name in enumerate(map(str, texts["head_set"].values)):
        heads = HeadSet.parse(name)
        if heads.is_single:
            counts = main["n_prompts"].sel(heads.only._asdict())
        elif sets is not None:
            counts = sets["n_prompts"].sel(head_set=name)
        else:
            continue
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
    made = xr.Dataset(variables, coords=coords | {"metric": [metric]}).assign_attrs(group.attrs)
    settings = _settings(group)
    return label(
        made, donor=settings.get("donor", "mean"), control=settings.get("control", "neutral") or "none"
    )
