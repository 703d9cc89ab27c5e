"""Measure a stage: its texts, their scores, and what is read of the model's own distribution."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from phase7.effects.attribution import (
    StageAttribution,
    as_readouts,
    gather_attribution,
    joined_attribution,
)
from phase7.effects.guards import StageGuards, gather_guards, with_guards
from phase7.effects.readouts import StageReadouts, gather_readouts, joined, with_readouts
from phase7.effects.scores import (
    Floats,
    StageScores,
    StageTexts,
    gather_texts,
    score_stage,
    without_text,
)
from phase7.experiment.attribution import AttributionPlan
from phase7.experiment.contrasts import ReadingPlan, reading_plans
from phase7.experiment.guards import guards_key, has_guards
from phase7.experiment.stages import Batch, Stage
from phase7.run.executor import Executor
from phase7.run.progress import Progress, progress
from phase7.store import Store

_log = logging.getLogger(__name__)

#: From texts to their scores, each float64 [metric].
ScoreOf = Callable[[Iterable[str]], Mapping[str, Floats]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """What came of one stage.

    Attributes
    ----------
    texts : StageTexts or None
        None where the stage generates none.
    scores : StageScores
        Of the texts, with the read-outs as further metrics.
    readouts : StageReadouts or None
        None where the profile declares none.
    attributed : StageAttribution or None
        Predictions for all heads; None where nothing needs them.
    """

    texts: StageTexts | None
    scores: StageScores
    readouts: StageReadouts | None = None
    attributed: StageAttribution | None = None


class Measuring:
    """Measures stages of one model.

    Parameters
    ----------
    executor : Executor
    store : Store
    score_of : callable
    root : Path
        Where ``data/`` lies.
    show_progress : bool
        Draw progress bars on stderr.
    timed : callable
        Called with a name and the time.monotonic() at which it was begun.
    """

    def __init__(
        self,
        executor: Executor,
        store: Store,
        score_of: ScoreOf,
        *,
        root: Path,
        show_progress: bool,
        timed: Callable[[str, float], None],
    ) -> None:
        self._executor, self._store, self._score_of = executor, store, score_of
        self._root, self._show_progress, self._timed = root, show_progress, timed

    def generate(self, stages: Sequence[Stage]) -> None:
        """Generate the texts of several stages at once, as far as they have any.

        The time is shared among the stages by their tokens.
        """
        with_text = [stage for stage in stages if stage.has_text]
        todo = [sum(batch.n_tokens for batch in self._lacking(stage)) for stage in with_text]
        if len(with_text) < 2 or not any(todo):
            return
        started = time.monotonic()
        with progress(_name(with_text[0]), sum(todo), is_shown=self._show_progress) as bar:
            self._executor.generate(with_text, bar.update)
        taken = time.monotonic() - started
        for stage, n_tokens in zip(with_text, todo, strict=True):
            self._timed(_name(stage), time.monotonic() - taken * n_tokens / sum(todo))

    def _lacking(self, stage: Stage) -> list[Batch]:
        """Those whose texts the store lacks."""
        return [b for b in stage.batches() if not self._store.has("generation", b.key)]

    def measure(self, stage: Stage, along: Stage | None = None) -> Measured:
        """Measure a stage by its texts and its read-outs, as far as it has them.

        `along`: the stage whose continuations the read-outs follow, where not this one.
        """
        name = _name(stage)
        texts = self._texts(stage, name) if stage.has_text else None
        scores = without_text(stage) if texts is None else self._scores(texts)
        scores = with_guards(scores, self._guards(stage, f"{name} fluency"))
        plans = reading_plans(stage, self._root, along)
        if not plans:
            return Measured(texts=texts, scores=scores)
        attributed = self._attributed(plans, f"{name} attribution")
        if attributed is not None and stage.is_attributed:
            readouts = as_readouts(attributed, [metric for plan in plans for metric in plan.metrics])
        else:
            readouts = self._readouts(plans, f"{name} read-outs")
        return Measured(
            texts=texts,
            scores=with_readouts(scores, readouts, _shares(attributed)),
            readouts=readouts,
            attributed=attributed,
        )

    def _scores(self, texts: StageTexts) -> StageScores:
        return score_stage(texts, self._score_of(texts.all_texts()))

    def _texts(self, stage: Stage, name: str) -> StageTexts:
        """A stage's texts, as far as the store lacks them generated."""
        n_batches, lacking = sum(1 for _ in stage.batches()), self._lacking(stage)
        _log.info("%s: %d batches, %d to compute", name, n_batches, len(lacking))
        with self._told(name, sum(b.n_tokens for b in lacking)) as bar:
            return gather_texts(stage, self._executor.run(stage, bar.update))

    def _guards(self, stage: Stage, name: str) -> StageGuards | None:
        """What a stage's texts are like; None where nobody looks."""
        if not has_guards(stage):
            return None
        lacking = [b for b in stage.batches() if not self._store.has("fluency", guards_key(stage, b))]
        with self._told(name, sum(b.n_tokens for b in lacking)) as bar:
            return gather_guards(stage, self._executor.guard(stage, bar.update))

    def _readouts(self, plans: Sequence[ReadingPlan], name: str) -> StageReadouts:
        """A stage's read-outs, as far as the store lacks them computed."""
        batches = (batch for plan in plans for batch in plan.batches())
        todo = sum(b.n_tokens for b in batches if not self._store.has("readout", b.key))
        with self._told(name, todo) as bar:
            read = self._executor.read
            return joined([gather_readouts(plan, read(plan, bar.update)) for plan in plans])

    def _attributed(self, readouts: Sequence[ReadingPlan], name: str) -> StageAttribution | None:
        """A stage's attributions; None where it needs none."""
        plans, stage = [AttributionPlan(readouts=one) for one in readouts], readouts[0].stage
        if not plans[0].is_wanted:
            return None
        keys = [plan.key(index) for plan in plans for index in stage.recipients]
        with self._told(name, sum(not self._store.has("attribution", key) for key in keys)) as bar:
            attribute = self._executor.attribute
            return joined_attribution(
                [gather_attribution(plan, attribute(plan, bar.update)) for plan in plans]
            )

    @contextlib.contextmanager
    def _told(self, name: str, n_tokens: int) -> Iterator[Progress]:
        """The progress of some work, which is timed."""
        started = time.monotonic()
        with progress(name, n_tokens, is_shown=self._show_progress) as bar:
            yield bar
        self._timed(name, started)


def _name(stage: Stage) -> str:
    return f"{stage.files.name}/{stage.emotion.name} {stage.name}"


def _shares(attributed: StageAttribution | None) -> dict[str, Floats] | None:
    """What each pair of donors adds, by read-out, each [cell, pair]."""
    if attributed is None or not attributed.pairs.shape[-1]:
        return None
    shares = attributed.shares(attributed.stage.cells)
    return {metric: shares[:, m] for m, metric in enumerate(attributed.metrics)}
