"""The registry's facts, which a dry run plans by, are those of the models themselves.

SmolLM2's are compared with its converted folder in `test_smollm2`, which needs the package index.
"""

from __future__ import annotations

import dataclasses

import pytest

from phase7.models.files import find_model, read_sizes
from phase7.models.registry import REGISTRY, ModelSpec
from tests import tiny
from tests.hub import repositories

OF_THE_FILE = ("weights_bytes", "is_half")
ON_THE_HUB = [name for name, spec in REGISTRY.items() if spec.source == "hub"]


def of_the_configuration(sizes) -> dict[str, int]:
    return {k: v for k, v in dataclasses.asdict(sizes).items() if k not in OF_THE_FILE}


@pytest.mark.parametrize("name", ON_THE_HUB)
def test_sizes_are_those_of_the_full_configuration(name, tmp_path):
    folder = tiny.save("gpt2", tmp_path / "m")
    repositories.config(name, "full").save_pretrained(folder)
    found = read_sizes(find_model(str(folder), store_root=tmp_path))
    assert of_the_configuration(found) == of_the_configuration(REGISTRY[name].sizes)
    reduced = repositories.config(name, "reduced")
    reduced.save_pretrained(folder)  # liveness: another configuration has other sizes
    found = read_sizes(find_model(str(folder), store_root=tmp_path))
    assert of_the_configuration(found) != of_the_configuration(REGISTRY[name].sizes)


@pytest.mark.parametrize("name", ON_THE_HUB)
def test_a_model_without_a_chat_template_is_known_as_such(name, tmp_path):
    folder = tiny.save("gpt2", tmp_path / "m")
    repositories.tokenizer(name).save_pretrained(folder)
    files = find_model(str(folder), store_root=tmp_path)
    assert files.has_chat_template is REGISTRY[name].has_chat_template


@pytest.mark.parametrize("spec", REGISTRY.values(), ids=lambda spec: spec.name)
def test_the_weights_file_holds_every_parameter_and_little_else(spec: ModelSpec):
    n_bytes = spec.n_parameters * (2 if spec.sizes.is_half else 4)
    assert n_bytes <= spec.sizes.weights_bytes < 1.2 * n_bytes
    if spec.source == "hub":
        assert spec.download_bytes == spec.sizes.weights_bytes
