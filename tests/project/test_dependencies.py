"""pyproject.toml has ranges, constraints.txt the exact versions, and every installation uses both."""

from __future__ import annotations

import configparser
import importlib.util
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from phase7.run.provenance import PACKAGES

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RUNTIME = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = {
    name: [Requirement(line) for line in lines]
    for name, lines in PROJECT["optional-dependencies"].items()
}


def read(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def pinned(text: str) -> dict[str, Version]:
    """Versions by canonical name; anything but ``name==version`` and comments is an error."""
    found: dict[str, Version] = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            match = re.fullmatch(r"([\w.-]+)==([\w.+]+)", line)
            assert match, line
            name = canonicalize_name(match[1])
            assert name not in found, line
            found[name] = Version(match[2])
    return found


PINS = pinned(read("constraints.txt"))


def outside(requirements: Iterable[Requirement]) -> list[str]:
    """The requirements without a pin in constraints.txt, or with one out of their range."""
    return [
        str(requirement)
        for requirement in requirements
        if (name := canonicalize_name(requirement.name)) != "phase7"
        and (name not in PINS or not requirement.specifier.contains(PINS[name]))
    ]


def test_every_dependency_is_pinned_inside_its_range():
    assert outside(RUNTIME) == []
    assert outside(one for requirements in EXTRAS.values() for one in requirements) == []
    assert {"torch", "xarray", "pytest", "ruff", "sphinx", "dask"} <= set(PINS)


def test_a_pin_that_is_missing_or_out_of_range_is_found():
    wanted = ["no-such-library>=1", f"torch>{PINS['torch']}", "netCDF4<1"]
    assert outside(map(Requirement, wanted)) == [str(Requirement(line)) for line in wanted]


def test_a_result_records_only_libraries_that_are_pinned():
    """What provenance names is what an exact installation fixes."""
    assert {canonicalize_name(name) for name in PACKAGES} - {"phase7"} <= set(PINS)


def test_runtime_dependencies_are_ranges():
    """A library that pins exactly cannot be installed beside others."""
    assert [str(one) for one in RUNTIME if not one.specifier] == []
    operators = {specifier.operator for one in RUNTIME for specifier in one.specifier}
    assert operators == {">=", "<"}
    for one in (*RUNTIME, *EXTRAS["analysis"], *EXTRAS["dask"]):
        assert any(specifier.operator == ">=" for specifier in one.specifier), one


def test_pins_name_no_build():
    """``torch==X`` takes the builds for the CPU and for CUDA; ``X+cpu`` exists on one index only."""
    assert [name for name, version in PINS.items() if version.local] == []
    assert Requirement(f"torch=={PINS['torch']}").specifier.contains(f"{PINS['torch']}+cpu")


def test_constraints_say_how_they_are_made():
    head = read("constraints.txt").partition("\naccelerate")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    for words in ("pip install", "'.[test,dev,docs]'", "pip freeze --exclude-editable"):
        assert words in head


def test_checkers_have_one_version_everywhere():
    """Another version of ruff would format the same files otherwise, and mypy find other things."""
    dev = {one.name: str(one.specifier) for one in EXTRAS["dev"]}
    for name in ("ruff", "mypy"):
        assert dev[name] == f"=={PINS[name]}"
    tox = configparser.ConfigParser()
    tox.read(REPOSITORY / "tox.ini", encoding="utf-8")
    assert tox["testenv:lint"]["deps"].split("\n") == ["", "-c constraints.txt", "ruff"]
    hooks = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    assert [repository["repo"] for repository in hooks] == ["local"]  # so they run what is installed


def installations(text: str) -> list[str]:
    """The commands that install this repository."""
    return re.findall(r"pip install [^\n&]*-e [^\n&]+", text)


def test_every_command_that_installs_the_repository_uses_the_constraints():
    files = [
        "README.md", ".ci/run", ".pre-commit-config.yaml", ".github/workflows/tests.yml",
        *(str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "docs").rglob("*.md")),
    ]  # fmt: skip
    found = [(name, command) for name in files for command in installations(read(name))]
    assert [one for one in found if "-c constraints.txt" not in one[1]] == []
    assert len([name for name, _ in found if name in files[:4]]) >= 7
    assert "docs/quickstart.md" in {name for name, _ in found}


def test_toxs_installation_is_exact_and_is_made_anew_when_a_version_changes(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("shared", REPOSITORY / ".ci" / "shared.py")
    assert spec is not None and spec.loader is not None
    shared = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shared)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text(read(name), encoding="utf-8")
    monkeypatch.setattr(shared, "ROOT", tmp_path)
    monkeypatch.setattr(shared, "FOLDER", tmp_path / "shared")
    called: list[list[str]] = []

    def call(command: list[str]) -> None:
        (tmp_path / "shared").mkdir(exist_ok=True)
        called.append(command)

    monkeypatch.setattr(shared.subprocess, "check_call", call)
    python = tmp_path / "shared" / "python"
    shared.install(python)
    (install,) = [command for command in called if "install" in command]
    assert install[install.index("-c") + 1] == str(tmp_path / "constraints.txt")
    assert install[-2:] == ["-e", f"{tmp_path}[test,dev,docs]"]
    shared.install(python)
    assert len(called) == 2  # the environment and the installation, once
    for n_calls, name in ((4, "constraints.txt"), (6, "pyproject.toml")):
        (tmp_path / name).write_text(read(name) + "# changed\n", encoding="utf-8")
        shared.install(python)
        assert len(called) == n_calls
