"""`build` from profile to report on a tiny model, as a user runs it."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import numpy as np
import xarray as xr

import phase7
from phase7.cli import main
from phase7.engine.decode import running
from phase7.run import executor as execution
from phase7.run import generating
from phase7.vocabulary.guards import GUARDS
from phase7.vocabulary.metrics import METRICS
from tests.run.small_project import NEUTRAL, arrays, assert_same_bits


def build(*options: str) -> int:
    return main(["build", "small", "--quiet", *options])


def test_build_leaves_results_effects_figures_and_report(built):
    effects = built / "store" / "effects" / "small.nc"
    report = (built / "results" / "small" / "report.md").read_text(encoding="utf-8")
    figures = list((built / "results" / "small" / "plots").glob("*.png"))
    assert figures
    assert any(figure.name in report for figure in figures)
    assert "Head Patching設定" in report

    tree = xr.open_datatree(effects)
    group = tree["model/gratitude"].to_dataset()
    assert {"layer", "head", "mode", "metric", "prompt"} <= set(group.sizes)
    assert list(group.metric.values) == [*METRICS, *GUARDS]
    assert json.loads(tree.attrs["provenance"])["self_check"]["failures"] == 0
    assert json.loads(tree.attrs["provenance"])["self_check"]["max_logit_gap"] == 0.0

    cell = group.sel(layer=2, head=3, mode="v_only")
    confirmation = (group.split == "confirmation").values
    expected = (cell.patched - group.baseline).isel(prompt=confirmation).mean("prompt")
    np.testing.assert_allclose(cell.delta, expected, atol=1e-12)
    control = (cell.control_patched - group.baseline).isel(prompt=confirmation).mean("prompt")
    np.testing.assert_allclose(cell.net_delta, cell.delta - control, atol=1e-12)
    assert np.isnan(group.delta.sel(layer=1, head=0)).all() or group.n_prompts.sel(layer=1, head=0).any()
    assert not np.isnan(
        tree["model/gratitude/sweep"].delta.sel(mode="result", metric="sentiment_positive")
    ).any()
    assert np.isnan(tree["model/gratitude/sweep"].delta.sel(mode="v_only")).all()
    assert np.isnan(group.delta.sel(metric="goemotions_joy")).all()


def test_the_pickle_opens_without_phase7(built):
    path = built / "results" / "small" / "patching" / "head_patching_model_gratitude.pkl"
    code = (
        "import sys, pickle; sys.modules['phase7'] = None; sys.modules['torch'] = None\n"
        f"r = pickle.load(open({str(path)!r}, 'rb'))\n"
        "print(len(r['cells']), r['settings']['target_heads'], len(r['baseline']['texts']))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/"
    ).stdout.split()
    assert out[1:] == ["0:1,2:3", "3"]
    result = pickle.loads(path.read_bytes())
    effects = phase7.open_effects(built / "store" / "effects" / "small.nc")
    cell = next(c for c in result["cells"] if c["heads"] == "2:3" and c["mode"] == "result")
    stored = effects["model/gratitude"].to_dataset().sel(layer=2, head=3, mode="result")
    np.testing.assert_array_equal(cell["statistics"]["net_delta"], stored.net_delta.values)
    delta = cell["patched_scores"]["emotion"] - result["baseline"]["scores"]
    np.testing.assert_allclose(delta.mean(axis=1), cell["statistics"]["delta"], atol=1e-12)


def test_a_second_build_computes_nothing_and_a_forced_one_gives_the_same_bits(
    built_copy, capsys, monkeypatch
):
    effects = built_copy / "store" / "effects" / "small.nc"
    before, stamp = arrays(effects), effects.stat().st_mtime_ns
    monkeypatch.setattr(generating, "generate_together", None)  # any generation would fail
    assert build() == 0
    assert "nothing to compute" in capsys.readouterr().out
    assert effects.stat().st_mtime_ns == stamp
    assert build("--force") == 0
    assert effects.stat().st_mtime_ns != stamp
    assert_same_bits(before, arrays(effects))


def test_an_interrupted_build_continues_and_gives_the_same_bits(built, project, monkeypatch):
    original, calls = execution.Executor._generated, []

    def failing(self, asked):
        calls.append(asked)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return original(self, asked)

    monkeypatch.setattr(execution.Executor, "_generated", failing)
    assert build() == 130
    assert not (project / "store" / "effects" / "small.nc").exists()
    assert build() == 0
    assert len({id(asked) for asked in calls}) == len(calls) > 5
    effects = "store/effects/small.nc"
    assert_same_bits(arrays(built / effects), arrays(project / effects))


def test_changed_outputs_are_written_again(built_copy):
    report = built_copy / "results" / "small" / "report.md"
    whole = report.read_bytes()
    report.write_bytes(whole[:100])
    assert build() == 0
    assert report.read_bytes() == whole


def test_dry_run_tells_the_cost_and_computes_nothing(project, capsys):
    assert build("--dry-run") == 0
    out = capsys.readouterr().out
    assert "12 cells x 2 prompts x 2 donors" in out
    assert "tokens to generate" in out
    assert not (project / "store" / "memo").exists()


def test_patch_writes_one_result(project, capsys):
    code = main(
        ["patch", "--model", "model", "--head-spec", "0:1,2:3",
         "--neutral-prompts", "data/neutral_prompts.json",
         "--emotion-prompts", "data/gratitude_prompts.json",
         "--output", "results/mine/head_patching_model_gratitude.pkl",
         "--max-tokens", "5", "--temperature", "0.8", "--top-p", "0.9",
         "--patch-mode", "result", "--scorers", "vader,keywords", "--quiet"]
    )  # fmt: skip
    assert code == 0
    result = pickle.loads((project / "results/mine/head_patching_model_gratitude.pkl").read_bytes())
    assert [cell["heads"] for cell in result["cells"]] == ["0:1", "0:1,2:3", "2:3"]
    assert len(result["baseline"]["texts"]) == len(NEUTRAL)


def test_a_failed_self_check_stops_the_run(project, monkeypatch, capsys):
    """Liveness of the check: a self-donor row that is patched otherwise must stop the build."""
    original = running.self_checks

    def wrong(patches):
        return [
            type(p)(heads=p.heads, mode=p.mode, donor="zero", positions=p.positions)
            for p in original(patches)
        ]

    monkeypatch.setattr(running, "self_checks", wrong)
    assert build() == 2
    assert "self-check failed" in capsys.readouterr().err
    assert not (project / "store" / "effects" / "small.nc").exists()
