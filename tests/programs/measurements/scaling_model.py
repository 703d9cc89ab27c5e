"""The cost of a large sweep, from a model's shape, the sharing measured on SmolLM2, and stated hardware."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np

#: Shapes from the published configurations of Llama 3 (Grattafiori et al. 2024, table 3).
LLAMAS: dict[str, dict[str, int]] = {
    "Llama-3-8B": {
        "layers": 32, "heads": 32, "kv_heads": 8, "width": 4096, "inner": 14336, "vocab": 128256,
    },
    "Llama-3-70B": {
        "layers": 80, "heads": 64, "kv_heads": 8, "width": 8192, "inner": 28672, "vocab": 128256,
    },
}  # fmt: skip

#: Assumed, not measured: one device with room for the whole model in bfloat16, since phase7 does not split
#: a model. Peaks as the makers publish them; a third of the peak is what dense products of some hundred
#: rows are assumed to reach.
DEVICES: dict[str, dict[str, Any]] = {
    "Llama-3-8B": {"name": "80 GB", "tflop_per_s": 330.0, "tb_per_s": 3.3},
    "Llama-3-70B": {"name": "192 GB", "tflop_per_s": 430.0, "tb_per_s": 5.3},
}
LOADING_GB_PER_S = 1.0
OVERHEAD_MS_PER_LAYER_STEP = 0.5
N_PROMPTS, N_MODES, N_ROLES, N_TOKENS, MAX_ROWS = 70, 3, 2, 30, 512
WORKERS = (1, 8, 64, 256)


def layer_weights(shape: dict[str, int]) -> int:
    """Weights of one layer: queries, keys, values, output, and the gated feed-forward part."""
    width, kv = shape["width"], shape["width"] * shape["kv_heads"] // shape["heads"]
    return 2 * width * width + 2 * width * kv + 3 * width * shape["inner"]


def n_weights(shape: dict[str, int]) -> int:
    """All weights, embedding and unembedding apart."""
    return shape["layers"] * layer_weights(shape) + 2 * shape["width"] * shape["vocab"]


def sweep_flops(shape: dict[str, int], share_by_depth: list[float], n_rows: int) -> float:
    """FLOP of one step of a batch: shared layers by their measured share, the unembedding by row."""
    depth = np.linspace(0, len(share_by_depth) - 1e-9, shape["layers"], endpoint=False).astype(int)
    computed = n_rows * float(np.array(share_by_depth)[depth].sum())
    return 2.0 * (layer_weights(shape) * computed + shape["width"] * shape["vocab"] * n_rows)


def cluster(name: str, share_by_depth: list[float]) -> dict[str, Any]:
    """A whole sweep of one model and emotion, with its control, on clusters of several sizes."""
    shape, device = LLAMAS[name], DEVICES[name]
    patches = shape["heads"] * shape["layers"] * N_MODES
    per_batch = MAX_ROWS - 1 - N_MODES
    n_batches = N_PROMPTS * N_ROLES * -(-patches // per_batch)
    compute = sweep_flops(shape, share_by_depth, MAX_ROWS) / (device["tflop_per_s"] * 1e12)
    reading = 2 * n_weights(shape) / (device["tb_per_s"] * 1e12)
    step = max(compute, reading) + shape["layers"] * OVERHEAD_MS_PER_LAYER_STEP / 1000
    batch = N_TOKENS * step
    loading = 2 * n_weights(shape) / (LOADING_GB_PER_S * 1e9)
    return {
        "model": name,
        "weights_billion": round(n_weights(shape) / 1e9, 1),
        "device": device,
        "cells": patches,
        "batches": n_batches,
        "tokens_million": round(n_batches * MAX_ROWS * N_TOKENS / 1e6, 1),
        "batch_s": round(batch, 2),
        "loading_s": round(loading, 0),
        "hours": {str(n): round(makespan(n_batches, batch, loading, n) / 3600, 2) for n in WORKERS},
    }


def makespan(n_batches: int, batch_s: float, loading_s: float, n_workers: int) -> float:
    """List scheduling: every worker loads the model, then takes batch after batch."""
    free = [loading_s] * n_workers
    for _ in range(n_batches):
        heapq.heapreplace(free, free[0] + batch_s)
    return max(free)
