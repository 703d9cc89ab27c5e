"""The result of one (model, emotion) as a pickle that opens without phase7.

It holds a dict of built-in and NumPy types only.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from phase7.effects.scores import StageScores, StageTexts
from phase7.experiment.stages import Cell
from phase7.store import write_bytes

FORMAT_VERSION = 1


def result_dict(
    datasets: Mapping[str, xr.Dataset],
    texts: StageTexts,
    scores: StageScores,
    settings: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """The confirmation of one (model, emotion) as built-in and NumPy types.

    Keys: ``format_version``, ``settings``, ``provenance``, ``metrics`` (names, the order of every
    metric axis), ``prompts`` (neutral prompts patched, emotion prompts), ``baseline`` (texts
    [prompt][sample], tokens are in the store; scores [metric, prompt]), ``cells`` (one dict for each
    heads × mode: texts, scores [metric, prompt], KL [prompt] in nats, and Δ with its statistics
    [metric], for the emotion donor and net of the control).
    """
    stage, length = texts.stage, texts.lengths[-1]
    return {
        "format_version": FORMAT_VERSION,
        "settings": dict(settings),
        "provenance": dict(provenance),
        "metrics": list(scores.full.metrics),
        "prompts": {
            "neutral": [stage.neutral.prompts[p] for p in stage.recipients],
            "neutral_index": list(stage.recipients),
            "emotion": list(stage.emotion.prompts),
        },
        "baseline": {
            "texts": [texts.baseline[length][p] for p in stage.recipients],
            "scores": scores.full.baseline.copy(),
        },
        "cells": [_cell_record(cell, c, datasets, texts, scores) for c, cell in enumerate(stage.cells)],
    }


def _cell_record(
    cell: Cell, place: int, datasets: Mapping[str, xr.Dataset], texts: StageTexts, scores: StageScores
) -> dict[str, Any]:
    """One cell, the `place`-th of its stage."""
    stage, length, heads = texts.stage, texts.lengths[-1], cell.head_set
    at = heads.only._asdict() if heads.is_single else {"head_set": heads.label}
    row = datasets["" if heads.is_single else "head_sets"].sel(at | {"mode": cell.mode})
    row = row.sel(metric=list(scores.full.metrics))  # the order that the pickle states
    return {
        "heads": heads.label,
        "mode": cell.mode,
        "patched_texts": {
            role: [texts.patched[role, length][cell, p] for p in stage.recipients]
            for role in stage.roles
        },
        "patched_scores": {role: scores.full.patched[role][place].copy() for role in stage.roles},
        "kl_first_token_nats": {
            role: scores.kl_first_token_nats[role][place].copy() for role in stage.roles
        },
        "statistics": {
            str(name): variable.values.copy()
            for name, variable in row.data_vars.items()
            if variable.dims == ("metric",)
        },
    }


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write the pickle whole or not at all."""
    write_bytes(path, pickle.dumps(dict(result), protocol=4))
