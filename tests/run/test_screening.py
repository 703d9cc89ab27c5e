"""A screened sweep, from flags to the effects file: which heads it chooses, and what it is judged by.

Exact effects are worked out a second time by forced passes with donors made by hand, GradDrop's scores
and integrated steps by the engine alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.stats import hypergeom, spearmanr

from phase7.cli import main
from phase7.cli.arguments import make_parser
from phase7.cli.commands import screened_by
from phase7.engine.decode.corrected import dropped_slopes, integrated_effects
from phase7.engine.decode.forced import forced_pass
from phase7.engine.decode.read_logits import log_odds_of
from phase7.engine.patch.patching import Patch
from phase7.experiment.declared import Screen
from phase7.experiment.profile import load_profile
from phase7.experiment.screening import groups, screen_stages
from phase7.experiment.stages import Stage
from phase7.experiment.swept import swept_heads
from phase7.run.backend import Backend
from phase7.run.executor import one_thread
from phase7.run.paths import RESULTS, build_paths
from phase7.run.pipeline import Run
from phase7.run.screening import screened
from phase7.statistics.missed import n_larger
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.heads import Head, HeadSet, parse_heads
from tests import stages, tiny
from tests.by_hand import mean_donor
from tests.run.small_project import NEUTRAL, REPOSITORY, write_data
from tests.run.test_search_by_readouts import (
    ALL_HEADS,
    DISCOVERY,
    EMOTION,
    LOG_ODDS,
    captured,
    path_of,
    slopes_of,
    tokens,
    words,
)
from tests.run.test_search_by_readouts import PROFILE as BY_ATTRIBUTION

N_CHOSEN, N_DRAWN, GROUP = 3, 4, 5
PROFILE = (
    BY_ATTRIBUTION.replace('readouts = "attribution"\n', "")
    + f"""
[screen]
heads = {N_CHOSEN}
checked_heads = {N_DRAWN}
confidence = 0.7
group = {GROUP}
"""
)
#: Estimates are single precision, and so are what exact effects are differences of.
AGREES = 2e-5


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("screen")
    write_data(folder, NEUTRAL, {"screen": PROFILE, "without": BY_ATTRIBUTION})
    prompts = json.dumps({"prompts": EMOTION})
    (folder / "data" / "gratitude_prompts.json").write_text(prompts, encoding="utf-8")
    shutil.copy(REPOSITORY / "data" / "keywords.toml", folder / "data" / "keywords.toml")
    tiny.save("llama", folder / "model")
    return folder


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def run(folder: Path, *arguments: str) -> int:
    with inside(folder):
        return main([*arguments, "--backend=serial"])


def effects(folder: Path, *arguments: str) -> tuple[xr.DataTree, list[str]]:
    """What a build with these arguments finds, and what it tells; no report is written."""
    args, lines = make_parser().parse_args(["build", *arguments]), []
    with inside(folder):
        profile = screened_by(args, load_profile(args.profile, Path()))
        paths = build_paths(
            profile.name, root=Path(), store=args.store, results=RESULTS, report=None, report_format=None
        )
        backend = Backend(name="serial")
        found = Run(profile, paths, say=lines.append, show_progress=False, backend=backend).effects()
    return found["model/gratitude"], lines


@pytest.fixture(scope="module")
def told(project):
    return effects(project, "screen", "--screen-gradient", "dropped")


@pytest.fixture(scope="module")
def tree(told):
    return told[0]


@cache
def donors(index: int):
    others = [text for i, text in enumerate(NEUTRAL) if i != index]
    return {
        "emotion": mean_donor([captured(text) for text in EMOTION]),
        "control": mean_donor([captured(text) for text in others]),
    }


@cache
def exactly(heads: tuple[Head, ...]) -> np.ndarray:
    """Mean net effect of patching some heads together, by read-out."""
    net = []
    for index in DISCOVERY:
        patches = [Patch(heads=heads, mode="result", donor=name) for name in ("emotion", "control")]
        with one_thread():
            got = forced_pass(
                tiny.load("llama"), tokens(NEUTRAL[index]), path_of(index), patches,
                donors=donors(index), token_sets={"words": words()},
            )  # fmt: skip
        odds = got.patched.log_odds["words"]
        net.append([(odds[0] - odds[1]).mean(), (odds[0] - odds[1])[0]])
    return np.mean(net, axis=0)


@cache
def read(index: int):
    return log_odds_of(tiny.load("llama"), path_of(index), {"words": words()})


@cache
def dropped() -> np.ndarray:
    """GradDrop's scores [read-out, layer, head], layer by layer."""
    total = np.zeros((2, tiny.N_LAYERS, tiny.N_HEADS))
    for index in DISCOVERY:
        with one_thread():
            for one in dropped_slopes(
                tiny.load("llama"), tokens(NEUTRAL[index]), path_of(index), read(index),
                positions="generated",
            ):  # fmt: skip
                emotion, control = (
                    one.effect(donors(index)[name], "result") for name in ("emotion", "control")
                )
                total += np.abs(emotion - control) / (tiny.N_LAYERS - 1)
    return total / len(DISCOVERY)


