"""A project that can be planned and scored but not generated: its model has a configuration and no weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phase7.experiment.profile import Confirm, Engine, Profile
from phase7.run.paths import Paths
from phase7.run.pipeline import Run
from tests import stages, tiny


class Counting:
    """A scorer that measures one metric by its version, and notes what it was asked."""

    name, version, metrics = "counting", "1", ("politeness",)

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def score(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        self.asked.append(tuple(texts))
        return {self.metrics[0]: np.array([len(text) * float(self.version) for text in texts])}

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "version": self.version}


COUNTING = f"{__name__}:Counting"
PROFILE = Profile(
    name="made-up",
    models=("made-up",),
    emotions=("gratitude",),
    scorers=(COUNTING,),
    sampling=stages.PROFILE.sampling,
    sweep=stages.PROFILE.sweep,
    confirm=Confirm(target_heads="0:1,2:3"),
    engine=Engine(max_rows=64),
)


def fill(folder: Path) -> None:
    """Write prompts and two models' configurations into an empty folder."""
    (folder / "data").mkdir()
    for name in ("neutral", "other", "gratitude", "anger", "more_gratitude"):
        write_prompts(folder, name, [f"{name} {i}" for i in range(3)])
    for name in ("made-up", "second"):
        (folder / name).mkdir()
        config = {"num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 8, "name": name}
        (folder / name / "config.json").write_text(json.dumps(config), encoding="utf-8")
        (folder / name / "model.safetensors").write_bytes(b"weights")
        tiny.tokenizer(chat=True).save_pretrained(folder / name)


def write_prompts(folder, name: str, prompts: list[str]) -> None:
    path = folder / "data" / f"{name}_prompts.json"
    path.write_text(json.dumps({"prompts": prompts}), encoding="utf-8")


def run(folder, profile: Profile = PROFILE, **options: Any) -> Run:
    paths = Paths(
        root=folder,
        store=folder / "store",
        effects=folder / "effects.nc",
        plots=folder / "plots",
        report=None,
        run_record=folder / "run.json",
        patching=lambda model, emotion: folder / f"{model}_{emotion}.pkl",
    )
    return Run(profile, paths, show_progress=False, **options)
