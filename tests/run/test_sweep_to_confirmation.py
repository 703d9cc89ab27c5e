"""How a run's stages follow from each other: what the sweep finds is tested on other prompts.

The model is a folder with a configuration and no weights: nothing can be generated. A run whose
generations are all stored does not notice.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from phase7.effects.file import open_effects
from phase7.experiment.positive_controls import control_stages
from phase7.experiment.profile import Confirm, Sweep
from phase7.experiment.specificity import against_stages
from phase7.experiment.stages import Cell, Stage
from phase7.experiment.statistics import Statistics
from phase7.experiment.tested import confirm_stage, sweep_stage
from phase7.run.executor import Executor
from phase7.run.pipeline import Run
from phase7.vocabulary.heads import Head
from tests import stages
from tests.run import made_up
from tests.run.made_up import PROFILE, Counting, run
from tests.stages import NotedStore


class Telling(Counting):
    """One whose numbers tell texts apart: those of `stages.Numbers`."""

    name = "telling"

    def score(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        return {"politeness": np.array([stages.number(text, "politeness") for text in texts])}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The made-up project, as the current directory."""
    made_up.fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(stage: Stage, role: str, cell: Cell, prompt: int, sample: int) -> str:
    """One text of a stage; under the emotion's donor it names the emotion."""
    donor = stage.emotion.name if role == "emotion" else "neutral"
    return stages.text(donor, cell, prompt, sample, stage.sampling.max_new_tokens)


def store_all(made: Run, stage: Stage) -> int:
    """Store made-up entries of a stage's batches; how many."""
    samples, batches = range(stage.sampling.samples), list(stage.batches())
    for batch in batches:
        entry = stages.entry(stage, batch)
        entry["texts"][stage.sampling.max_new_tokens]["patched"] = [
            [told(stage, role, cell, batch.prompt_index, s) for s in samples]
            for role, cell in batch.patches
        ]
        made.store.get("generation", batch.key, lambda entry=entry: entry)
    return len(batches)


def store_lens(made: Run, stage: Stage, heads: list[Head], folder) -> None:
    """Store made-up tokens for a stage's heads."""
    asked = NotedStore(folder, lambda kind, key: None)
    words = made.prompts.words[stage.emotion.name]
    Executor(stage.files, stage.profile.engine, asked, lambda line: None).lens(stage, heads, words)
    ((kind, key),) = asked.asked
    names = [str(head) for head in heads]
    found = {
        "heads": names,
        "token": [[["a"], ["b"]]] * len(names),
        "score": [[[1.0], [-1.0]]] * len(names),
        "emotion_z": np.zeros(len(names)),
        "emotion_rank": np.ones(len(names)),
    }
    made.store.get(kind, key, lambda: found)


def by_strength(sweep: Stage) -> list[Head]:
    """The sweep's heads by the size of their mean net effect on politeness, over samples and prompts."""

    def mean(role: str, cell: Cell) -> float:
        return statistics.mean(
            stages.number(told(sweep, role, cell, prompt, sample), "politeness")
            for prompt in sweep.recipients
            for sample in range(sweep.sampling.samples)
        )

    net = {cell.heads[0]: mean("emotion", cell) - mean("control", cell) for cell in sweep.cells}
    return sorted(net, key=lambda head: -abs(net[head]))


def test_the_sweeps_strongest_heads_are_confirmed_on_the_other_prompts(project):
    """Of two emotions, each with a sweep of its own."""
    profile = replace(
        PROFILE,
        emotions=("gratitude", "anger"),
        scorers=(f"{__name__}:Telling",),
        sweep=Sweep(max_new_tokens=4),
        confirm=Confirm(
            target_heads="1:2,2:1", strongest=2, modes=("result",), lengths=(), guard_samples=0
        ),
        statistics=Statistics(resamples=100),
    )
    made = run(project, profile)
    (files,) = made.models
    targets, chosen = {Head(1, 2), Head(2, 1)}, {}
    n_entries, keys = 0, set()
    for name, prompts in made.prompts.emotions.items():
        sweep = sweep_stage(made.profile, files, made.prompts.neutral, prompts)
        chosen[name] = by_strength(sweep)[:2]
        confirm = confirm_stage(made.profile, files, made.prompts.neutral, prompts, chosen[name])
        controls = control_stages(confirm)
        assert [stage.name for stage in controls] == ["prompting", "shift"]
        others = [one for other, one in made.prompts.emotions.items() if other != name]
        beside = against_stages(confirm, others)
        assert [stage.emotion for stage in beside] == others
        for stage in (sweep, confirm, *controls, *beside):
            n_entries += store_all(made, stage)
            keys |= {str(batch.key) for batch in stage.batches()}
        store_lens(made, confirm, sorted({*targets, *chosen[name]}), project)
    assert not set(chosen["gratitude"]) & set(chosen["anger"])
    assert not {*chosen["gratitude"], *chosen["anger"]} & targets

    again = run(project, profile)
    outcome = again.execute()
    assert "generation" not in outcome.n_computed  # the weights are none: it could not
    assert outcome.n_hits["generation"] == n_entries > len(keys)  # controls of the sweep are shared
    tree = open_effects(again.paths.effects)
    for name in profile.emotions:
        group = tree[f"made-up/{name}"]
        settings = json.loads(group.attrs["settings"])
        assert settings["strongest_heads"] == [str(head) for head in chosen[name]]
        counts = group["n_prompts"].sel(mode="result")
        tested = {Head(layer, head) for layer in range(3) for head in range(4)
                  if counts.sel(layer=layer, head=head) > 0}  # fmt: skip
        assert tested == {*targets, *chosen[name]}
        halves = dict(zip(group.prompt.values.tolist(), group.split.values.tolist(), strict=True))
        assert halves == {0: "discovery", 1: "confirmation", 2: "discovery"}
        assert not settings["discovery_overlaps_confirmation"]
    assert run(project, profile).execute().up_to_date