@cache
def predicted() -> np.ndarray:
    """Mean predicted net effects [read-out, layer, head]."""
    net = [
        slopes_of(index).effect(donors(index)["emotion"], "result")
        - slopes_of(index).effect(donors(index)["control"], "result")
        for index in DISCOVERY
    ]
    return np.mean(net, axis=0)


def chosen_of(tree) -> list[Head]:
    spec = tree["screen"].attrs["chosen"]
    return list(parse_heads(spec, n_layers=tiny.N_LAYERS, n_heads=tiny.N_HEADS))


@pytest.mark.slow
def test_scores_are_graddrops_and_the_first_heads_are_swept(tree):
    found = tree["screen"].sel(mode="result", metric=list(LOG_ODDS)).screen_score
    expected = dropped()
    scores = found.transpose("metric", "layer", "head").values
    np.testing.assert_allclose(scores, expected, atol=AGREES * expected.max())
    assert np.isnan(tree["screen"].screen_score.sel(mode="v_only")).all()
    by_hand = sorted(ALL_HEADS, key=lambda head: -expected[(0, *head)])[:N_CHOSEN]
    assert set(chosen_of(tree)) == set(by_hand)
    plainly = sorted(ALL_HEADS, key=lambda head: -abs(predicted()[(0, *head)]))
    assert np.abs(np.abs(predicted()) - expected).max() > 0.01 * expected.max(), plainly  # liveness
    sweep = tree["sweep"].to_dataset().net_delta.sel(mode="result", metric="logodds_words")
    swept = {Head(*place) for place in np.argwhere(np.isfinite(sweep.values)).tolist()}
    assert swept == set(by_hand)
    for head in by_hand:
        assert float(sweep[head.layer, head.head]) == pytest.approx(exactly((head,))[0], abs=AGREES)


def test_estimates_of_all_heads_are_kept(tree):
    found = tree["attribution"].predicted_net_delta.sel(half="discovery", mode="result")
    values = found.sel(metric=list(LOG_ODDS)).transpose("metric", "layer", "head").values
    np.testing.assert_allclose(values, predicted(), atol=AGREES)


def drawn_of(tree) -> list[Head]:
    checked = tree["attribution"].checked_net_delta.sel(mode="result", metric="logodds_words")
    return [Head(*place) for place in np.argwhere(np.isfinite(checked.values)).tolist()]


