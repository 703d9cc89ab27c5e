"""Dose and response: statistics of the declared sets by strength."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from phase7.effects.guards import guards_kept
from phase7.effects.inference import cell_statistics
from phase7.effects.scores import Scores, StageScores, on_prompts
from phase7.experiment.statistics import Statistics


def strengths_dataset(
    doses: StageScores, stats: Statistics, seed: int, prompts: Sequence[int]
) -> xr.Dataset:
    """The Dataset ``strengths``: statistics [head_set, strength, metric], scores with prompts.

    All sets, strengths and metrics are one family, read-outs apart. Where a difference of donors is
    added, nothing is left of the control: its arm is the baseline, and net \u0394 is \u0394.

    Parameters
    ----------
    doses : StageScores
    stats : Statistics
    seed : int
    prompts : sequence of int
        The group's.
    """
    cells, scores = doses.stage.cells, with_control(doses)
    labels = [one.label for one in sorted({cell.head_set for cell in cells})]
    strengths = sorted({cell.strength for cell in cells})
    at = [(labels.index(cell.label), strengths.index(cell.strength)) for cell in cells]
    index = tuple(np.array(at).T)
    shape = (len(labels), len(strengths), len(scores.metrics))
    dims = ("head_set", "strength", "metric")
    found = xr.Dataset(coords={"head_set": labels, "strength": strengths})
    for name, values in cell_statistics(scores, stats, seed).values.items():
        whole = np.full(shape, np.nan)
        whole[index] = values
        found[name] = (dims, whole)
    kept = np.full(shape[:2], np.nan)
    kept[index] = guards_kept(scores, doses.stage.sampling)
    found["guards_kept"] = (dims[:2], kept)
    for role, name in (("emotion", "patched"), ("control", "control_patched")):
        wide = np.full((*shape, len(prompts)), np.nan)
        if role in scores.patched:
            wide[index] = on_prompts(scores.patched[role], doses.stage.recipients, prompts)
        found[name] = ((*dims, "prompt"), wide)
    found["baseline"] = (
        ("metric", "prompt"),
        on_prompts(scores.baseline, doses.stage.recipients, prompts),
    )
    return found.assign_attrs(write=cells[0].write, mode=cells[0].mode)


def with_control(doses: StageScores) -> Scores:
    """The scores at full length; where a difference of donors is added, control is the baseline."""
    full = doses.full
    if doses.stage.cells[0].write == "replace":
        return full
    control = np.broadcast_to(full.baseline, full.patched["emotion"].shape)
    return replace(full, patched={**full.patched, "control": control})
