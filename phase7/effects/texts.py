"""The texts of a stage as one Dataset, and how an effects file keeps them.

Those of a sweep, where it generates any, are as many as the model has heads: they are written as
characters, which compress, and read back as strings by whatever opens the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from phase7.effects.places import labels_of, set_place
from phase7.effects.scores import StageTexts
from phase7.vocabulary.modes import MODES

#: Below a group: the texts of the heads that its sweep patched.
SWEPT_TEXTS = "sweep/texts"

_COMPRESSED = {"zlib": True, "complevel": 4}


def texts_dataset(texts: StageTexts, prompts: Sequence[int]) -> xr.Dataset:
    """The full-length texts of a stage.

    Parameters
    ----------
    texts : StageTexts
    prompts : sequence of int
        All prompts of the group.

    Returns
    -------
    xarray.Dataset
        ``baseline_text`` (prompt, sample), ``patched_text`` and ``control_text`` (head_set, mode,
        prompt, sample), str, empty where nothing was generated; ``was_generated`` (head_set, mode,
        prompt), bool.
    """
    stage, length, order = texts.stage, texts.lengths[-1], list(prompts)
    labels, n_samples = labels_of(stage.cells), stage.sampling.samples
    shape = (len(labels), len(MODES), len(order), n_samples)
    tables = {role: np.full(shape, "", dtype=object) for role in ("emotion", "control")}
    was_generated = np.zeros(shape[:3], dtype=bool)
    baseline = np.full(shape[2:], "", dtype=object)
    for prompt, samples in texts.baseline[length].items():
        baseline[order.index(prompt)] = samples
    for role in stage.roles:
        for (cell, prompt), samples in texts.patched[role, length].items():
            place = (*set_place(cell, labels), order.index(prompt))
            tables[role][place] = samples
            was_generated[place] = True
    dims = ("head_set", "mode", "prompt", "sample")
    return xr.Dataset(
        {
            "baseline_text": (dims[2:], baseline),
            "patched_text": (dims, tables["emotion"]),
            "control_text": (dims, tables["control"]),
            "was_generated": (dims[:3], was_generated),
        },
        coords={"head_set": labels, "sample": np.arange(n_samples)},
    )


def encoding_of(path: str, variable: xr.Variable) -> dict[str, Any]:
    """How a variable of the node `path` is written: numbers and a sweep's texts compressed."""
    if variable.dtype.kind in "fiu" and variable.ndim > 0:
        return _COMPRESSED
    if path.endswith(SWEPT_TEXTS) and variable.dtype.kind == "O" and variable.ndim > 1:
        return _COMPRESSED | {"dtype": "S1"}
    return {}