def test_agreement_is_that_of_exact_patches_made_by_hand(tree):
    chosen, drawn, found = chosen_of(tree), drawn_of(tree), tree["screen"].sel(mode="result")
    assert len(drawn) == N_DRAWN and not set(drawn) & set(chosen)
    for row, metric in enumerate(LOG_ODDS):
        at = found.sel(metric=metric)

        def rho(heads, row=row):
            exact = [exactly((head,))[row] for head in heads]
            return spearmanr([predicted()[(row, *head)] for head in heads], exact).statistic

        assert float(at.chosen_rank_correlation) == pytest.approx(rho(chosen))
        assert float(at.unchosen_rank_correlation) == pytest.approx(rho(drawn))
        assert float(at.rank_correlation) == pytest.approx(rho([*chosen, *drawn]))
        largest = max(abs(exactly((head,))[row]) for head in drawn)
        assert float(at.largest_unchosen) == pytest.approx(largest, abs=AGREES)
    n_others = len(ALL_HEADS) - N_CHOSEN
    k = tree["screen"].attrs["n_larger"]
    assert hypergeom.pmf(0, n_others, k + 1, N_DRAWN) <= 0.3 < hypergeom.pmf(0, n_others, k, N_DRAWN)


def test_the_bound_is_that_of_random_halves_patched_by_hand(tree):
    chosen, bounds = set(chosen_of(tree)), []
    made = groups(stage_like(), chosen)
    assert sorted(head for one in made for head in one.heads) == sorted(set(ALL_HEADS) - chosen)
    assert all(len(one.heads) <= GROUP for one in made) and len(made) == 2
    for one in made:
        assert one.signs.shape == (2, len(one.heads))  # confidence 0.7
        known = np.array([predicted()[(0, *head)] for head in one.heads])
        off = []
        for signs in one.signs:
            sides = [tuple(h for h, s in zip(one.heads, signs, strict=True) if s == k) for k in (1, -1)]
            exact = [exactly(side)[0] if side else 0.0 for side in sides]
            off.append(abs(exact[0] - exact[1] - signs @ known))
        bounds.append(np.abs(known).max() + max(off))
    found = tree["screen"].largest_missed.sel(mode="result", metric="logodds_words")
    assert float(found) == pytest.approx(max(bounds), abs=10 * AGREES)
    assert tree["screen"].attrs["n_splits"] == 2
    largest = max(abs(exactly((head,))[0]) for head in set(ALL_HEADS) - chosen)
    assert float(found) >= largest  # of this seed; 1 - 2^-m of all


def stage_like() -> Stage:
    """A made-up sweep of the same heads and seed."""
    profile = replace(
        stages.BY_READOUTS,
        screen=Screen(heads=N_CHOSEN, checked_heads=N_DRAWN, confidence=0.7, group=GROUP),
    )
    return stages.sweep(profile)


def test_it_tells_what_it_found(told):
    tree, lines = told
    at = tree["screen"].sel(mode="result", metric="logodds_words")
    (line,) = [line for line in lines if line.startswith("screen of ")]
    assert line.startswith(
        f"screen of 12 heads, result logodds_words: rank correlation with exact patches"
        f" {float(at.chosen_rank_correlation):.3f} over the {N_CHOSEN} chosen,"
        f" {float(at.unchosen_rank_correlation):.3f} over {N_DRAWN} others drawn at random"
    )
    assert f"none one above {float(at.largest_missed):.4f}" in line


@pytest.mark.slow
def test_integrated_steps_are_those_of_the_engine(project):
    """With the flags alone, on a profile whose sweep is by attribution."""
    flags = ("--screen", "attribution", "--screen-heads", "2", "--screen-gradient", "integrated")
    tree, _ = effects(project, "without", *flags, "--screen-steps", "2")
    net = []
    for index in DISCOVERY:
        with one_thread():
            emotion, control = (
                integrated_effects(
                    tiny.load("llama"), tokens(NEUTRAL[index]), path_of(index), read(index),
                    slopes_of(index), donors(index)[name], "result", n_steps=2,
                )
                for name in ("emotion", "control")
            )  # fmt: skip
        net.append(emotion - control)
    expected = np.mean(net, axis=0)
    found = tree["attribution"].predicted_net_delta.sel(half="discovery", mode="result")
    values = found.sel(metric=list(LOG_ODDS)).transpose("metric", "layer", "head").values
    np.testing.assert_allclose(values, expected, atol=AGREES)
    assert np.abs(expected - predicted()).max() > 20 * AGREES
    assert tree["screen"].attrs["gradient"] == "integrated"
    assert len(chosen_of(tree)) == 2
    settings = json.loads(tree.attrs["settings"])
    assert settings["screen"]["steps"] == 2 and settings["sweep_readouts"] == "exact"


