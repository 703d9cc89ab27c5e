"""What the stages of a run take, counted: batches, tokens, gradients, and how much the store has."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from phase7.experiment.attribution import AttributionPlan
from phase7.experiment.contrasts import ContrastPlan, ReadingPlan
from phase7.experiment.guards import has_guards
from phase7.experiment.profile import Profile
from phase7.experiment.stages import Batch, Stage
from phase7.experiment.tested import confirmed_prompts
from phase7.models.facts import ModelFacts
from phase7.run.estimated import Work
from phase7.run.foreseen import Foreseen, foreseen_stages
from phase7.run.inputs import Prompts, others_of
from phase7.store import Store

Key = dict[str, Any]
#: Why an entry with this key need not be computed; None where it must be.
Has = Callable[[Key], Literal["stored", "counted"] | None]


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """What a stage takes.

    Attributes
    ----------
    n_batches, n_rows : int
        Batches, and the rows of the largest.
    n_stored : int or None
        Batches that the store holds; None where the model is not here or the heads are not known, and
        so nobody knows.
    n_shared : int
        Batches that an earlier stage has too.
    n_tokens : int
        Still to generate or read, or at most so many where `n_stored` is None.
    """

    n_batches: int
    n_rows: int
    n_stored: int | None
    n_shared: int
    n_tokens: int

    @property
    def n_left(self) -> int:
        """Batches to compute, or at most so many."""
        return self.n_batches - (self.n_stored or 0) - self.n_shared


def _cost(stage: Stage, batches: Sequence[Batch], has: Has, is_known: bool) -> StageCost:
    is_here = bool(stage.files.fingerprint) and is_known
    there = [has(b.key) if is_known else None for b in batches]
    return StageCost(
        n_batches=len(batches),
        n_rows=max(batch.n_rows for batch in batches),
        n_stored=there.count("stored") if is_here else None,
        n_shared=there.count("counted"),
        n_tokens=sum(b.n_tokens for b, where in zip(batches, there, strict=True) if where is None),
    )


def counted(
    profile: Profile, model: ModelFacts, prompts: Prompts, store: Store, root: Path
) -> tuple[list[str], Work]:
    """A line for each stage of a model, and what is to be done in all of them.

    Parameters
    ----------
    root : Path
        Where ``data/`` lies.
    """
    sets = [prompts.neutral, *prompts.every_emotion]
    lines, work = list[str](), Work(captures=len({text for one in sets for text in one.prompts}))
    counting = Counting(store=store, root=root)
    for emotion in prompts.emotions.values():
        others = others_of(profile, prompts, emotion)
        work += Work(groups=1, circuits=_n_circuits(profile, prompts))
        for one in foreseen_stages(profile, model, prompts.neutral, emotion, others):
            its_lines, its_work = counting.stage(one)
            lines += [f"{model.name}/{emotion.name} {line}" for line in its_lines]
            work += its_work
    is_finished = not (work.swept_tokens or work.texts or work.readings or work.gradients)
    return lines, replace(work, captures=0, circuits=0) if is_finished else work


@dataclass(frozen=True, kw_only=True)
class Counting:
    """Counts the stages of one model; an entry that several of them share is counted with the first.

    Attributes
    ----------
    store : Store
    root : Path
        Where ``data/`` lies.
    """

    store: Store
    root: Path
    _counted: set[str] = field(default_factory=set)

    def stage(self, one: Foreseen) -> tuple[list[str], Work]:
        """A stage's lines, and what is to be done in it."""
        stage, lines, work = one.stage, list[str](), Work()
        if stage.has_text:
            cost = self.texts(stage, is_known=one.is_known)
            lines.append(f"{stage.name}: {_what(stage)}, {_in_words(cost)} to generate")
            if stage.name == "sweep":
                work += Work(swept_tokens=cost.n_tokens)
            else:
                guarded = cost.n_left if has_guards(stage) else 0
                work += Work(texts=cost.n_left, text_tokens=cost.n_tokens, guarded=guarded)
            work = replace(work, is_certain=cost.n_stored is not None)
        is_path_known = one.is_known and (one.along is None or one.along.is_known)
        for number, plan in one.readings(self.root):
            told = f"{stage.name} read-outs" + (f", round {number + 1}" if len(one.parts) > 1 else "")
            in_words, its = self._read(plan, is_known=is_path_known and not number)
            lines.append(f"{told}: {', '.join(plan.metrics)}; {in_words}")
            work += its
        return lines, work

    def texts(self, stage: Stage, *, is_known: bool = True) -> StageCost:
        """A stage's batches of texts, and those of them that need not be generated.

        `is_known`: whether the stage's heads are those that it will have, and not only as many.
        """
        return _cost(stage, list(stage.batches()), self._has("generation"), is_known)

    def _read(self, plan: ReadingPlan, *, is_known: bool) -> tuple[str, Work]:
        stage, work = plan.stage, Work(gradients=self._n_gradients(AttributionPlan(readouts=plan)))
        if stage.is_attributed:
            return f"by attribution, {len(stage.recipients)} gradients of {_what(stage)}", work
        cost = _cost(stage, list(plan.batches()), self._has("readout"), is_known)
        work += Work(readings=cost.n_left, read_tokens=cost.n_tokens)
        return f"{_in_words(cost)} to read", work

    def _n_gradients(self, plan: AttributionPlan) -> int:
        """Passes back through the model, for each path of each prompt."""
        if not plan.is_wanted:
            return 0
        has, readouts, model = self._has("attribution"), plan.readouts, plan.stage.files
        n_lacking = sum(has(plan.key(index)) is None for index in plan.stage.recipients)
        n_paths = len(readouts.continuations) if isinstance(readouts, ContrastPlan) else 1
        kind, n_places = plan.gradient
        # What corrects a gradient takes one for every layer, or for every place, layer and donor.
        n_arms = len(plan.stage.roles) * len(plan.modes)
        n_each = {"plain": 1, "dropped": model.n_layers, "integrated": n_places * n_arms}[kind]
        return n_lacking * n_paths * n_each

    def _has(self, kind: str) -> Has:
        """Where an entry of a kind is: in the store, or counted before."""

        def has(key: Key) -> Literal["stored", "counted"] | None:
            name = f"{kind} {json.dumps(key, sort_keys=True)}"
            if self.store.has(kind, key):
                return "stored"
            was_counted = name in self._counted
            self._counted.add(name)
            return "counted" if was_counted else None

        return has


def _n_circuits(profile: Profile, prompts: Prompts) -> int:
    if profile.circuit is None:
        return 0
    return profile.circuit.n_prompts or len(confirmed_prompts(profile, prompts.neutral))


def _what(stage: Stage) -> str:
    if not stage.cells:
        return f"{len(stage.recipients)} {stage.neutral.name} prompts, unpatched"
    return f"{len(stage.cells)} cells x {len(stage.recipients)} prompts x {len(stage.roles)} donors"


def _in_words(cost: StageCost) -> str:
    stored = "at most" if cost.n_stored is None else f"{cost.n_stored} in the store,"
    shared = f" {cost.n_shared} those of a stage above," if cost.n_shared else ""
    return f"{cost.n_batches} batches of {cost.n_rows} rows,{shared} {stored} {cost.n_tokens:,} tokens"
