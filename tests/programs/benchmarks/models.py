"""The benchmark's models: real SmolLM2, and GPT-2 and Pythia-160M at full size with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from phase7.engine.model.bridge import Model
from phase7.engine.model.loading import load_model
from phase7.models.files import find_model
from phase7.run.provenance import machine, package_versions
from tests import tiny
from tests.hub import repositories

ROOT = Path(__file__).parents[3]


def benchmark_models(folder: Path) -> dict[str, str]:
    """Names, and what `load` is given."""
    for name in ("gpt2", "pythia-160m"):
        _save(repositories.language_model(name, "full"), folder / name)
    return {"smollm2": "smollm2", **{n: str(folder / n) for n in ("gpt2", "pythia-160m")}}


def gpt2_of_depth(folder: Path, n_layers: int) -> Model:
    """A GPT-2 of full width with random weights and another number of layers."""
    torch.manual_seed(0)
    path = folder / f"gpt2-{n_layers}"
    _save(GPT2LMHeadModel(GPT2Config(n_layer=n_layers)), path)
    return load(str(path))


def load(name: str, *, pack: bool = True) -> Model:
    """A known model by name or a folder."""
    return load_model(find_model(name, store_root=ROOT / "store"), pack=pack)


def _save(model: torch.nn.Module, folder: Path) -> None:
    if not folder.is_dir():
        model.save_pretrained(folder)
        tiny.tokenizer().save_pretrained(folder)


def new_record(*, n_tokens: int, n_repeats: int) -> dict[str, Any]:
    """A record without figures yet: where and how they are measured."""
    return {
        "threads": torch.get_num_threads(),
        "machine": machine(),
        "packages": package_versions(),
        "n_tokens": n_tokens,
        "n_repeats": n_repeats,
        "models": {},
    }