def test_the_plan_names_its_stages(project, capsys):
    assert run(project, "build", "screen", "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(
        " screen read-outs: " in line and "by attribution, 3 gradients of 12 cells" in line
        for line in lines
    )
    assert any(" sweep read-outs: " in line for line in lines)
    assert any(" unchosen read-outs: " in line for line in lines)
    assert any(" halves read-outs: " in line for line in lines)
    assert "which 3 heads the screen chooses for the sweep is known only then" in lines


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--screen-heads", "3"], "--screen-heads: expected --screen attribution beside it"),
        (["--screen", "attribution", "--screen-heads", "0"], "--screen-heads: expected a number from 1"),
        (["--screen", "attribution", "--screen-steps", "0"], "--screen-steps: expected a number from 1"),
    ],
)
def test_flags_that_ask_for_nothing_are_refused(project, flags, message, capsys):
    assert run(project, "build", "without", *flags) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[sweep]\n", '[sweep]\nreadouts = "attribution"\n', "sweep.readouts: expected exact"),
        ('selection_metrics = ["logodds_words"]\n', "", "selection_metrics: expected read-outs"),
        ('["logodds_words"]', '["kl_path"]', "selection_metrics: expected read-outs with a direction"),
        (
            "[confirm]",
            '[patching]\ndonor = "zero"\n[confirm]',
            "screen: expected a donor made of prompts",
        ),
        ("[screen]\n", '[screen]\ngradient = "steep"\n', "one of plain, integrated, dropped"),
        (f"heads = {N_CHOSEN}\nchecked", "heads = 0\nchecked", "heads: expected a number from 1"),
    ],
)
def test_a_screen_that_cannot_choose_is_refused(tmp_path, old, new, message):
    text = PROFILE.replace("text = false\n", "")
    assert text.count(old) == 1
    path = tmp_path / "profile.toml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(UserError) as refused:
        load_profile(str(path), Path())
    assert message in f"{refused.value.where}: expected {refused.value.expected}"


def test_a_screen_needs_a_sweep(tmp_path):
    path = tmp_path / "profile.toml"
    path.write_text('models = ["model"]\nemotions = ["gratitude"]\n[screen]\n', encoding="utf-8")
    with pytest.raises(UserError) as refused:
        load_profile(str(path), Path())
    assert refused.value.where.endswith("screen") and "[sweep]" in refused.value.expected


def test_stages_hold_every_head_once():
    sweep = stage_like()
    screen, swept, unchosen, halves = screen_stages(sweep)
    assert swept_heads(screen) == swept_heads(sweep) and screen.is_attributed
    alone = {*swept_heads(swept)}
    assert len(alone) == N_CHOSEN and len(swept_heads(unchosen)) == N_DRAWN
    assert not alone & {*swept_heads(unchosen)}
    patched = {head for cell in halves.cells for head in cell.heads}
    assert patched == {*swept_heads(sweep)} - alone
    assert not any(one.has_text for one in (screen, unchosen, halves)) and swept.has_text
    assert (
        screened(replace(sweep, profile=stages.PROFILE), ["logodds_words"], lambda stage: None) is None
    )
    assert screen_stages(replace(sweep, profile=stages.PROFILE)) == []
    every = [*swept_heads(sweep)]
    assert groups(sweep, every) == []
    assert n_larger(0, 0) == 0 and HeadSet(tuple(sorted(alone))).label
