"""`plan`: what it reads, what it prints, and that a budget buys what it says."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

import phase7
from phase7.cli import main
from phase7.experiment.planned import with_numbers
from phase7.experiment.profile import load_profile
from phase7.findings.pilot import PilotTest, primary_tests
from phase7.run import planning
from phase7.run.backend import Backend
from phase7.run.paths import build_paths
from phase7.run.pipeline import Run
from phase7.run.planning import Budget, Cost, Design, Planner
from phase7.statistics import prompts_for
from phase7.vocabulary.errors import UserError
from tests.run.small_project import NEUTRAL, PROFILE, make


def paths(name: str = "small"):
    return build_paths(
        name, root=Path(), store=Path("store"), results=Path("results"), report=Path("report.md")
    )


def planner(name: str = "small", **changes) -> Planner:
    profile = dataclasses.replace(load_profile(name, Path()), **changes)
    return Planner(profile, paths(name), Backend(name="serial"), lambda line: None, lambda line: None)


def everything(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def wide(tmp_path, monkeypatch) -> Path:
    """A project with prompts enough to confirm on, as the current directory, not built."""
    folder = make(tmp_path / "wide")
    texts = [f"{text} {word}" for word in ("it", "and", "the") for text in NEUTRAL]
    (folder / "data" / "neutral_prompts.json").write_text(json.dumps({"prompts": texts}))
    (folder / "data" / "profiles" / "small.toml").write_text(PROFILE.replace("= 16\n", "= 512\n"))
    monkeypatch.chdir(folder)
    return folder


# --- the pilot ---------------------------------------------------------------------------------------


def test_a_finished_run_is_the_pilot_and_nothing_is_computed(built_copy, capsys):
    before = everything(built_copy)
    assert main(["plan", "small", "--quiet", "--backend=serial", "--effect=0.2"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert everything(built_copy) == before
    assert out[0] == "pilot: small, 3 prompts"
    tree = phase7.open_effects(built_copy / "store" / "effects" / "small.nc")
    sets = tree["model/gratitude/head_sets"].to_dataset()
    measured = sets.is_primary & sets.net_delta.notnull()
    assert len(out) == 3 + int(measured.sum()) > 3


def test_a_dry_run_prints_the_same_table_from_the_store(built_copy, capsys):
    assert main(["plan", "small", "--quiet", "--backend=serial"]) == 0
    planned = capsys.readouterr().out.splitlines()
    before = everything(built_copy)
    assert main(["build", "small", "--quiet", "--dry-run", "--backend=serial"]) == 0
    *told, last = capsys.readouterr().out.splitlines()
    assert told[1:] == planned and len(planned) > 3
    assert last.startswith("time: the last run took ")
    assert everything(built_copy) == before


def test_a_dry_run_without_a_pilot_says_how_to_get_one(project, capsys):
    assert main(["build", "data/profiles/small.toml", "--quiet", "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines()[-2] == (
        "power: no pilot in the store; `phase7 plan data/profiles/small.toml` runs one and prints its table"
    )
    assert not (project / "store").exists()


def test_looks_make_no_difference_to_a_pilot(built_copy):
    looked_at = dataclasses.replace(planner().profile.statistics, looks=(2,))
    assert planner(statistics=looked_at)._finished is not None
    assert planning._to_the_end(planner(statistics=looked_at).profile) == planner().profile


def test_a_run_of_before_there_were_looks_and_rounds_is_a_pilot(built_copy):
    """Settings that it does not name are off in it."""
    config = json.loads(json.dumps(planner().profile.as_dict()))
    older = json.loads(json.dumps(config))
    del older["statistics"]["looks"], older["statistics"]["spending"], older["sweep"]["halving"]
    assert planning._comparable(older) == planning._comparable(config)
    config["sweep"]["halving"] = [1]
    assert planning._comparable(older) != planning._comparable(config)


def test_its_differences_are_those_of_the_effects_file(built_copy):
    tree = phase7.open_effects(built_copy / "store" / "effects" / "small.nc")
    made = planner()
    sets = tree["model/gratitude/head_sets"].to_dataset()
    for test in primary_tests(tree, made._score):
        one = sets.sel(mode=test.mode, metric=test.metric).isel(head_set=0)
        assert test.differences.shape == (3, 2)
        expected = (one.patched - one.control_patched).values
        np.testing.assert_allclose(
            test.differences.mean(axis=1), expected[np.isfinite(expected)], atol=1e-12
        )
        assert test.spread.mean == pytest.approx(float(one.net_delta), abs=1e-12)


def test_a_run_of_other_settings_is_no_pilot(built_copy):
    made = planner()
    assert made._finished is not None
    sampling = made.profile.sampling
    more = planner(sampling=dataclasses.replace(sampling, samples=8))
    assert more._finished is not None
    other = planner(sampling=dataclasses.replace(sampling, max_new_tokens=5))
    assert other._finished is None


@pytest.mark.slow
def test_without_one_a_few_prompts_are_run_whose_entries_the_run_uses(wide, monkeypatch):
    monkeypatch.setattr(planning, "N_PILOT", 3)
    words, tests = planner().tests()
    assert words == "pilot: small, 3 prompts" and not (wide / "store" / "effects").exists()
    assert {len(test.differences) for test in tests} == {3}
    run = Run(
        load_profile("small", Path()), paths(), show_progress=False, backend=Backend(name="serial")
    )
    run.execute()
    assert run.store.n_computed["generation"] > 0
    assert run.store.n_hits["generation"] >= 3  # the pilot's confirmation


# --- the budget --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_budget_of_tokens_buys_the_run_that_takes_them(wide, capsys, monkeypatch):
    """The tiny model's texts hardly differ, so the pilot's differences are made up."""
    monkeypatch.setattr(planning, "primary_tests", lambda tree, score_of: made_tests(1.0, 2.0, n=9))
    budget = 30_000
    assert main(["plan", "--quiet", "--backend=serial", f"--budget={budget}tok", "small"]) == 0
    out = capsys.readouterr().out
    bought = load_profile("small-planned.toml", Path())
    made = planner()
    expected = planning._with(
        made.profile, n_prompts=bought.confirm.n_prompts, n_samples=bought.sampling.samples
    )
    assert dataclasses.replace(bought, name="small") == expected
    assert 6 <= bought.confirm.n_prompts <= 9
    run = Run(bought, paths(bought.name), show_progress=False, backend=Backend(name="serial"))
    taken = sum(run.rehearse().tokens.values())
    (about,) = re.findall(r"about (\d+) tok", out)
    assert int(about) == pytest.approx(taken, rel=0.1) and taken <= budget
    # More of either would not have been bought for it.
    cost = made.cost("tok")
    assert cost.of(bought.confirm.n_prompts, bought.sampling.samples) == pytest.approx(taken, rel=0.1)
    assert cost.of(9, 16) > budget


def test_a_budget_too_small_is_refused(wide):
    cost = Cost(fixed=0, by_prompt=1, by_sample=1)
    with pytest.raises(
        UserError, match="for at least 6 prompts, got 11 tok and 9 prompts; 6 take about 12"
    ):
        planner().best(made_tests(1.0, 1.0), cost, Budget(amount=11, unit="tok"))


def test_an_output_that_is_there_is_refused_before_anything_runs(project, capsys):
    (project / "small-planned.toml").write_text("mine")
    assert main(["plan", "small", "--quiet", "--budget=1h"]) == 2
    assert (project / "small-planned.toml").read_text() == "mine"
    assert not (project / "store").exists()
    assert "that is not there yet" in capsys.readouterr().err


@pytest.mark.parametrize("budget", ["10", "tok", "-3m", "infh", "nans", "ten m", ""])
def test_a_budget_that_says_nothing_is_refused(project, budget, capsys):
    assert main(["plan", "small", f"--budget={budget}"]) == 2
    assert "write it as 90s, 30m, 2h or 200000tok" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [("90s", 90, "s"), ("1.5m", 90, "s"), ("2h", 7200, "s"), ("7tok", 7, "tok")],
)
def test_budgets_as_they_are_written(text, amount, unit):
    assert Budget.parse(text) == Budget(amount=amount, unit=unit)


def made_tests(between: float, within: float, n: int = 4_000) -> list[PilotTest]:
    rng = np.random.default_rng(0)
    values = rng.normal(0, between, size=(n, 1)) + rng.normal(0, within, size=(n, 8))
    return [
        PilotTest(
            model="m", emotion="e", heads="0:1", mode="result", metric="politeness", differences=values
        )
    ]


def test_samples_are_bought_where_they_tell_more_than_prompts(wide):
    """Noise within prompts asks for samples, as long as a prompt has a price of its own."""
    cost, budget = Cost(fixed=0, by_prompt=10, by_sample=1), Budget(amount=100, unit="tok")
    made = planner()
    noisy = made.best(made_tests(0.1, 3.0), cost, budget)
    varied = made.best(made_tests(3.0, 0.1), cost, budget)
    assert noisy.n_samples > varied.n_samples == 1
    assert varied.n_prompts == 9 >= noisy.n_prompts >= 6
    assert max(noisy.cost, varied.cost) <= 100
    assert noisy.cost == cost.of(noisy.n_prompts, noisy.n_samples)


def test_the_table_says_what_an_effect_takes(wide):
    (test,) = made_tests(1.0, 2.0)
    one = dataclasses.replace(test, differences=test.differences[:12])
    profile = planner().profile
    *_, row = planning.table([one], profile, 0.5)
    *_, n_1, n_2, n_8 = row.split()
    spread = one.spread
    assert [n_1, n_2, n_8] == [f"{prompts_for(0.5, spread.sd(n)):.0f}" for n in (1, 2, 8)]
    assert f"{math.sqrt(spread.within):.4f}" in row and f"{math.sqrt(spread.between):.4f}" in row


# --- the file ----------------------------------------------------------------------------------------


def test_numbers_are_set_and_comments_stay():
    text = '# mine\nmodels = ["m"]\n[sampling] # how\nsamples = 4 # few\nseed = 1\n\n[confirm]\nstrongest = 6\n'
    found = with_numbers(
        text, {("sampling", "samples"): 8, ("confirm", "n_prompts"): 12, ("engine", "max_rows"): 64}
    )
    assert found == (
        '# mine\nmodels = ["m"]\n[sampling] # how\nsamples = 8\nseed = 1\n\n'
        "[confirm]\nn_prompts = 12\nstrongest = 6\n\n[engine]\nmax_rows = 64\n"
    )


def test_a_file_that_numbers_cannot_be_set_in_is_refused(wide):
    profile = PROFILE.replace("[sampling]\nmax_new_tokens = 6\nsamples = 2\nseed = 5\n", "").lstrip()
    inline = "sampling = { max_new_tokens = 6, samples = 2, seed = 5 }\n" + profile
    Path("inline.toml").write_text(inline)
    design, output = Design(n_prompts=8, n_samples=4, cost=1.0), Path("inline-planned.toml")
    with pytest.raises(UserError, match="set samples = 4 and n_prompts = 8 by hand"):
        planner("inline.toml").write(design, "inline.toml", output)
    assert not output.exists()
    planner().write(design, "small", output)  # liveness
    bought = load_profile(str(output), Path())
    assert (bought.sampling.samples, bought.confirm.n_prompts) == (4, 8)


def test_a_pilot_in_which_nothing_differs_buys_nothing(wide):
    (test,) = made_tests(1.0, 1.0)
    nothing = dataclasses.replace(test, differences=np.zeros((5, 2)))
    with pytest.raises(UserError, match="the same scores in all primary tests"):
        planner().best([nothing], Cost(fixed=0, by_prompt=1, by_sample=1), Budget(amount=99, unit="tok"))
