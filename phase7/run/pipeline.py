"""The order of the stages: from a profile to effects, results, figures and report.

What enters: a profile and the folders to read and write. What leaves: the files. Everything that
takes long goes through the store, so a run that was cut off continues where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from tqdm import tqdm

import phase7
from phase7.effects.datasets import GroupBuilder
from phase7.effects.file import build_tree, settings_json, write_effects
from phase7.effects.inference import cell_statistics
from phase7.effects.pickle_file import result_dict, write_result
from phase7.effects.scores import StageScores, StageTexts, gather_texts, score_stage
from phase7.effects.selection import selection_metrics, strongest_heads
from phase7.experiment.data_files import find_data
from phase7.experiment.profile import Profile
from phase7.experiment.prompts import PromptSet, load_prompts
from phase7.experiment.stages import (
    ENGINE_VERSION,
    Stage,
    confirm_stage,
    random_heads,
    resolve_format,
    sweep_stage,
)
from phase7.models.files import ModelFiles, find_model, require_heads
from phase7.report.language import Lang
from phase7.report.write import write_reports
from phase7.run.executor import Executor
from phase7.run.memory import bound_in_words, bounded, footprint
from phase7.run.paths import Paths, require_apart
from phase7.run.provenance import made_with, mismatch, provenance
from phase7.run.workers import THREADS, Backend, Workers
from phase7.scoring.base import Scorer, score_distinct
from phase7.scoring.choose import choose_scorers
from phase7.store import Store, write_text
from phase7.store.sums import file_sum, set_aside
from phase7.store.writing import remove_abandoned, require_place
from phase7.vocabulary.heads import Head
from phase7.vocabulary.names import plain_name, require_distinct

_log = logging.getLogger(__name__)

#: Raise it when effects, report or figures would differ for the same generations.
ANALYSIS_VERSION = 4


@dataclass(kw_only=True)
class Outcome:
    """What a run did."""

    up_to_date: bool
    written: list[Path] = field(default_factory=list)
    n_computed: dict[str, int] = field(default_factory=dict)
    n_hits: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    stage_seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Group:
    datasets: dict[str, xr.Dataset]
    result: dict[str, Any]
    texts: list[StageTexts]


class Run:
    """One profile on its way through the stages.

    Parameters
    ----------
    profile : Profile
    paths : Paths
    lang : {"ja", "en"}
        Of the report.
    say : callable
        Told in a line what happens.
    show_progress : bool
        Draw progress bars on stderr.
    warn : callable or None
        Told in a line what the user should know even where progress is not wanted, such as a damaged
        entry; None: `say`.
    backend : Backend
        Where memo entries are computed.
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
    ) -> None:
        self.profile, self.paths, self._lang = profile, paths, lang
        self._backend = backend
        self._say, self._show_progress = say, show_progress
        self._warn = warn or say
        self.store = Store(paths.store, on_damage=self._warn, made_with=made_with)
        self.store.require_form()
        self.neutral = load_prompts(find_data(profile.prompts.neutral, paths.root))
        self.emotions = {name: self._emotion_prompts(name) for name in profile.emotions}
        self.files = [
            find_model(name, store_root=paths.store, show_progress=show_progress, tell=self._warn)
            for name in profile.models
        ]
        for files in self.files:
            require_heads(files)
        require_distinct("models", [files.name for files in self.files])
        require_distinct("emotions", [prompts.name for prompts in self.emotions.values()])
        self._given, self.profile = profile, bounded(profile, self.files)
        self._needs = [footprint(files, self.profile) for files in self.files]
        self._n_at_once = backend.batches_here(self._needs, self.profile.engine)
        self.bound = bound_in_words(self.profile, self.files, self._n_at_once)
        self._scorers: list[Scorer] | None = None
        self._seconds: dict[str, float] = {}

    @property
    def scorers(self) -> list[Scorer]:
        """The profile's scorers, loaded on first use."""
        if self._scorers is None:
            self._scorers = choose_scorers(
                self.profile.scorers, root=self.paths.root, store_root=self.paths.store
            )
        return self._scorers

    def execute(self, *, force: bool = False) -> Outcome:
        """Do whatever is not done yet.

        Parameters
        ----------
        force : bool
            Write effects, results, figures and report again even if they are up to date; stored
            generations are still not computed again.
        """
        started = time.monotonic()
        self._check_plan()
        inputs = self._inputs()
        set_aside(self.paths.effects, self._warn)
        if not force and self._is_done(inputs):
            return Outcome(up_to_date=True, seconds=time.monotonic() - started)
        for path in [*self._outputs(), self.paths.run_record]:
            require_place(path)
        self._say(self.bound)
        groups: dict[str, _Group] = {}
        with Workers(
            self._backend, self.store, self._say, self._gigabytes(), self._n_at_once
        ) as workers:
            for files in self.files:
                engine = self.profile.engine
                fan_out = workers.fan_out(files, engine)
                executor = Executor(files, engine, self.store, self._say, fan_out)
                for emotion in self.emotions.values():
                    groups[f"{files.name}/{emotion.name}"] = self._group(files, emotion, executor)
            record = self._provenance(groups) | {"backend": workers.describe()}
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
        self._write_record(inputs, outcome, record)
        return outcome

    def stages(self, files: ModelFiles, emotion: PromptSet) -> list[Stage]:
        """The stages as far as they are known before running: the strongest heads are not."""
        sweep = sweep_stage(self.profile, files, self.neutral, emotion)
        confirm = confirm_stage(self.profile, files, self.neutral, emotion, ())
        return [stage for stage in (sweep, confirm) if stage is not None]

    def _gigabytes(self) -> float:
        """Memory that a process computing batches takes at most."""
        n_rows = self.profile.engine.max_rows
        return max(need.gigabytes(n_rows) for need in self._needs)

    def _emotion_prompts(self, name: str) -> PromptSet:
        path = self.profile.prompts.emotion.replace("{emotion}", name)
        prompts = load_prompts(find_data(path, self.paths.root))
        return PromptSet(name=plain_name(name), path=prompts.path, prompts=prompts.prompts)

    def _check_plan(self) -> None:
        """Refuse what cannot run before anything is computed or written."""
        sets = [self.neutral, *self.emotions.values()]
        require_apart(
            [*self._outputs(), self.paths.run_record],
            [*(Path(prompts.path) for prompts in sets), *(files.folder for files in self.files)],
        )
        for files in self.files:
            resolve_format(files, self.profile)
            for emotion in self.emotions.values():
                for stage in self.stages(files, emotion):
                    next(iter(stage.batches()))

    def _group(self, files: ModelFiles, emotion: PromptSet, executor: Executor) -> _Group:
        profile = self.profile
        metrics = selection_metrics(profile, emotion.name)
        sweep_scores, sweep_texts, strongest = None, None, []
        sweep = sweep_stage(profile, files, self.neutral, emotion)
        if sweep is not None:
            sweep_texts, sweep_scores = self._stage(sweep, executor)
            result = cell_statistics(sweep_scores.full, profile.statistics, profile.sampling.seed)
            ranked = strongest_heads(sweep_scores, result, metrics, profile.confirm.strongest)
            strongest = [Head(*head) for head in ranked]
        confirm = confirm_stage(profile, files, self.neutral, emotion, strongest)
        texts, scores = self._stage(confirm, executor)
        self._say(f"statistics of {files.name}/{emotion.name}")
        started = time.monotonic()
        ov = self._lens(confirm, executor)
        datasets = GroupBuilder(scores, sweep_scores, profile.statistics).datasets(texts, ov)
        settings = self._settings(files, confirm, sweep, strongest, metrics)
        datasets[""].attrs.update(
            model=files.name, emotion=emotion.name, settings=settings_json(settings)
        )
        result_record = result_dict(datasets, texts, scores, settings, {})
        self._timed(f"{files.name}/{emotion.name} statistics", started)
        all_texts = [texts] if sweep_texts is None else [sweep_texts, texts]
        return _Group(datasets=datasets, result=result_record, texts=all_texts)

    def _stage(self, stage: Stage, executor: Executor) -> tuple[StageTexts, StageScores]:
        batches = list(stage.batches())
        todo = sum(b.n_tokens for b in batches if not self.store.has("generation", b.key))
        name = f"{stage.files.name}/{stage.emotion.name} {stage.name}"
        started = time.monotonic()
        n_todo = sum(not self.store.has("generation", b.key) for b in batches)
        _log.info("%s: %d batches, %d to compute", name, len(batches), n_todo)
        bar = tqdm(
            total=todo, unit="tok", unit_scale=True, desc=name, leave=False,
            disable=not (self._show_progress and todo),
        )  # fmt: skip
        with bar:
            texts = gather_texts(stage, executor.run(stage, bar.update))
        scores = score_stage(texts, self._score(sorted(set(texts.all_texts()))))
        self._timed(name, started)
        return texts, scores

    def _timed(self, name: str, started: float) -> None:
        self._seconds[name] = round(time.monotonic() - started, 3)
        _log.info("%s: %.3f s", name, self._seconds[name])

    def _score(self, distinct: list[str]) -> dict[str, Any]:
        blob = json.dumps(distinct, ensure_ascii=True).encode()
        key = {
            "scorers": [[scorer.name, scorer.version] for scorer in self.scorers],
            "texts_sha256": hashlib.sha256(blob).hexdigest(),
        }

        def compute() -> Any:
            scored = score_distinct(self.scorers, distinct)
            return np.stack([scored[text] for text in distinct])

        table = self.store.get("scores", key, compute)
        return dict(zip(distinct, table, strict=True))

    def _lens(self, stage: Stage, executor: Executor) -> xr.Dataset:
        heads = sorted({cell.heads[0] for cell in stage.cells if len(cell.heads) == 1})
        found = executor.lens(stage, heads)
        token = np.array(found["token"], dtype=object)
        dims = ("head_set", "direction", "rank")
        return xr.Dataset(
            {"token": (dims, token), "score": (dims, np.array(found["score"]))},
            coords={
                "head_set": found["heads"],
                "direction": ["promoted", "suppressed"],
                "rank": np.arange(1, token.shape[2] + 1),
            },
        )

    def _settings(
        self,
        files: ModelFiles,
        confirm: Stage,
        sweep: Stage | None,
        strongest: Sequence[Head],
        metrics: Sequence[str],
    ) -> dict[str, Any]:
        profile = self.profile
        control = profile.patching.control
        shared = set(confirm.recipients) & set(sweep.recipients if sweep else ())
        return {
            "model": files.name,
            "model_source": files.source,
            "fingerprint": files.fingerprint,
            "n_layers": files.n_layers,
            "n_heads": files.n_heads,
            "emotion": confirm.emotion.name,
            "target_heads": profile.confirm.target_heads,
            "patch_mode": profile.patching.primary_mode,
            "modes": list(profile.confirm.modes),
            "donor": profile.patching.donor,
            "control": None if control == "none" else control,
            "positions": profile.patching.positions,
            "use_attn_result": profile.patching.use_attn_result,
            "n_neutral_prompts": len(self.neutral.prompts),
            "n_emotion_prompts": len(confirm.emotion.prompts),
            "n_discovery_prompts": len(sweep.recipients) if sweep else 0,
            "n_confirmation_prompts": len(confirm.recipients),
            "max_new_tokens": profile.sampling.max_new_tokens,
            "sweep_max_new_tokens": sweep.sampling.max_new_tokens if sweep else 0,
            "temperature": profile.sampling.temperature,
            "top_p": profile.sampling.top_p,
            "samples": profile.sampling.samples,
            "seed": profile.sampling.seed,
            "prompt_format": confirm.prompt_format,
            "dtype": profile.engine.dtype,
            "device": profile.engine.device,
            "scorers": [scorer.describe() for scorer in self.scorers],
            "fdr_family": "all tested head sets, modes and metrics of one (model, emotion) and stage",
            "alpha": profile.statistics.alpha,
            "random_heads": [str(head) for head in random_heads(profile, files)],
            "strongest_heads": [str(head) for head in strongest],
            "selection_rule": "root mean square over "
            + ", ".join(metrics)
            + " of the mean net Δ, each divided by its standard deviation over the swept heads",
            "discovery_overlaps_confirmation": bool(shared),
        }

    def _provenance(self, groups: dict[str, _Group]) -> dict[str, Any]:
        texts = [one for group in groups.values() for one in group.texts]
        self_check = {
            "batches": sum(one.n_batches for one in texts),
            "rows": sum(one.n_self_rows for one in texts),
            "failures": 0,
            "max_logit_gap": max(one.max_self_logit_gap for one in texts),
        }
        origins = self.store.origins
        return provenance(self.profile, self.files, self_check, self.paths.root, origins)

    def _write(self, groups: dict[str, _Group], record: dict[str, Any]) -> list[Path]:
        paths = self.paths
        attributes = {"profile": self.profile.name, "provenance": settings_json(record)}
        tree = build_tree({name: g.datasets for name, g in groups.items()}, attributes)
        written: list[Path] = []
        for path in self._outputs():
            remove_abandoned(path.parent, time.time())
        for name, group in groups.items():
            model, _, emotion = name.partition("/")
            target = paths.patching(model, emotion)
            write_result(target, group.result | {"provenance": record})
            written.append(target)
        write_effects(tree, paths.effects)
        written.append(paths.effects)
        if paths.reports:
            from phase7.plots import write_plots

            self._say("figures and report")
            written += write_plots(tree, paths.plots)
            written += write_reports(tree, paths.reports, lang=self._lang, plots_dir=paths.plots)
        return written

    def _outputs(self) -> list[Path]:
        """The files of this run, figures and its record aside."""
        emotions = [prompts.name for prompts in self.emotions.values()]
        return self.paths.outputs([files.name for files in self.files], emotions)

    def _inputs(self) -> str:
        """Digest of everything that determines the outputs."""
        whole = {
            "phase7": phase7.__version__,
            "engine": ENGINE_VERSION,
            "analysis": ANALYSIS_VERSION,
            "profile": self._given.as_dict(),
            "lang": self._lang,
            "neutral": self.neutral.digest,
            "emotions": {name: prompts.digest for name, prompts in self.emotions.items()},
            "models": {files.name: files.fingerprint for files in self.files},
            "scorers": [[scorer.name, scorer.version] for scorer in self.scorers],
        }
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()

    def _is_done(self, inputs: str) -> bool:
        """Whether the last run had the same inputs and every file it wrote is still the same."""
        try:
            record = json.loads(self.paths.run_record.read_text(encoding="utf-8"))
            files = record["files"]
            return (
                record["inputs"] == inputs
                and all(str(p) in files for p in self._outputs())
                and all(file_sum(Path(path)) == digest for path, digest in files.items())
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False

    def _write_record(self, inputs: str, outcome: Outcome, record: dict[str, Any]) -> None:
        whole = {
            "inputs": inputs,
            "files": {str(path): file_sum(path) for path in outcome.written},
            "entries_computed": outcome.n_computed,
            "entries_from_store": outcome.n_hits,
            "seconds": round(outcome.seconds, 1),
            "stage_seconds": outcome.stage_seconds,
            "self_check": record["self_check"],
            "created_at": record["created_at"],
        }
        write_text(self.paths.run_record, json.dumps(whole, indent=2, sort_keys=True) + "\n")
