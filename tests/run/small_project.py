"""A small project that is built from profile to report, and how two builds of it are compared."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import phase7
from phase7.cli import main
from tests import tiny

REPOSITORY = Path(__file__).parents[2]
NEUTRAL = [
    "The kettle is on the second shelf, beside",
    "Buses leave at ten past the hour and",
    "She wrote the number on a card",
    "The lamp stands near the bank",
    "The old mill is by the library and",
    "Ten blue cups are under the shelf",
]
EMOTION = ["Thank you so much, I am grateful", "I am so grateful for the lift", "Thank you for the"]
PROFILE = """
models = ["model"]
emotions = ["gratitude"]
scorers = ["vader", "keywords"]
[sampling]
max_new_tokens = 6
samples = 2
seed = 5
[sweep]
modes = ["result"]
n_prompts = 2
max_new_tokens = 4
[confirm]
target_heads = "0:1,2:3"
strongest = 2
lengths = [1, 3]
[statistics]
resamples = 200
[engine]
max_rows = 16
"""
#: What a build writes below the project.
OUTPUTS = ("store", "results")


def make(folder: Path) -> Path:
    """Write data, one profile and a tiny model."""
    write_data(folder, NEUTRAL, {"small": PROFILE})
    shutil.copy(REPOSITORY / "data" / "keywords.toml", folder / "data" / "keywords.toml")
    tiny.save("llama", folder / "model")
    return folder


def write_data(folder: Path, neutral: Sequence[str], profiles: Mapping[str, str]) -> None:
    """Write prompts, and profiles by their names."""
    (folder / "data" / "profiles").mkdir(parents=True)
    for name, prompts in (("neutral", neutral), ("gratitude", EMOTION)):
        path = folder / "data" / f"{name}_prompts.json"
        path.write_text(json.dumps({"prompts": prompts}), encoding="utf-8")
    for name, text in profiles.items():
        (folder / "data" / "profiles" / f"{name}.toml").write_text(text, encoding="utf-8")


def build(folder: Path, profile: str) -> None:
    """Build a profile of a project that is ready."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert main(["build", profile, "--quiet", "--backend=serial"]) == 0
    finally:
        os.chdir(before)


def arrays(path: Path) -> dict[str, np.ndarray]:
    """Every array of an effects file, by its node and name."""
    tree = phase7.open_effects(path)
    return {
        f"{node.path}:{name}": variable.values
        for node in tree.subtree
        for name, variable in node.to_dataset(inherit=False).variables.items()
    }


def assert_same_bits(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    assert first.keys() == second.keys()
    for name, array in first.items():
        assert array.dtype == second[name].dtype, name
        if array.dtype.kind in "fiu":
            assert array.tobytes() == second[name].tobytes(), name
        else:
            assert array.tolist() == second[name].tolist(), name
