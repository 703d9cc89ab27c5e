"""How many rows a batch may have, from the free memory.

What enters: a model's folder, what a run generates, and the free memory. What leaves: a number of rows,
and the memory that a batch of so many takes at most. Nothing here imports torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psutil

from phase7.experiment.profile import Profile
from phase7.models.files import ModelFiles
from phase7.vocabulary.modes import POSITION_RECORDS

#: Numbers of rows to choose from: few, so that the choice is the same on most machines.
LADDER = (32, 64, 128, 256, 512)

_SHARE = 0.6  # of the free memory; the rest is left to the caches of files and to other processes
_PROCESS_BYTES = 900 * 2**20  # interpreter and libraries, measured at 0.7 GB, with room
_FLOAT = 4


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Memory of one model's run in bytes: what every batch takes, and each of its rows."""

    fixed_bytes: int
    bytes_per_row: int

    def gigabytes(self, n_rows: int) -> float:
        """Memory of a batch of `n_rows`, or of batches of so many rows together, in 10^9 bytes."""
        return (self.fixed_bytes + n_rows * self.bytes_per_row) / 1e9


def footprint(files: ModelFiles, profile: Profile) -> Footprint:
    """An upper estimate from the model's configuration; `tests/programs/benchmarks` measures it.

    A row holds keys and values of the generated tokens (of the prompt too where all positions are
    patched), its logits with the copies that sampling makes, the widest activations of a layer, and the
    attention's scores.
    """
    config = _text_config(files)
    width = _first(config, "hidden_size", "n_embd", default=1024)
    n_heads, n_layers = files.n_heads, files.n_layers
    kv_heads = _first(config, "num_key_value_heads", default=n_heads)
    d_head = _first(config, "head_dim", default=width // max(1, n_heads))
    inner = _first(config, "intermediate_size", "n_inner", default=4 * width)
    n_vocab = _first(config, "vocab_size", default=50_000)
    n_context = _first(config, "max_position_embeddings", "n_positions", default=1024)
    n_new = profile.sampling.max_new_tokens
    n_prompt = min(n_context, 512)
    by_row = POSITION_RECORDS[profile.patching.positions].from_start
    kept = n_new + (n_prompt if by_row else 0)
    queries = n_prompt if by_row else 1
    floats = (
        2 * n_layers * kv_heads * d_head * kept
        + 2 * n_vocab * queries
        + queries * (8 * inner + 12 * width)
        + 4 * queries * n_heads * (n_prompt + n_new)
    )
    weights = sum(path.stat().st_size for path in files.folder.glob("*.safetensors"))
    half = (config.get("dtype") or config.get("torch_dtype")) in ("float16", "bfloat16")
    weights *= 2 if half and profile.engine.dtype == "float32" else 1
    # Loading holds the weights twice for a moment, and running holds packed copies of most of them,
    # and one of the unembedding with 16 bits a number.
    fixed = _PROCESS_BYTES + 2 * weights + 2 * n_vocab * width
    return Footprint(fixed_bytes=fixed, bytes_per_row=floats * _FLOAT)


def choose_max_rows(footprints: Iterable[Footprint], free_bytes: int | None = None) -> int:
    """The largest number of :data:`LADDER` whose batches take at most 60 % of the free memory.

    The smallest number is taken where even that does not fit.
    """
    free = psutil.virtual_memory().available if free_bytes is None else free_bytes
    needs = list(footprints)
    fitting = [
        n_rows for n_rows in LADDER if all(one.gigabytes(n_rows) * 1e9 <= _SHARE * free for one in needs)
    ]
    return max(fitting, default=LADDER[0])


def choose_batches_at_once(
    footprints: Iterable[Footprint], n_rows: int, n_processors: int, free_bytes: int | None = None
) -> int:
    """How many batches of `n_rows` one process computes at once: one for each processor, as far as all
    together take at most 60 % of the free memory, and never none."""
    free = psutil.virtual_memory().available if free_bytes is None else free_bytes
    fitting = (
        int((_SHARE * free - one.fixed_bytes) / (n_rows * one.bytes_per_row)) for one in footprints
    )
    return max(1, min(n_processors, *fitting))


def bounded(profile: Profile, models: Sequence[ModelFiles]) -> Profile:
    """The profile with `max_rows` chosen, where it is left to the free memory."""
    if profile.engine.max_rows:
        return profile
    chosen = choose_max_rows(footprint(files, profile) for files in models)
    return replace(profile, engine=replace(profile.engine, max_rows=chosen))


def bound_in_words(profile: Profile, models: Sequence[ModelFiles], n_at_once: int = 1) -> str:
    """The bound of a process's batches, to be told before a run."""
    n_rows = profile.engine.max_rows
    most = max(footprint(files, profile).gigabytes(n_at_once * n_rows) for files in models)
    at_once = f", {n_at_once} at once" if n_at_once > 1 else ""
    return f"batches of at most {n_rows} rows{at_once}, at most {most:.1f} GB"


def _text_config(files: ModelFiles) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((files.folder / "config.json").read_text(encoding="utf-8"))
    text = config.get("text_config")
    return config | text if isinstance(text, dict) else config


def _first(config: dict[str, Any], *names: str, default: int) -> int:
    values = [config[name] for name in names if isinstance(config.get(name), int)]
    return int(values[0]) if values else default
