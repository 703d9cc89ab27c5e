"""The order of a run: from a profile to effects, results, figures and report.

Everything that takes long goes through the store, so a run that was cut off continues where it stopped.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import xarray as xr

from phase7.effects.circuit import StageCircuit
from phase7.effects.datasets import GroupBuilder
from phase7.effects.file import build_tree, settings_json, write_effects
from phase7.effects.pickle_file import result_dict, write_result
from phase7.effects.positive_controls import gather_controls
from phase7.effects.readouts import StageReadouts
from phase7.effects.scores import StageTexts
from phase7.effects.selection import selection_metrics
from phase7.experiment.chosen_heads import first_sets, random_sets
from phase7.experiment.profile import Profile
from phase7.experiment.prompts import PromptSet
from phase7.experiment.stages import Stage
from phase7.experiment.tested import confirm_stage, sweep_stage
from phase7.models.facts import ModelSizes
from phase7.models.files import ModelFiles, read_sizes
from phase7.report.language import Lang
from phase7.report.write import write_reports
from phase7.run.answering import answered
from phase7.run.backend import THREADS, Backend
from phase7.run.beside import beside_plan, measured_beside
from phase7.run.circuits import circuit_of
from phase7.run.executor import Executor
from phase7.run.framed import dated, framed
from phase7.run.groups import Group, Rehearsal
from phase7.run.inputs import AtHand, Prompts, fetch_models, others_of, read_prompts
from phase7.run.measuring import Measuring
from phase7.run.memory import Footprint, bound_in_words, bounded, footprint
from phase7.run.paths import Paths, require_apart
from phase7.run.plan import require_feasible
from phase7.run.promoted import promoted
from phase7.run.provenance import made_with, mismatch, provenance
from phase7.run.record import Outcome, inputs_digest, is_up_to_date, write_record
from phase7.run.screening import told_of_screen
from phase7.run.searching import confirmed, searched
from phase7.run.settings import adaptive_settings, group_settings
from phase7.run.vectors import vector_of, write_vector
from phase7.run.workers import Workers
from phase7.scoring.base import Scorer
from phase7.scoring.choose import choose_scorers
from phase7.scoring.memo import score_through_store
from phase7.store import Store
from phase7.store.sums import set_aside
from phase7.store.writing import remove_abandoned, require_place
from phase7.vocabulary.heads import Head

_log = logging.getLogger(__name__)


class Run:
    """One profile on its way through the stages.

    Making a run does nothing yet: prompts are read, models found or downloaded, and scorers loaded when
    :meth:`execute` first needs them.

    Parameters
    ----------
    profile : Profile
    paths : Paths
    lang : {"ja", "en"}
        Of the report; the one beside it is in English.
    say : callable
        Called with a line about what is going on.
    show_progress : bool
        Draw progress bars on stderr.
    warn : callable or None
        Called with a line that a user should see even where progress is not wanted, such as one about a
        damaged entry; None: `say`.
    backend : Backend
        Where memo entries are computed.
    at_hand : AtHand
        Prompts and models that are in memory; they stand in for those that the profile names.
    """

    def __init__(
        self,
        profile: Profile,
        paths: Paths,
        *,
        lang: Lang = "ja",
        say: Callable[[str], None] = lambda line: None,
        show_progress: bool = True,
        warn: Callable[[str], None] | None = None,
        backend: Backend = THREADS,
        at_hand: AtHand | None = None,
    ) -> None:
        self._at_hand = at_hand or AtHand()
        self.paths, self._given, self._lang, self._backend = paths, profile, lang, backend
        self._say, self._show_progress, self._warn = say, show_progress, warn or say
        self._seconds: dict[str, float] = {}

    @cached_property
    def store(self) -> Store:
        """The store, and what was read from and written to it so far."""
        return Store(self.paths.store, on_damage=self._warn, made_with=made_with)

    @cached_property
    def prompts(self) -> Prompts:
        """The profile's prompts."""
        return self._at_hand.prompts or read_prompts(self._given, self.paths.root)

    @cached_property
    def models(self) -> list[ModelFiles]:
        """The profile's models; those that are not here are downloaded."""
        if self._at_hand.models:
            return list(self._at_hand.models)
        root = self.paths.store
        return fetch_models(self._given, root, show_progress=self._show_progress, tell=self._warn)

    @cached_property
    def scorers(self) -> list[Scorer]:
        """The profile's scorers, loaded."""
        root, store_root = self.paths.root, self.paths.store
        return choose_scorers(self._given.scorers, root=root, store_root=store_root)

    @cached_property
    def profile(self) -> Profile:
        """The profile with the rows of a batch chosen, where they are left to the free memory."""
        return bounded(self._dated, self._sizes)

    def execute(self, *, force: bool = False) -> Outcome:
        """Do whatever is not done yet.

        Parameters
        ----------
        force : bool
            Write effects, results, figures and report again even if they are up to date; stored
            generations are still not computed again.

        Raises
        ------
        UserError
            If the profile cannot be carried out here, or a file cannot be read or written.
        """
        started = time.monotonic()
        self._check()
        inputs = inputs_digest(self._dated, self._lang, self.prompts, self.models, self.scorers)
        set_aside(self.paths.effects, self._warn)
        if not force and is_up_to_date(self.paths.run_record, inputs, self._outputs()):
            return Outcome(up_to_date=True, seconds=time.monotonic() - started)
        for path in [*self._outputs(), self.paths.run_record]:
            require_place(path)
        groups, record = self._compute()
        if note := mismatch(self.store.origins):
            self._warn(note)
        writing = time.monotonic()
        written = self._write(groups, record)
        self._timed("outputs", writing)
        outcome = Outcome(
            up_to_date=False,
            written=written,
            n_computed=dict(self.store.n_computed),
            n_hits=dict(self.store.n_hits),
            seconds=time.monotonic() - started,
            stage_seconds=self._seconds,
        )
        write_record(self.paths.run_record, inputs, outcome, record)
        return outcome

    def effects(self) -> xr.DataTree:
        """Compute what the store lacks; the tree that an effects file would hold, which is not written.

        Raises
        ------
        UserError
            If the profile cannot be carried out here.
        """
        self.store.require_known_format()
        self._require_feasible()
        return self._tree(*self._compute())

    def rehearse(self) -> Rehearsal:
        """Compute everything, and write no output: entries go into the store.

        Raises
        ------
        UserError
            As :meth:`execute`.
        """
        started = time.monotonic()
        self._check()
        groups, record = self._compute()
        return Rehearsal(
            groups=tuple(groups),
            tree=self._tree(groups, record),
            seconds=dict(self._seconds),
            total_seconds=time.monotonic() - started,
            tokens={
                f"{group} {one.texts.stage.name}": sum(b.n_tokens for b in one.texts.stage.batches())
                for group, found in groups.items()
                for one in found.stages
                if one.texts is not None
            },
        )

    def _tree(self, groups: Mapping[str, Group], record: dict[str, Any]) -> xr.DataTree:
        attributes = {"profile": self.profile.name, "provenance": settings_json(record)}
        return build_tree({name: g.datasets for name, g in groups.items()}, attributes)

    @cached_property
    def _dated(self) -> Profile:
        """The profile as given, with the day of the run where a chat template asks for it."""
        return dated(self._given, self.models)

    @cached_property
    def _sizes(self) -> list[ModelSizes]:
        return [read_sizes(files) for files in self.models]

    def _check(self) -> None:
        """Refuse what cannot run before anything is computed or written."""
        self.store.require_known_format()
        self._backend.require_device(self._given.engine.device)
        prompts = self.prompts
        sets = [prompts.neutral, *prompts.every_emotion]
        read = [*(Path(one.path) for one in sets), *(files.folder for files in self.models)]
        require_apart([*self._outputs(), self.paths.run_record], read)
        self._require_feasible()

    def _require_feasible(self) -> None:
        for files in self.models:
            require_feasible(self.profile, files, self.prompts)

    def _compute(self) -> tuple[dict[str, Group], dict[str, Any]]:
        """Every (model, emotion) by ``model/emotion``, and under what circumstances they were made."""
        needs = [footprint(sizes, self.profile) for sizes in self._sizes]
        models = framed(self.models, self.profile, self.prompts, self._warn)
        engine, groups = self.profile.engine, {}
        n_at_once = self._backend.batches_here(needs, engine)
        self._say(bound_in_words(self.profile, self._sizes, n_at_once))
        most = _gigabytes(needs, engine.max_rows)
        with Workers(self._backend, self.store, self._say, most, n_at_once) as workers:
            for files in models:
                fan_out = workers.fan_out(files, engine)
                executor = Executor(files, engine, self.store, self._say, fan_out)
                for emotion in self.prompts.emotions.values():
                    group = self._group(files, emotion, executor)
                    for line in told_of_screen(group.datasets):
                        self._say(line)
                    groups[f"{files.name}/{emotion.name}"] = group
            record = self._provenance(groups) | {"backend": workers.describe()}
        return groups, record

    def _group(self, files: ModelFiles, emotion: PromptSet, executor: Executor) -> Group:
        profile, neutral = self.profile, self.prompts.neutral
        metrics = selection_metrics(profile, emotion.name)
        sweep = sweep_stage(profile, files, neutral, emotion)
        measuring = self._measuring(executor)
        measure, generate = measuring.measure, measuring.generate
        search = searched(sweep, metrics, measure)
        sweep, swept, ranked = search.sweep, search.swept, search.ranked
        strongest = ranked[: profile.confirm.strongest]
        first, drawn = first_sets(profile, ranked), random_sets(profile, files, ranked)
        planned = confirm_stage(profile, files, neutral, emotion, strongest, [*first, *drawn])
        rivals = others_of(profile, self.prompts, emotion)
        if not profile.statistics.looks:  # which may end before its last prompt
            generate(beside_plan(planned, ranked, first, rivals).with_text)
        tested, stats = confirmed(planned, measure)
        confirm = tested.scores.stage
        beside, controls, others = measured_beside(
            beside_plan(confirm, ranked, first, rivals), partial(measure, along=confirm)
        )
        circuit = self._circuit(confirm, ranked, executor)
        answer, tried = answered(sweep, confirm, ranked, rivals, metrics[0], measure, generate)
        others += tried
        texts, scores = tested.texts, tested.scores
        assert texts is not None  # a confirmation always has them
        self._say(f"statistics of {files.name}/{emotion.name}")
        started = time.monotonic()
        lens = promoted(confirm, executor, self.prompts.words.get(emotion.name, ()))
        sweep_scores, sweep_texts = (swept.scores, swept.texts) if swept else (None, None)
        beside = replace(
            beside,
            answer=answer,
            circuit=circuit,
            controls=gather_controls(scores, [one.scores for one in controls]),
            attributed=search.attributed(tested),
            checked=None if search.checked is None else search.checked.scores,
            screened=search.screen_scores,
        )
        builder = GroupBuilder(scores, sweep_scores, stats, search.result, beside)
        datasets = builder.datasets(texts, lens, sweep_texts)
        settings = group_settings(
            files, confirm, sweep,
            strongest=strongest, first=first, drawn=drawn,
            selection_metrics=metrics, scorers=self.scorers,
        ) | adaptive_settings(sweep, stats, len(planned.recipients))  # fmt: skip
        named = {"model": files.name, "emotion": emotion.name}
        datasets[""].attrs.update(named, settings=settings_json(settings))
        result_record = result_dict(datasets, texts, scores, settings, {})
        self._timed(f"{files.name}/{emotion.name} statistics", started)
        stages, vector = [*search.stages, tested, *others], vector_of(confirm, answer, executor)
        return Group(datasets=datasets, result=result_record, stages=stages, vector=vector)

    def _circuit(
        self, confirm: Stage, ranked: Sequence[Head], executor: Executor
    ) -> StageCircuit | None:
        started = time.monotonic()
        found = circuit_of(confirm, ranked, executor, self.paths.root, self._say)
        self._timed(f"{confirm.files.name}/{confirm.emotion.name} circuit", started)
        return found

    def _measuring(self, executor: Executor) -> Measuring:
        return Measuring(
            executor, self.store, lambda texts: score_through_store(self.scorers, texts, self.store),
            root=self.paths.root, show_progress=self._show_progress, timed=self._timed,
        )  # fmt: skip

    def _timed(self, name: str, started: float) -> None:
        taken = time.monotonic() - started
        self._seconds[name] = round(self._seconds.get(name, 0.0) + taken, 3)  # rounds and looks add up
        _log.info("%s: %.3f s", name, taken)

    def _provenance(self, groups: Mapping[str, Group]) -> dict[str, Any]:
        stages = [one for group in groups.values() for one in group.stages]
        texts = [one.texts for one in stages if one.texts is not None]
        checked: list[StageTexts | StageReadouts] = [*texts]
        checked += [one.readouts for one in stages if one.readouts is not None]
        self_check = {
            "batches": sum(one.n_batches for one in texts),
            "rows": sum(one.n_self_rows for one in checked),
            "failures": 0,
            "max_logit_gap": max(one.max_self_logit_gap for one in checked),
        }
        origins = self.store.origins
        return provenance(self.profile, self.models, self_check, self.paths.root, origins)

    def _write(self, groups: Mapping[str, Group], record: dict[str, Any]) -> list[Path]:
        paths, tree = self.paths, self._tree(groups, record)
        written: list[Path] = []
        for path in self._outputs():
            remove_abandoned(path.parent, time.time())
        for name, group in groups.items():
            model, _, emotion = name.partition("/")
            target = paths.patching(model, emotion)
            write_result(target, group.result | {"provenance": record})
            written.append(target)
            written += [] if group.vector is None else write_vector(paths.vectors, group.vector)
        write_effects(tree, paths.effects)
        written.append(paths.effects)
        if paths.reports:
            from phase7.plots import write_plots

            self._say("figures and report")
            written += write_plots(tree, paths.plots)
            for files, lang in ((paths.reports, self._lang), (paths.english_reports, "en")):
                written += write_reports(tree, files, lang=lang, plots_dir=paths.plots)
        return written

    def _outputs(self) -> list[Path]:
        """The files of this run, figures and its record aside."""
        emotions = [prompts.name for prompts in self.prompts.emotions.values()]
        return self.paths.outputs([files.name for files in self.models], emotions)


def _gigabytes(needs: Sequence[Footprint], n_rows: int) -> float:
    """The most memory that a process takes for batches of `n_rows`, in 10^9 bytes."""
    return max(need.gigabytes(n_rows) for need in needs)
