"""Read-outs as arrays, and as further entries of a stage's metric axis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from phase7.effects.scores import Floats, Scores, StageScores
from phase7.experiment.contrasts import ContrastPlan
from phase7.experiment.readouts import ReadoutPlan
from phase7.experiment.stages import Batch
from phase7.vocabulary.donors import Role
from phase7.vocabulary.errors import UserError


@dataclass(frozen=True, kw_only=True, eq=False)
class StageReadouts:
    """What a stage's arms say along the recipients' paths, in nats.

    Attributes
    ----------
    metrics : tuple of str
    baseline : float64 array [metric, prompt]
        Prompts in the order of the stage's recipients.
    patched : dict of role to float64 array [cell, metric, prompt]
        Equal to the baseline, to the bit, where a patch changed nothing.
    n_self_rows : int
        Self-donor rows compared with their baseline; all were equal.
    max_self_logit_gap : float
        Largest difference among them; 0.0 means equal to the bit.
    """

    metrics: tuple[str, ...]
    baseline: Floats
    patched: dict[Role, Floats]
    n_self_rows: int
    max_self_logit_gap: float


def gather_readouts(
    plan: ReadoutPlan | ContrastPlan, entries: Iterable[tuple[Batch, dict[str, Any]]]
) -> StageReadouts:
    """Put the entries of a plan's batches in their places.

    Raises
    ------
    UserError
        If two batches of one prompt disagree on its baseline.
    """
    stage, n_metrics = plan.stage, len(plan.metrics)
    prompt_at = {index: place for place, index in enumerate(stage.recipients)}
    cell_at = {cell: place for place, cell in enumerate(stage.cells)}
    baseline = np.full((n_metrics, len(prompt_at)), np.nan)
    patched: dict[Role, Floats] = {
        role: np.full((len(cell_at), n_metrics, len(prompt_at)), np.nan) for role in stage.roles
    }
    n_self_rows, gap = 0, 0.0
    for batch, entry in entries:
        at = prompt_at[batch.prompt_index]
        own = np.asarray(entry["baseline"])
        if np.isnan(baseline[:, at]).all():
            baseline[:, at] = own
        known = baseline[:, at]
        _require_close(known, own, batch)
        for (role, cell), values in zip(batch.patches, entry["patched"], strict=True):
            # Batches of other sizes round differently; a row is compared with its own batch's baseline.
            moved = np.where(own == known, values, known + (values - own))
            patched[role][cell_at[cell], :, at] = moved
        n_self_rows += int(entry["n_self_rows"])
        gap = max(gap, float(entry["max_self_logit_gap"]))
    return StageReadouts(
        metrics=plan.metrics,
        baseline=baseline,
        patched=patched,
        n_self_rows=n_self_rows,
        max_self_logit_gap=gap,
    )


def joined(parts: Sequence[StageReadouts]) -> StageReadouts:
    """The read-outs of one stage, at least one part, one after the other on the metric axis."""
    return StageReadouts(
        metrics=tuple(metric for one in parts for metric in one.metrics),
        baseline=np.concatenate([one.baseline for one in parts]),
        patched={
            role: np.concatenate([one.patched[role] for one in parts], axis=1)
            for role in parts[0].patched
        },
        n_self_rows=sum(one.n_self_rows for one in parts),
        max_self_logit_gap=max(one.max_self_logit_gap for one in parts),
    )


def _require_close(known: Floats, own: Floats, batch: Batch) -> None:
    """Batches of one prompt differ by rounding, far less than this; more is another path."""
    if not np.allclose(known, own, rtol=0, atol=1e-2):
        raise UserError(
            expected="one baseline read-out for a prompt in all its batches",
            got="two different ones",
            where=f"stored read-outs of prompt {batch.prompt[:60]!r}",
            remedy="they were computed with other libraries; remove them with"
            " `phase7 store prune --stage readout` and build again",
        )


def with_readouts(
    scores: StageScores, readouts: StageReadouts | None, shares: Mapping[str, Floats] | None = None
) -> StageScores:
    """The stage's scores with its read-outs after the metrics of text.

    Shorter texts have no read-outs of their own: NaN there.

    Parameters
    ----------
    shares : mapping of str to float64 array [cell, pair], optional
        What each pair of donor prompts adds to net Δ, by read-out.
    """
    if readouts is None:
        return scores
    full = scores.stage.sampling.max_new_tokens

    def extended(length: int, one: Scores) -> Scores:
        factor = 1.0 if length == full else np.nan
        metrics = (*one.metrics, *readouts.metrics)
        return replace(
            one,
            metrics=metrics,
            baseline=np.concatenate([one.baseline, factor * readouts.baseline]),
            patched={
                role: np.concatenate([values, factor * readouts.patched[role]], axis=1)
                for role, values in one.patched.items()
            },
            donor_shares=_by_metric(metrics, shares) if shares and length == full else None,
        )

    return replace(
        scores, by_length={length: extended(length, one) for length, one in scores.by_length.items()}
    )


def _by_metric(metrics: Sequence[str], shares: Mapping[str, Floats]) -> Floats:
    """Shares on the whole metric axis [cell, metric, pair]; NaN where there are none."""
    missing = np.full_like(next(iter(shares.values())), np.nan)
    return np.stack([shares.get(metric, missing) for metric in metrics], axis=1)
