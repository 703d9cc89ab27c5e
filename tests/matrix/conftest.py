"""Full-size models for the matrix: real weights where they can be had, else the same configuration
with seeded random weights. The header of the test run says which."""

from __future__ import annotations

import os

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from phase7.engine.model.bridge import Model
from phase7.engine.model.loading import load_model
from phase7.models.files import find_model
from phase7.vocabulary.errors import UserError
from tests import tiny
from tests.hub import repositories

NAMES = ("gpt2", "pythia-160m", "gpt-neo-125M", "smollm2")
#: One model by its name in the environment (as tox sets it), or all of them.
CHOSEN = tuple(name for name in NAMES if os.environ.get("PHASE7_MATRIX_MODEL", name) == name)


def random_model(name: str) -> torch.nn.Module:
    """The full configuration with seeded random weights."""
    if name != "smollm2":
        return repositories.language_model(name, "full")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True,
        max_position_embeddings=8192, initializer_range=0.08, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="session", params=CHOSEN)
def full_size(request, tmp_path_factory) -> tuple[Model, str]:
    """A full-size model and where its weights come from."""
    name: str = request.param
    folder = tmp_path_factory.mktemp("matrix")
    try:
        model, weights = load_model(find_model(name, store_root=folder / "store")), "real weights"
    except UserError as error:
        random_model(name).save_pretrained(folder / name)
        tiny.tokenizer(chat=name == "smollm2").save_pretrained(folder / name)
        model = load_model(find_model(str(folder / name), store_root=folder))
        weights = f"seeded random weights ({str(error)[:80]}...)"
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{name}: {weights}")
    return model, weights
