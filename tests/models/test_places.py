"""Where converted models lie: once for a user, unless somebody names another place."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from phase7.cli import main
from phase7.models import wheel
from phase7.models.files import find_model, is_here
from phase7.models.look import look_for_model
from phase7.models.places import models_folder
from phase7.models.registry import REGISTRY
from tests import tiny

SPEC = REGISTRY["smollm2"]


@pytest.fixture
def unnamed(tmp_path, monkeypatch) -> Path:
    """Nobody names a folder; the user's cache is one of the test's."""
    for name in ("PHASE7_MODELS", "PHASE7_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def converted(folder: Path) -> Path:
    folder.parent.mkdir(parents=True)
    return tiny.save("llama", folder)


def test_the_tests_keep_out_of_the_users_cache():
    assert models_folder() == Path(os.environ["PHASE7_MODELS"])
    assert not models_folder().exists()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other folders for caches")
def test_a_model_is_kept_in_the_users_cache(unnamed, monkeypatch):
    assert models_folder() == unnamed / "cache" / "phase7" / "models"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert models_folder() == unnamed / "home" / ".cache" / "phase7" / "models"


def test_the_environment_names_a_folder_of_models_or_else_a_store_with_them(unnamed, monkeypatch):
    monkeypatch.setenv("PHASE7_STORE", "/all/work")
    assert models_folder() == Path("/all/work/models")
    monkeypatch.setenv("PHASE7_MODELS", "/weights")
    assert models_folder() == Path("/weights")


def test_two_projects_use_the_same_files(unnamed):
    """Made once, found from both, and nothing of it in either store."""
    one, other = unnamed / "one" / "store", unnamed / "other" / "store"
    folder = wheel.folder_of(SPEC, one)
    assert not is_here(SPEC, one)
    made = converted(folder)
    for store in (one, other):
        assert find_model("smollm2", store_root=store, tell=lambda line: None).folder == made
        assert is_here(SPEC, store) and not store.exists()
    assert look_for_model("smollm2", store_root=other).folder == made


def test_a_store_that_has_the_model_keeps_it(unnamed):
    store = unnamed / "store"
    kept = converted(store / "models" / wheel.folder_of(SPEC, store).name)
    assert wheel.folder_of(SPEC, store) == kept
    assert find_model("smollm2", store_root=store, tell=lambda line: None).folder == kept
    assert not (unnamed / "cache").exists()
    assert wheel.folder_of(SPEC, unnamed / "another") == models_folder() / kept.name


def test_the_store_command_sees_the_users_models(unnamed, monkeypatch, capsys):
    monkeypatch.chdir(unnamed)
    model = converted(wheel.folder_of(SPEC, Path("store")))
    find_model("smollm2", store_root=Path("store"), tell=lambda line: None)  # records its sums
    assert main(["store"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"MB  {model.parent}")
    assert main(["store", "verify"]) == 0
    assert capsys.readouterr().out == "1 entries, 0 damaged\n"
    (model / "config.json").write_text("{}", encoding="utf-8")
    assert main(["store", "verify"]) == 1
    assert f"{model}: config.json" in capsys.readouterr().out
    aside = model.with_name(f"{model.name}.damaged")
    model.rename(aside)
    assert main(["store", "prune", "--stage", "capture"]) == 0 and aside.exists()
    assert main(["store", "prune"]) == 0 and not aside.exists()
