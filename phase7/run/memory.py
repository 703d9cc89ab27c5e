"""How many rows a batch may have, by the free memory.

The memory of a batch is estimated from above, by the model's sizes and what a run generates, so that the
choice can be made, and told, before a model is loaded or even downloaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import psutil

from phase7.experiment.profile import Profile
from phase7.models.facts import ModelSizes
from phase7.vocabulary.modes import position_record

#: Numbers of rows to choose from: few, so that the choice is the same on most machines.
LADDER = (32, 64, 128, 256, 512)

#: Prompts whose batches are generated together at most.
MOST_PROMPTS = 16

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


def footprint(sizes: ModelSizes, profile: Profile) -> Footprint:
    """An upper estimate from the model's sizes; `tests/programs/benchmarks` measures it.

    A row holds keys and values of the generated tokens (of the prompt too where all positions are
    patched), its logits with the copies that sampling makes, the widest activations of a layer, and the
    attention's scores. Prompts whose batches run together have keys and values each.
    """
    n_new = profile.sampling.max_new_tokens
    n_prompt = min(sizes.n_context, 512)
    by_row = position_record(profile.patching.positions).from_start
    kept = n_new + (n_prompt if by_row else 0)
    queries = n_prompt if by_row else 1
    held = 2 * sizes.n_layers * sizes.n_kv_heads * sizes.d_head
    floats = (
        held * kept
        + 2 * sizes.n_vocab * queries
        + queries * (8 * sizes.d_mlp + 12 * sizes.d_model)
        + 4 * queries * sizes.n_heads * (n_prompt + n_new)
    )
    widened = sizes.is_half and profile.engine.dtype == "float32"
    weights = sizes.weights_bytes * (2 if widened else 1)
    prompts = 0 if by_row else MOST_PROMPTS * held * n_prompt
    # Loading holds the weights twice for a moment, and running holds packed copies of most of them,
    # and one of the unembedding with 16 bits a number.
    fixed = _PROCESS_BYTES + 2 * weights + 2 * sizes.n_vocab * sizes.d_model + prompts * _FLOAT
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


def bounded(profile: Profile, models: Sequence[ModelSizes]) -> Profile:
    """The profile with `max_rows` chosen where it is left to the free memory."""
    if profile.engine.max_rows:
        return profile
    chosen = choose_max_rows(footprint(sizes, profile) for sizes in models)
    return replace(profile, engine=replace(profile.engine, max_rows=chosen))


def bound_in_words(profile: Profile, models: Sequence[ModelSizes], n_at_once: int = 1) -> str:
    """The bound of a process's batches, for the line that is printed before a run."""
    n_rows = profile.engine.max_rows
    most = max(footprint(sizes, profile).gigabytes(n_at_once * n_rows) for sizes in models)
    at_once = f", {n_at_once} at once" if n_at_once > 1 else ""
    return f"batches of at most {n_rows} rows{at_once}, at most {most:.1f} GB"
