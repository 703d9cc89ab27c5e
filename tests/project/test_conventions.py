"""Versions and settings that stand in several files say the same."""

from __future__ import annotations

import configparser
import importlib.util
import re
import shlex
import tomllib
from pathlib import Path

import yaml

import phase7
from phase7.cli.arguments import make_parser

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_one_version_everywhere():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    changelog = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    latest = re.search(r"^## (\S+)", changelog, re.MULTILINE)
    assert latest is not None
    assert {phase7.__version__, PROJECT["version"], citation["version"], latest[1]} == {
        phase7.__version__
    }
    assert re.fullmatch(r"\d+\.\d+\.\d+", phase7.__version__)
    assert citation["license"] == PROJECT["license"]
    assert citation["keywords"] == PROJECT["keywords"]
    assert citation["authors"] == PROJECT["authors"]


def test_hooks_before_a_commit_run_what_tox_runs():
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    entries = {hook["entry"] for repository in hooks["repos"] for hook in repository["hooks"]}
    tox = (REPOSITORY / "tox.ini").read_text(encoding="utf-8")
    for command in ("python -m ruff check", "python -m ruff format", "python -m mypy phase7"):
        assert any(entry.startswith(command) for entry in entries)
        assert command.removeprefix("python ") in tox


def test_the_package_says_that_it_is_typed():
    assert (REPOSITORY / "phase7" / "py.typed").read_bytes() == b""


def workflow() -> dict[str, dict]:
    """The jobs of the public CI file."""
    text = (REPOSITORY / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    return yaml.safe_load(text)["jobs"]


def commands(job: dict) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def test_public_ci_runs_the_readmes_test_command():
    (run,) = commands(workflow()["tests"])
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert f"\n```\n{run}\n```\n" in readme
    ours = (
        (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8").replace("pip install -q", "pip install")
    )
    assert f"\n{run}\n" in ours


def test_public_ci_checks_what_tox_and_our_ci_check():
    tox = configparser.ConfigParser()
    tox.read(REPOSITORY / "tox.ini", encoding="utf-8")
    wanted = []
    for name in ("lint", "type", "docs"):
        lines = tox[f"testenv:{name}"]["commands"].strip().splitlines()
        wanted += [line.replace(".ci/shared.py ", "").replace("{posargs}", "").strip() for line in lines]
    install, *checks = commands(workflow()["checks"])
    assert checks == wanted and len(checks) == 4
    ours = (
        (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8").replace("pip install -q", "pip install")
    )
    ours = ours.replace('"$scratch/site"', "site")
    assert [line for line in (install, *checks) if f"\n{line}\n" not in ours] == []


def test_public_ci_covers_the_pythons_that_the_project_names():
    jobs = workflow()
    versions = jobs["tests"]["strategy"]["matrix"]["python-version"]
    named = [text.rpartition(" ")[2] for text in PROJECT["classifiers"] if ":: Python :: 3." in text]
    assert versions == named == sorted(named, key=lambda text: int(text[2:]))
    assert PROJECT["requires-python"] == f">={versions[0]}"
    set_up = {
        name: next(
            s["with"] for s in job["steps"] if s.get("uses", "").startswith("actions/setup-python@")
        )
        for name, job in jobs.items()
    }
    assert set_up["tests"]["python-version"] == "${{ matrix.python-version }}"
    assert set_up["checks"]["python-version"] == versions[0]  # what mypy checks for


def test_issue_forms_ask_for_what_exists():
    folder = REPOSITORY / ".github" / "ISSUE_TEMPLATE"
    forms = {
        path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in folder.glob("*.yml")
    }
    assert set(forms) == {"bug_report", "feature_request"}
    for form in forms.values():
        assert {"name", "description", "body"} <= set(form)
        ids = [field["id"] for field in form["body"]]
        assert len(ids) == len(set(ids))
        assert all(field["attributes"]["label"] for field in form["body"])
    bug = {field["id"]: field for field in forms["bug_report"]["body"]}
    assert set(bug) == {"command", "outcome", "version", "libraries", "model", "store"}
    assert all(field["validations"]["required"] for field in bug.values())
    (asked,) = re.findall(r"`phase7 (.+?)`", bug["store"]["attributes"]["description"])
    assert make_parser().parse_args(shlex.split(asked)).action == "verify"
    assert bug["version"]["attributes"]["placeholder"] == f"phase7 {phase7.__version__}"


def index_page(address: str) -> str:
    """What an index page shows of the README; importing setup.py sets nothing up."""
    spec = importlib.util.spec_from_file_location("setup_script", REPOSITORY / "setup.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    made: str = script.index_page((REPOSITORY / "README.md").read_text(encoding="utf-8"), address)
    return made


def test_an_index_page_shows_no_picture_and_no_link_that_lead_nowhere():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    relative = re.findall(r"\]\((?!https?:|#)([^)]+)\)", readme)
    assert len(relative) > 10 and any(one.endswith(".png") for one in relative)
    plain = index_page("")
    assert "](" not in re.sub(r"\]\((https?:|#)", "", plain)
    assert "![" not in plain and "The quickstart's search" in plain
    served = index_page("https://host.example/raw/v1/")
    assert re.findall(r"\]\(https://host\.example/raw/v1/([^)]+)\)", served) == relative
    assert served.replace("https://host.example/raw/v1/", "") == readme


def test_the_metadata_say_who_and_what_and_no_address_that_is_not_known():
    assert PROJECT["authors"] and len(PROJECT["classifiers"]) > 10
    assert PROJECT["dynamic"] == ["readme"] and "readme" not in PROJECT
    assert "urls" not in PROJECT  # until there is one: CONTRIBUTING says what a release adds
    contributing = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert "PHASE7_ADDRESS" in contributing and "[project.urls]" in contributing
