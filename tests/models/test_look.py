"""Looking for a model: what is here is found as a run finds it, and nothing is fetched or changed."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest

from phase7.models import look, wheel
from phase7.models.files import ModelFiles, find_model
from phase7.models.look import Fetchable, look_for_model
from phase7.models.registry import REGISTRY
from phase7.store.sums import write_folder_sums
from phase7.vocabulary.errors import UserError
from tests import tiny


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No network, no pip, and an empty hub cache."""

    def forbidden(*args, **kwargs):
        raise AssertionError("a look must not ask for anything")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", forbidden)
    monkeypatch.setattr(subprocess, "run", forbidden)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", REGISTRY)
def test_a_known_model_that_is_not_here_is_planned_by_the_registry(tmp_path, name):
    found, spec = look_for_model(name, store_root=tmp_path / "store"), REGISTRY[name]
    assert isinstance(found, Fetchable)
    assert (found.name, found.damage, found.download_bytes) == (name, "", spec.download_bytes)
    assert found.sizes == spec.sizes
    assert found.facts is not None
    assert (found.facts.n_layers, found.facts.n_heads) == (spec.sizes.n_layers, spec.sizes.n_heads)
    assert (found.facts.name, found.facts.fingerprint) == (name, "")
    assert found.facts.has_chat_template is spec.has_chat_template
    assert list(tmp_path.iterdir()) == []


def test_of_any_other_hub_model_nothing_is_known(tmp_path):
    found = look_for_model("someone/some-model@v1", store_root=tmp_path)
    assert found == Fetchable(name="someone--some-model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["gpt3", "../model", "a/b/c", "m" * 5000])
def test_a_name_of_nothing_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="a known model"):
        look_for_model(name, store_root=tmp_path)


def test_a_folder_is_found_as_a_run_finds_it(tmp_path):
    folder = str(tiny.save("llama", tmp_path / "m", chat=True))
    found = look_for_model(folder, store_root=tmp_path)
    assert found == find_model(folder, store_root=tmp_path)
    assert isinstance(found, ModelFiles)


def test_a_folder_that_a_run_refuses_is_refused(tmp_path):
    (tmp_path / "m").mkdir()
    with pytest.raises(UserError, match=r"config\.json"):
        look_for_model(str(tmp_path / "m"), store_root=tmp_path)


@pytest.fixture
def converted(tmp_path):
    """The folder of a converted model in a store, where older versions put it."""
    folder = tmp_path / "store" / "models" / wheel.folder_of(REGISTRY["smollm2"], tmp_path).name
    folder.parent.mkdir(parents=True)
    return tiny.save("llama", folder)


def test_a_converted_model_is_found_as_a_run_finds_it_and_gets_no_sums(converted, tmp_path):
    before = contents(tmp_path)
    found = look_for_model("smollm2", store_root=tmp_path / "store")
    assert contents(tmp_path) == before
    assert found == find_model("smollm2", store_root=tmp_path / "store", tell=lambda line: None)


def test_a_damaged_converted_model_would_be_fetched_again_and_stays_where_it_is(converted, tmp_path):
    write_folder_sums(converted)
    assert isinstance(look_for_model("smollm2", store_root=tmp_path / "store"), ModelFiles)
    (converted / "config.json").write_text("{}")
    before = contents(tmp_path)
    found = look_for_model("smollm2", store_root=tmp_path / "store")
    assert isinstance(found, Fetchable)
    assert found.damage.startswith("config.json")
    assert contents(tmp_path) == before


def cache(tmp_path: Path) -> Path:
    """A model in a hub cache: every file named by its hash, and a folder of links."""
    folder, blobs = tiny.save("gpt2", tmp_path / "snapshot"), tmp_path / "blobs"
    blobs.mkdir()
    for path in sorted(folder.iterdir()):
        blob = blobs / hashlib.sha256(path.read_bytes()).hexdigest()
        path.rename(blob)
        path.symlink_to(blob)
    return folder


@pytest.mark.parametrize("name", ["gpt2", "someone/some-model"])
def test_a_cached_model_is_found_unless_it_is_damaged(tmp_path, monkeypatch, name):
    folder = cache(tmp_path)
    monkeypatch.setattr(look.hub, "cached", lambda repository, revision: folder)
    found = look_for_model(name, store_root=tmp_path)
    assert found == find_model(name, store_root=tmp_path)
    assert isinstance(found, ModelFiles)
    (folder / "config.json").resolve().write_text("{}")
    before = contents(tmp_path)
    damaged = look_for_model(name, store_root=tmp_path)
    assert isinstance(damaged, Fetchable)
    assert damaged.damage.startswith("config.json: not what the hub served")
    assert contents(tmp_path) == before
    assert damaged.name == replace(found).name
