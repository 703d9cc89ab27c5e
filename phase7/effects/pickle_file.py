"""The result of one (model, emotion) as a pickle that opens without phase7.

What enters: a group's Datasets, texts and settings. What leaves: a dict of built-in and NumPy types
only, and the file.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from phase7.effects.scores import StageScores, StageTexts
from phase7.store import write_bytes
from phase7.vocabulary.metrics import METRICS

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
    stage, full = texts.stage, scores.full
    length = texts.lengths[-1]
    cells = []
    for c, cell in enumerate(stage.cells):
        single = cell.head_set.is_single
        place = cell.head_set.only._asdict() if single else {"head_set": cell.label}
        row = datasets["" if single else "head_sets"].sel(place | {"mode": cell.mode})
        row = row.sel(metric=list(METRICS))  # the order that the pickle states
        statistics = {
            str(name): variable.values.copy()
            for name, variable in row.data_vars.items()
            if variable.dims == ("metric",)
        }
        cells.append(
            {
                "heads": cell.label,
                "mode": cell.mode,
                "patched_texts": {
                    role: [texts.patched[role, length][cell, p] for p in stage.recipients]
                    for role in stage.roles
                },
                "patched_scores": {role: full.patched[role][c].copy() for role in stage.roles},
                "kl_first_token_nats": {
                    role: scores.kl_first_token_nats[role][c].copy() for role in stage.roles
                },
                "statistics": statistics,
            }
        )
    return {
        "format_version": FORMAT_VERSION,
        "settings": dict(settings),
        "provenance": dict(provenance),
        "metrics": list(METRICS),
        "prompts": {
            "neutral": [stage.neutral.prompts[p] for p in stage.recipients],
            "neutral_index": list(stage.recipients),
            "emotion": list(stage.emotion.prompts),
        },
        "baseline": {
            "texts": [texts.baseline[length][p] for p in stage.recipients],
            "scores": full.baseline.copy(),
        },
        "cells": cells,
    }


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write the pickle whole or not at all."""
    write_bytes(path, pickle.dumps(dict(result), protocol=4))
