"""The fluency guards as entries of a stage's metric axis, and whether they hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from phase7.effects.inference import mean_over_prompts
from phase7.effects.scores import Floats, Scores, StageScores
from phase7.experiment.guards import n_guarded
from phase7.experiment.profile import Sampling
from phase7.experiment.stages import Batch, Stage
from phase7.vocabulary.donors import Role
from phase7.vocabulary.guards import GUARDS, kept_range, smallest_repetition


@dataclass(frozen=True, kw_only=True, eq=False)
class StageGuards:
    """What a stage's texts are like, averaged over the samples of a prompt.

    Attributes
    ----------
    baseline : float64 array [guard, prompt]
        Prompts in the order of the stage's recipients, guards in that of their names
        (:mod:`phase7.vocabulary.guards`).
    patched : dict of role to float64 array [cell, guard, prompt]
    """

    baseline: Floats
    patched: dict[Role, Floats]


def gather_guards(stage: Stage, entries: Iterable[tuple[Batch, dict[str, Any]]]) -> StageGuards:
    """Put the guards of a stage's batches in their places."""
    prompt_at = {index: place for place, index in enumerate(stage.recipients)}
    cell_at = {cell: place for place, cell in enumerate(stage.cells)}
    baseline = np.full((len(GUARDS), len(prompt_at)), np.nan)
    patched: dict[Role, Floats] = {
        role: np.full((len(cell_at), len(GUARDS), len(prompt_at)), np.nan) for role in stage.roles
    }
    for batch, entry in entries:
        at = prompt_at[batch.prompt_index]
        own = _over_samples([entry[name]["baseline"] for name in GUARDS])
        known = baseline[:, at] = np.where(np.isnan(baseline[:, at]), own, baseline[:, at])
        values = _over_samples([entry[name]["patched"] for name in GUARDS])  # [guard, patch]
        for (role, cell), one in zip(batch.patches, values.T, strict=True):
            # Batches of other sizes round differently; a text is compared with its own batch's baseline.
            moved = np.where(np.isnan(own) | (own == known), one, known + (one - own))
            patched[role][cell_at[cell], :, at] = moved
    return StageGuards(baseline=baseline, patched=patched)


def with_guards(scores: StageScores, guards: StageGuards | None) -> StageScores:
    """The stage's scores with the guards behind the metrics so far; as they are where it wants none.

    NaN where nobody looked, and at shorter lengths.
    """
    if not n_guarded(scores.stage):
        return scores
    full = scores.stage.sampling.max_new_tokens

    def extended(length: int, one: Scores) -> Scores:
        found = guards if length == full else None
        n_prompts = one.baseline.shape[-1]
        return replace(
            one,
            metrics=(*one.metrics, *GUARDS),
            baseline=np.concatenate(
                [one.baseline, _missing(len(GUARDS), n_prompts) if found is None else found.baseline]
            ),
            patched={
                role: np.concatenate(
                    [
                        values,
                        _missing(len(values), len(GUARDS), n_prompts)
                        if found is None
                        else found.patched[role],
                    ],
                    axis=1,
                )
                for role, values in one.patched.items()
            },
        )

    return replace(
        scores, by_length={length: extended(length, one) for length, one in scores.by_length.items()}
    )


def guards_kept(scores: Scores, sampling: Sampling) -> Floats:
    """Whether the texts of each cell are still like the baseline's: 1, 0, or NaN where nobody looked.

    They are if the mean over prompts of each guard, under the emotion's donor, lies within the 5th to
    the 95th percentile of the baseline over the same prompts; repetitions at least up to the smallest
    share that a prompt can have (:func:`phase7.vocabulary.guards.smallest_repetition`).

    Returns
    -------
    float64 array [cell]
    """
    patched = scores.patched["emotion"]
    if not set(GUARDS) <= set(scores.metrics):
        return np.full(len(patched), np.nan)
    places = [scores.metrics.index(name) for name in GUARDS]
    step = smallest_repetition(sampling.samples, sampling.max_new_tokens)
    return kept_in_range(scores.baseline[places], patched[:, places], step)


def kept_in_range(baseline: Floats, patched: Floats, step: float) -> Floats:
    """As :func:`guards_kept`, from arrays of the guards alone.

    Parameters
    ----------
    baseline : float64 array [guard, prompt]
    patched : float64 array [cell, guard, prompt]
    step : float
        Up to which repetitions are kept in any case.
    """
    kept = np.full(len(patched), np.nan)
    if np.isnan(baseline).all(axis=-1).any():
        return kept
    ranges = [kept_range(one, name, step) for name, one in zip(GUARDS, baseline, strict=True)]
    low, high = np.transpose(ranges)  # [guard]
    for place, one in enumerate(patched):
        if not np.isnan(one).all(axis=-1).any():
            mean = np.nanmean(one, axis=-1)
            kept[place] = float(((low <= mean) & (mean <= high)).all())
    return kept


def _over_samples(by_guard: Sequence[Any]) -> Floats:
    """Means over samples, guard by guard, which may have different numbers of them: [guard, ...]."""
    return np.stack([mean_over_prompts(np.asarray(one, dtype=np.float64)) for one in by_guard])


def _missing(*shape: int) -> Floats:
    return np.full(shape, np.nan)
