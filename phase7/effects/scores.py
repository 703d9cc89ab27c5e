"""From batches to arrays: the texts of a stage, and their scores.

:func:`gather_texts` collects what a stage's batches generated, :func:`score_stage` turns it into arrays
[cell, metric, prompt] with the metrics in the order of :mod:`phase7.vocabulary.metrics`. Batches of one
prompt must agree on its baseline to the letter, or the differences would mean nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from phase7.experiment.stages import Batch, Cell, Stage
from phase7.vocabulary.donors import Role
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.metrics import METRICS

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(kw_only=True)
class StageTexts:
    """Every continuation of a stage, by length in tokens.

    Attributes
    ----------
    stage : Stage
    baseline : dict
        length -> prompt index -> list of texts, one a sample.
    patched : dict
        (role, length) -> (cell, prompt index) -> list of texts, one a sample.
    changed : dict
        (role, length) -> (cell, prompt index) -> for each sample, whether its tokens differ from the
        baseline's.
    kl_first_token_nats : dict
        role -> (cell, prompt index) -> KL(baseline || patched).
    n_self_rows : int
        Self-donor rows compared with their baseline; all were equal.
    max_self_logit_gap : float
        Largest difference of logits among them; 0.0 means equal to the bit.
    """

    stage: Stage
    baseline: dict[int, dict[int, list[str]]] = field(default_factory=dict)
    patched: dict[tuple[Role, int], dict[tuple[Cell, int], list[str]]] = field(default_factory=dict)
    changed: dict[tuple[Role, int], dict[tuple[Cell, int], list[bool]]] = field(default_factory=dict)
    kl_first_token_nats: dict[Role, dict[tuple[Cell, int], float]] = field(default_factory=dict)
    n_batches: int = 0
    n_self_rows: int = 0
    max_self_logit_gap: float = 0.0

    @property
    def lengths(self) -> tuple[int, ...]:
        """Lengths in tokens, ascending; the last is the full one."""
        return (*self.stage.lengths, self.stage.sampling.max_new_tokens)

    def add(self, batch: Batch, entry: dict[str, Any]) -> None:
        """Add the texts of one batch.

        Raises
        ------
        UserError
            If its baseline differs from that of another batch of the same prompt.
        """
        tokens, unpatched = entry["patched_tokens"], entry["baseline_tokens"]
        for length, texts in entry["texts"].items():
            known, baseline = self.baseline.setdefault(length, {}), without_nul(texts["baseline"])
            if known.setdefault(batch.prompt_index, baseline) != baseline:
                raise UserError(
                    expected="one baseline text for a prompt in all its batches",
                    got="two different ones",
                    where=f"stored generations of prompt {batch.prompt[:60]!r}",
                    remedy="they were computed on machines or with libraries that round differently;"
                    " remove them with `phase7 store prune --stage generation` and build again",
                )
            differs = (tokens[..., :length] != unpatched[:, :length]).any(axis=-1)  # [patch, sample]
            of_patches = zip(batch.patches, texts["patched"], differs, strict=True)
            for (role, cell), samples, changed in of_patches:
                place = (cell, batch.prompt_index)
                self.patched.setdefault((role, length), {})[place] = without_nul(samples)
                self.changed.setdefault((role, length), {})[place] = changed.tolist()
        for (role, cell), nats in zip(batch.patches, entry["kl_first_token_nats"], strict=True):
            kl = self.kl_first_token_nats.setdefault(role, {})
            kl[cell, batch.prompt_index] = float(nats)
        self.n_batches += 1
        self.n_self_rows += entry["n_self_rows"]
        self.max_self_logit_gap = max(self.max_self_logit_gap, entry["max_self_logit_gap"])

    def all_texts(self) -> Iterator[str]:
        """Every text, repeats included."""
        for by_prompt in self.baseline.values():
            for samples in by_prompt.values():
                yield from samples
        for by_cell in self.patched.values():
            for samples in by_cell.values():
                yield from samples


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """Scores of one stage at one length; the samples of a prompt are averaged.

    Attributes
    ----------
    baseline : float64 array [metric, prompt]
    patched : dict of role to float64 array [cell, metric, prompt]
    changed : dict of role to float64 array [cell, prompt]
        Share of the samples whose tokens differ from the baseline's.
    metrics : tuple of str
        Names along the metric axis: those of text, then read-outs if there are any.
    donor_shares : float64 array [cell, metric, pair] or None
        What each pair of donor prompts adds to net Δ, as far as that is known: NaN for metrics of text.
    """

    baseline: Floats
    patched: dict[Role, Floats]
    changed: dict[Role, Floats]
    metrics: tuple[str, ...]
    donor_shares: Floats | None = None


def on_prompts(values: Floats, recipients: Sequence[int], prompts: Sequence[int]) -> Floats:
    """Values of some recipients [..., recipient] on a group's prompts; NaN for the others."""
    wide: Floats = np.full((*values.shape[:-1], len(prompts)), np.nan)
    wide[..., [list(prompts).index(p) for p in recipients]] = values
    return wide


