"""Where files go: one effects file for each result, nothing replaced untold, a checkout stays clean."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from phase7 import plots
from phase7.cli import main
from phase7.run.paths import build_paths, require_own
from phase7.run.pipeline import Run
from phase7.run.record import Outcome
from phase7.vocabulary.errors import UserError
from tests.run.small_project import REPOSITORY


def build(*options: str) -> int:
    return main(["build", "small", "--quiet", *options])


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, the memo aside."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "memo" not in path.parts
    }


@pytest.mark.slow
def test_another_results_folder_has_an_effects_file_of_its_own(built_copy):
    before = files(built_copy)
    assert build("--results", "other") == 0
    after = files(built_copy)
    assert {name: after[name] for name in before} == before
    added = set(after) - set(before)
    assert {"other/small/small.nc", "other/small/report.md", "other/small/run.json"} <= added
    assert all(name.startswith("other/small/") for name in added)


@pytest.mark.slow
def test_an_effects_file_of_another_result_is_not_replaced(built_copy, capsys, monkeypatch):
    """The same store, seen from a folder without these results."""
    effects = built_copy / "store" / "effects" / "small.nc"
    shutil.rmtree(built_copy / "results")
    before = effects.read_bytes(), effects.stat().st_mtime_ns
    assert build("--dry-run") == 0  # which tells what would happen, and about how long it takes
    told = capsys.readouterr().out
    assert re.search(r"^time: about .*`phase7 plan small --budget 30m`", told, re.M)
    assert "without --force the build refuses to start: store/effects/small.nc" in told
    assert build() == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "small.nc" in error and "--force" in error and "--results DIR" in error
    assert (effects.read_bytes(), effects.stat().st_mtime_ns) == before
    assert not (built_copy / "results").exists()
    forced: list[bool] = []
    outcome = Outcome(up_to_date=True, seconds=0.0)
    monkeypatch.setattr(Run, "execute", lambda run, force: forced.append(force) or outcome)
    assert build("--force") == 0
    assert forced == [True]


def test_a_run_that_was_cut_off_before_its_record_may_continue(tmp_path):
    effects, record, pickles = (
        tmp_path / "p.nc",
        tmp_path / "r" / "run.json",
        tmp_path / "r" / "patching",
    )
    require_own(effects, record, pickles)
    effects.write_bytes(b"x")
    pickles.mkdir(parents=True)
    with pytest.raises(UserError, match="does not list"):
        require_own(effects, record, pickles)
    (pickles / "head_patching_model_gratitude.pkl").write_bytes(b"x")  # written before the effects file
    require_own(effects, record, pickles)


def test_an_html_report_rewrites_no_figure(built_copy, capsys):
    before = files(built_copy)
    stamps = {path: path.stat().st_mtime_ns for path in (built_copy / "results").rglob("*.png")}
    assert main(["report", "store/effects/small.nc", "--output", "seen.html"]) == 0
    after = files(built_copy)
    assert set(after) - set(before) == {"seen.html"}
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert capsys.readouterr().out == "wrote seen.html\n"


def test_a_page_has_its_figures_beside_it(built_copy, monkeypatch):
    drawn = built_copy / "results" / "small" / "plots"
    monkeypatch.setattr(
        plots, "write_plots", lambda tree, folder: [Path(shutil.copytree(drawn, folder))]
    )
    before = files(built_copy)
    assert main(["report", "store/effects/small.nc", "--output", "seen/page.md"]) == 0
    after = files(built_copy)
    assert {name: after[name] for name in before} == before
    figures = {f"seen/page_plots/{path.name}" for path in drawn.iterdir()}
    assert set(after) - set(before) == {"seen/page.md", *figures}
    assert b"](page_plots/" in after["seen/page.md"]


def test_a_report_without_a_name_belongs_to_its_profile(built_copy, monkeypatch):
    places: list[Path] = []
    monkeypatch.setattr(plots, "write_plots", lambda tree, folder: places.append(folder) or [])
    report = built_copy / "results" / "small" / "report.md"
    other = report.with_name("report.en.md")
    whole, english = report.read_bytes(), other.read_bytes()
    report.unlink(), other.unlink()
    before = files(built_copy)
    assert main(["report", "store/effects/small.nc"]) == 0
    after = files(built_copy)
    assert set(after) - set(before) == {"results/small/report.md", "results/small/report.en.md"}
    assert after["results/small/report.md"] == whole
    assert after["results/small/report.en.md"] == english
    assert places == [Path("results/small/plots")]


def test_a_build_writes_the_report_in_both_languages(built):
    """The same figures and numbers under headings of each, both told in the record."""
    folder = built / "results" / "small"
    japanese, english = (
        (folder / name).read_text(encoding="utf-8") for name in ("report.md", "report.en.md")
    )
    kana = re.compile("[\u3040-\u30ff]")
    assert len(kana.findall(japanese)) > 1000 and not kana.findall(english)
    for pattern in (r"\]\((plots/[^)]+)\)", r'<a id="([\w-]+)"></a>'):
        assert re.findall(pattern, japanese) == re.findall(pattern, english) != []
    listed = json.loads((folder / "run.json").read_text(encoding="utf-8"))["files"]
    assert {"results/small/report.md", "results/small/report.en.md"} <= set(listed)


def test_one_language_is_one_report(tmp_path):
    def reports(**named: Any) -> list[str]:
        paths = build_paths("p", root=Path(), store=Path("store"), **named)
        return [path.name for path in (*paths.reports, *paths.english_reports)]

    assert reports(is_bilingual=True) == ["report.md", "report.en.md"]
    assert reports(is_bilingual=True, report_format="html") == ["report.html", "report.en.html"]
    assert reports(is_bilingual=True, report_format="both") == [
        "report.md", "report.html", "report.en.md", "report.en.html"
    ]  # fmt: skip
    assert reports() == ["report.md"]
    assert reports(is_bilingual=True, report=Path("mine.md")) == ["mine.md"]


@pytest.mark.slow
def test_a_named_language_leaves_the_other_report_alone(built_copy, capsys):
    assert main(["build", "small", "--lang", "en", "--quiet"]) == 0
    told = capsys.readouterr().out
    assert "wrote results/small/report.md" in told and "report.en.md" not in told
    folder = built_copy / "results" / "small"
    assert (folder / "report.md").read_bytes() == (folder / "report.en.md").read_bytes()


@pytest.mark.parametrize("report_format", [None, "html", "both"])
def test_the_first_command_leaves_a_clean_checkout_clean(report_format, tmp_path):
    """Git ignores every place that a quickstart writes to, by the rules that are committed."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    shutil.copy(REPOSITORY / ".gitignore", tmp_path)
    paths = build_paths(
        "quickstart", root=Path(), store=Path("store"), report_format=report_format, is_bilingual=True
    )
    outputs = [*paths.outputs(["smollm2"], ["gratitude"]), paths.run_record, paths.plots / "a.png"]
    assert len(paths.reports) == len(paths.english_reports) == (2 if report_format == "both" else 1)

    def ignored(path: Path) -> bool:
        done = subprocess.run(["git", "check-ignore", "-q", str(path)], cwd=tmp_path, check=False)
        return done.returncode == 0

    assert [path for path in [*outputs, paths.store / "memo" / "x"] if not ignored(path)] == []
    assert not ignored(Path("docs/phase7_report.md"))
    tracked = subprocess.run(
        ["git", "ls-files", "results/quickstart", "store"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if tracked.returncode == 0:  # no repository where an archive is tested
        assert tracked.stdout.split() == ["store/README.md"]


def test_a_dry_run_after_a_finished_build_has_nothing_to_compute(built_copy, capsys):
    before = files(built_copy)
    assert build("--dry-run") == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        "up to date: nothing to compute", "pilot: small, 3 prompts"
    ]  # fmt: skip
    assert build("--dry-run", "--force") == 0
    out = capsys.readouterr().out
    assert "tokens to generate" in out
    record = json.loads((built_copy / "results/small/run.json").read_text(encoding="utf-8"))
    n_computed = sum(record["entries_computed"].values())
    assert re.search(
        rf"^time: the last run took \d+ (s|min), with {n_computed} entries computed", out, re.M
    )
    assert build("--dry-run", "--lang", "en") == 0  # another report
    assert "tokens to generate" in capsys.readouterr().out
    assert files(built_copy) == before
    prompts = built_copy / "data" / "neutral_prompts.json"
    prompts.write_text(prompts.read_text().replace("kettle", "basket"))
    assert build("--dry-run") == 0
    assert "up to date" not in capsys.readouterr().out
