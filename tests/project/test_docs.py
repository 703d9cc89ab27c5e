"""The pages' examples run, their commands parse, and the errors they quote exist."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import time
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import get_args, get_type_hints

import matplotlib
import pytest
import xarray as xr

import phase7
from phase7.cli.arguments import make_parser
from phase7.effects import file as effects
from phase7.experiment.profile import Profile
from phase7.experiment.prompts import load_prompts
from tests import tiny
from tests.report.synthetic import Spec, tree

REPOSITORY = Path(__file__).parents[2]
#: In an example that needs a real model.
LOADS_SMOLLM2 = 'load_model("smollm2")'
DOCS = REPOSITORY / "docs"
PAGES = {
    "README.md": REPOSITORY / "README.md",
    **{
        str(p.relative_to(DOCS)): p
        for kind in ("*.md", "how-to/*.md", "notebooks/*.md")
        for p in DOCS.glob(kind)
    },
}
SMOLLM2 = Spec(
    model="smollm2", n_layers=30, n_heads=9, target="16:8,17:0,17:7,18:3,21:1,22:7,25:6,26:5,27:1,27:4",
    strongest=("21:1", "15:5"), sets=("3:4,4:8",), planted=("21:1",), n_discovery=8, n_confirmation=12,
    readouts=("logodds_gratitude", "logodds_gratitude_first", "kl_path", "kl_path_first"),
    controls=("prompting", "shift 1", "shift 2"), attributed=True, swept_text=False,
)  # fmt: skip


def blocks(page: Path, *languages: str) -> list[str]:
    found = re.findall(
        r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    return [text for language, text in found if language in languages]


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """A folder with effects files of the names that the pages use."""
    folder = tmp_path_factory.mktemp("pages")
    effects.write_effects(tree(SMOLLM2), folder / "store/effects/quickstart.nc")
    small = Spec(planted=("1:2",), seed=3)
    both = tree(replace(small, model="gpt2"), replace(small, model="pythia-160m"))
    for path in ("gpt2/gratitude", "pythia-160m/gratitude"):  # the planted head moves politeness too
        here = both[path].to_dataset()
        for one in here.data_vars.values():
            if "metric" in one.dims:
                one.loc[{"metric": "politeness"}] = one.sel(metric="sentiment_positive").values
        both[path] = xr.DataTree(here, children=both[path].children)
    effects.write_effects(both, folder / "store/effects/baseline.nc")
    return folder


@pytest.fixture
def folder(written, tmp_path, monkeypatch) -> Path:
    """A copy of that folder, as the current directory."""
    matplotlib.use("Agg")
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "page",
    ["README.md", "tutorial.md", "how-to/own-metric.md", "how-to/own-scorer.md", "how-to/python.md"],
)
def test_the_examples_run(page, folder, capsys):
    space: dict[str, object] = {}
    if page == "how-to/python.md":
        space = {"hf_model": tiny.hf_model("llama"), "tokenizer": tiny.tokenizer()}
    found = [block for block in blocks(PAGES[page], "python") if LOADS_SMOLLM2 not in block]
    assert found
    for block in found:
        exec(block, space)
    if page == "tutorial.md":
        assert len([line for line in found[-1].splitlines() if line.strip()]) <= 6
        assert re.search(r"1:2 .*1:2 ", capsys.readouterr().out)  # both models' head, in one row
    if page == "how-to/python.md":
        told = capsys.readouterr().out
        assert (
            told.count("baseline") == 2
            and "patched 2:1 (result, thanks - neutral, strength 4): " in told
        )
        assert not list(folder.glob("*.nc"))
    if page == "how-to/own-scorer.md":
        assert space["Please"]().score(["Please!", "no"])["politeness"].tolist() == [1.0, 0.0]


@pytest.mark.slow
@pytest.mark.network
def test_the_script_of_the_readme_patches_smollm2(tmp_path, monkeypatch, capsys):
    """The conversion of the model, once a machine, is not in the time."""
    (script,) = [block for block in blocks(PAGES["README.md"], "python") if LOADS_SMOLLM2 in block]
    assert len([line for line in script.splitlines() if line.strip()]) <= 12
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PHASE7_STORE", raising=False)
    phase7.load_model("smollm2")
    started, space = time.monotonic(), {}
    exec(script, space)
    seconds = time.monotonic() - started
    assert (len(space["thankful"]), len(space["plain"])) == (5, 5)
    told = capsys.readouterr().out
    assert re.search(r"ci_low\s+ci_high\s+0\s+21\s+1", told) and "baseline" in told
    assert list(tmp_path.iterdir()) == []  # the converted model lies in the user's cache
    assert seconds < 300  # meant to take less than a minute on two quiet cores; shared ones are slower


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_parse(page):
    for block in blocks(PAGES[page], "sh", ""):
        for line in block.replace("\\\n", " ").splitlines():
            command = line.rpartition("&&")[2].strip()
            if command.startswith("python -m phase7"):
                make_parser().parse_args(shlex.split(command, comments=True)[3:])


def test_the_check_of_commands_sees_some_and_can_fail():
    lines = [
        line for page in PAGES.values() for block in blocks(page, "sh") for line in block.splitlines()
    ]
    assert sum(line.startswith("python -m phase7") for line in lines) >= 7
    with pytest.raises(SystemExit):
        make_parser().parse_args(["build", "--no-such-flag"])


def test_prompt_files_shown_are_prompt_files(tmp_path):
    (shown,) = blocks(PAGES["how-to/own-prompts.md"], "json")
    path = tmp_path / "joy_prompts.json"
    path.write_text(shown, encoding="utf-8")
    assert load_prompts(path).name == "joy" and json.loads(shown)


def test_every_quoted_error_is_in_the_source():
    source = "\n".join(p.read_text(encoding="utf-8") for p in (REPOSITORY / "phase7").rglob("*.py"))
    quoted = re.findall(
        r"^\| `expected (.*?)` \|", PAGES["faq.md"].read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(quoted) >= 15
    assert [text for text in quoted if f'expected="{text}' not in source] == []


def test_the_first_two_commands_of_the_readme():
    first, second = blocks(PAGES["README.md"], "")[:2]
    assert first == "pip install -c constraints.txt -e . && python -m phase7 build\n"
    assert second == "pip install -c constraints.txt -e '.[test]' && python -m pytest\n"


def test_every_page_is_in_the_contents_and_every_link_leads_somewhere():
    index = PAGES["index.md"].read_text(encoding="utf-8")
    for name in set(PAGES) - {"README.md", "index.md"}:
        assert re.search(rf"^{re.escape(name.removesuffix('.md'))}$", index, re.MULTILINE), name
    for page in PAGES.values():
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if "://" not in target and not page.name.startswith(("performance", "phase7_report")):
                assert (page.parent / target).exists(), (page.name, target)


@pytest.fixture(scope="module")
def generated():
    """The module that fills in the generated pages when the site is built."""
    spec = importlib.util.spec_from_file_location("generated", DOCS / "generated.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(text: str) -> dict[str, list[list[str]]]:
    """The rows of the tables below each heading of level 2."""
    found: dict[str, list[list[str]]] = {}
    for part in re.split(r"(?m)^## ", text)[1:]:
        lines = [line for line in part.splitlines() if line.startswith("| ")][2:]
        found[part.splitlines()[0]] = [re.split(r"(?<!\\) \| ", line.strip("| ")) for line in lines]
    return found


def test_the_generated_pages_hold_every_option_and_every_key_with_its_meaning(generated):
    (commands,) = (one for one in make_parser()._actions if isinstance(one.choices, dict))
    shown = rows(generated.commands())
    assert list(shown) == list(commands.choices)
    for name, command in commands.choices.items():
        flags = [one.option_strings[-1] for one in command._actions if one.option_strings]
        told = [cells[0] for cells in shown[name] if cells[0].startswith("`--")]
        assert [cell.strip("`").split("`")[0].split()[0] for cell in told] == flags[1:]  # but --help
        assert all(len(cells) == 2 and cells[1] for cells in shown[name])
    shown = rows(generated.profile_keys())
    for name, record in get_type_hints(Profile).items():
        record = next((one for one in (record, *get_args(record)) if is_dataclass(one)), None)
        if record is not None:
            keys = {cells[0].strip("`"): cells for cells in shown[f"[{name}]"]}
            assert set(keys) == {one.name for one in fields(record)}
            assert all(len(cells) == 4 and cells[3] for cells in keys.values()), name
            if "write" in keys:
                assert set(keys["write"][1].split(", ")) == {'`"replace"`', '`"add"`'}
    for page in ("command-line.md", "profiles.md"):
        assert PAGES[page].read_text(encoding="utf-8").count(generated.MARK) == 1


def test_the_notebooks_are_run_when_the_site_is_built():
    """Where a cell fails, the build fails; every notebook is one that is run."""
    settings = (DOCS / "conf.py").read_text(encoding="utf-8")
    assert '\nnb_execution_mode = "cache"\n' in settings
    assert "\nnb_execution_raise_on_error = True\n" in settings
    notebooks = sorted((DOCS / "notebooks").glob("*.md"))
    assert len(notebooks) == 2
    for path in notebooks:
        text = path.read_text(encoding="utf-8")
        assert text.startswith("---\nfile_format: mystnb\nkernelspec:\n  name: python3\n---\n")
        cells = re.findall(r"^```\{code-cell\} ipython3\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        assert len(cells) >= 5
        for cell in cells:
            compile(cell, path.name, "exec")