@dataclass(frozen=True, kw_only=True, eq=False)
class StageScores:
    """Scores of a stage; prompts in the order of ``stage.recipients``, cells of ``stage.cells``."""

    stage: Stage
    by_length: dict[int, Scores]
    kl_first_token_nats: dict[Role, Floats]

    @property
    def full(self) -> Scores:
        """At the full length."""
        return self.by_length[self.stage.sampling.max_new_tokens]


def gather_texts(stage: Stage, entries: Iterable[tuple[Batch, dict[str, Any]]]) -> StageTexts:
    """The texts of all batches of a stage, given with their stored entries."""
    texts = StageTexts(stage=stage)
    for batch, entry in entries:
        texts.add(batch, entry)
    return texts


def score_stage(texts: StageTexts, score_of: Mapping[str, Floats]) -> StageScores:
    """Look every text's scores up and average over samples.

    Parameters
    ----------
    score_of : mapping of str to float64 array [metric]
        Must hold every text of the stage; metrics in the order of
        :data:`phase7.vocabulary.metrics.METRICS`.
    """
    return StageScores(
        stage=texts.stage,
        by_length={length: _scores(texts, length, score_of) for length in texts.lengths},
        kl_first_token_nats={
            role: _by_cell(texts.stage, by_cell) for role, by_cell in texts.kl_first_token_nats.items()
        },
    )


def without_text(stage: Stage) -> StageScores:
    """The scores of a stage that generates no text: NaN, which means not measured."""
    n_cells, n_prompts = len(stage.cells), len(stage.recipients)

    def missing(*shape: int) -> dict[Role, Floats]:
        return {role: np.full(shape, np.nan) for role in stage.roles}

    scores = Scores(
        baseline=np.full((len(METRICS), n_prompts), np.nan),
        patched=missing(n_cells, len(METRICS), n_prompts),
        changed=missing(n_cells, n_prompts),
        metrics=METRICS,
    )
    return StageScores(
        stage=stage,
        by_length={stage.sampling.max_new_tokens: scores},
        kl_first_token_nats=missing(n_cells, n_prompts),
    )


def _scores(texts: StageTexts, length: int, score_of: Mapping[str, Floats]) -> Scores:
    stage, baseline = texts.stage, texts.baseline[length]

    def mean(samples: list[str]) -> Floats:
        averaged: Floats = np.mean([score_of[text] for text in samples], axis=0)
        return averaged

    patched: dict[Role, Floats] = {}
    changed: dict[Role, Floats] = {}
    for role in stage.roles:
        by_cell = texts.patched[role, length]
        patched[role] = np.empty((len(stage.cells), len(METRICS), len(stage.recipients)))
        for c, cell in enumerate(stage.cells):
            for p, prompt in enumerate(stage.recipients):
                patched[role][c, :, p] = mean(by_cell[cell, prompt])
        changed[role] = _by_cell(
            stage,
            {place: np.mean(differs) for place, differs in texts.changed[role, length].items()},
        )
    return Scores(
        baseline=np.stack([mean(baseline[prompt]) for prompt in stage.recipients], axis=1),
        patched=patched,
        metrics=METRICS,
        changed=changed,
    )


def without_nul(texts: Iterable[str]) -> list[str]:
    """Texts with U+FFFD for each NUL, at which the strings of an effects file would end."""
    return [text.replace("\0", "\ufffd") for text in texts]


def _by_cell(stage: Stage, values: Mapping[tuple[Cell, int], Any]) -> Floats:
    return np.array([[float(values[c, p]) for p in stage.recipients] for c in stage.cells])
