"""Source archive and wheel: built as for a release, installed, and used in an empty folder."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests import tiny

pytestmark = [pytest.mark.slow, pytest.mark.network]

REPOSITORY = Path(__file__).parents[2]
DATA = sorted(p.relative_to(REPOSITORY) for p in (REPOSITORY / "data").rglob("*") if p.is_file())


def call(*command: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command that may see nothing of this repository through PYTHONPATH."""
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    return subprocess.run(
        list(map(str, command)), cwd=cwd, env=clean | environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def archives(tmp_path_factory) -> dict[str, Path]:
    """What `python -m build` makes: a source archive, and a wheel out of that archive."""
    made = tmp_path_factory.mktemp("dist")
    source = made / "source"
    for name in ("phase7", "data", "docs", "tests"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in REPOSITORY.iterdir():
        if path.is_file() and not path.name.startswith(".git"):
            shutil.copy(path, source / path.name)
    done = call(sys.executable, "-m", "build", "--outdir", made, source, cwd=made)
    assert done.returncode == 0, done.stdout + done.stderr
    return {"sdist": next(made.glob("*.tar.gz")), "wheel": next(made.glob("*.whl"))}


@pytest.fixture(scope="module")
def installed(archives, tmp_path_factory) -> Path:
    """The `phase7` command of an environment that holds the wheel.

    The dependencies are those of the environment that runs the tests: its packages are on the path
    behind the wheel, and its editable installs, which need .pth files to be read, are not.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    paths = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv", vars=paths))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    install = (sys.executable, "-m", "pip", "--python", python, "install", "--no-deps")
    done = call(*install, archives["wheel"], cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    where = call(python, "-c", "import phase7; print(phase7.__file__)", cwd=folder)
    assert Path(where.stdout.strip()).parent == packages / "phase7", where.stderr
    return folder / "bin" / "phase7"


def test_the_archives_hold_what_belongs_in_them(archives):
    wheel = set(zipfile.ZipFile(archives["wheel"]).namelist())
    assert {f"phase7/_data/{path.relative_to('data')}" for path in DATA} <= wheel
    assert {"phase7/py.typed", "phase7/scoring/embedded/weights.safetensors"} <= wheel
    assert {f"phase7/report/html/report.{kind}" for kind in ("css", "js", "html")} <= wheel
    assert not [name for name in wheel if name.split("/")[0] not in ("phase7", "phase7-0.1.0.dist-info")]
    with zipfile.ZipFile(archives["wheel"]) as opened:
        metadata = opened.read("phase7-0.1.0.dist-info/METADATA").decode("utf-8")
    needed = re.findall(r"^Requires-Dist: ([^;\n]+)$", metadata, re.MULTILINE)
    assert not re.search(r"\]\((?!https?:|#)", metadata)  # no picture or link that an index page lacks
    assert "Description-Content-Type: text/markdown" in metadata
    assert len(needed) >= 20 and not [line for line in needed if "==" in line]
    with tarfile.open(archives["sdist"]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {
        *map(str, DATA),
        "setup.py",
        "LICENSE",
        "constraints.txt",
        "docs/method.md",
        "tests/tiny.py",
    } <= names


def test_the_command_works_in_an_empty_folder(installed, tmp_path):
    told = call(installed, "--help", cwd=tmp_path)
    assert (told.returncode, told.stderr) == (0, "")
    assert "patch" in told.stdout
    unknown = call(installed, "build", "no-such", cwd=tmp_path)
    assert unknown.returncode == 2
    assert "baseline, quickstart" in unknown.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_run_with_explicit_paths_works_in_an_empty_folder(installed, tmp_path):
    inputs = tmp_path / "inputs"
    tiny.save("llama", inputs / "model")
    neutral = ["The kettle is on the second shelf", "Buses leave at ten past the hour", "The lamp"]
    for name, prompts in (("plain", neutral), ("thanks", ["Thank you so much", "I am so grateful"])):
        (inputs / f"{name}.json").write_text(json.dumps({"prompts": prompts}), encoding="utf-8")
    empty = tmp_path / "empty"
    empty.mkdir()
    done = call(
        installed, "patch", "--model", inputs / "model", "--head-spec", "0:1,2:3",
        "--neutral-prompts", inputs / "plain.json", "--emotion-prompts", inputs / "thanks.json",
        "--output", tmp_path / "out" / "mine.pkl", "--store", tmp_path / "kept",
        "--report", tmp_path / "out" / "report.md", "--max-tokens", 4, "--quiet",
        cwd=empty,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    result = pickle.loads((tmp_path / "out" / "mine.pkl").read_bytes())
    assert [cell["heads"] for cell in result["cells"]] == ["0:1", "0:1,2:3", "2:3"]
    scorers = [scorer["name"] for scorer in result["settings"]["scorers"]]
    assert scorers == ["embedded", "keywords"]  # weights and word families came out of the wheel
    assert list(empty.iterdir()) == []
