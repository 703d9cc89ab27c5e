"""Effects and the pickle of one (model, emotion): each number at its own cell, metric, role and prompt.

Every text has scores of its own, so a number at a wrong place is another number.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import xarray as xr

from phase7.effects.datasets import GroupBuilder
from phase7.effects.pickle_file import result_dict, write_result
from phase7.effects.scores import StageScores, StageTexts, score_stage
from phase7.experiment.profile import Profile
from phase7.experiment.stages import Cell, Stage
from phase7.experiment.statistics import Statistics
from phase7.vocabulary.heads import Head
from phase7.vocabulary.metrics import METRICS
from tests import stages
from tests.stages import GRATITUDE, NEUTRAL, Numbers, changed, gather

STATISTICS = Statistics(resamples=200)
NUMBERS = Numbers()


@dataclass(frozen=True, kw_only=True)
class Made:
    """A confirmation, its sweep if it has one, and what is made of them."""

    stage: Stage
    sweep: Stage | None
    texts: StageTexts
    scores: StageScores
    datasets: Mapping[str, xr.Dataset]
    result: Mapping[str, Any]


@cache
def made(profile: Profile) -> Made:
    sweep = stages.sweep(profile) if profile.sweep else None
    stage = stages.confirm(profile, strongest=[Head(1, 2)])
    texts = gather(stage)
    scores = score_stage(texts, NUMBERS)
    swept = score_stage(gather(sweep), NUMBERS) if sweep else None
    datasets = GroupBuilder(scores, swept, STATISTICS).datasets(texts, None)
    result = result_dict(datasets, texts, scores, {"seed": 5}, {"created": "now"})
    return Made(stage=stage, sweep=sweep, texts=texts, scores=scores, datasets=datasets, result=result)


WHOLE = changed("confirm", modes=("result", "pattern_v"), head_sets=("0:1,1:0",))
PROFILES = {
    "whole": WHOLE,
    "no control": changed("patching", WHOLE, control="none"),
    "no sweep": replace(WHOLE, sweep=None),
    "one head": changed("confirm", WHOLE, target_heads="2:3", head_sets=()),
}


@pytest.fixture(params=PROFILES.values(), ids=PROFILES.keys())
def one(request) -> Made:
    return made(request.param)


def scores_of(stage: Stage, role: str, cell: Cell | None, prompt: int, length: int = 8) -> np.ndarray:
    """Mean scores [metric] of one cell's samples, by the texts' names."""
    samples = range(stage.sampling.samples)
    return np.mean([NUMBERS[stages.text(role, cell, prompt, s, length)] for s in samples], axis=0)


def difference(
    stage: Stage, cell: Cell, role: str, against: str = "baseline", length: int = 8
) -> np.ndarray:
    """Scores [metric, prompt] of a cell under one donor minus those of the baseline, or of another donor."""
    other = None if against == "baseline" else cell
    return np.stack(
        [
            scores_of(stage, role, cell, p, length) - scores_of(stage, against, other, p, length)
            for p in stage.recipients
        ],
        axis=1,
    )


def d_z(values: np.ndarray) -> np.ndarray:
    return values.mean(axis=1) / values.std(axis=1, ddof=1)


def close(values: Any, expected: Any) -> None:
    np.testing.assert_allclose(values, expected, atol=1e-12)


# --- the pickle ----------------------------------------------------------------------------------


def test_cells_are_all_of_the_stage_in_its_order(one):
    named = [(cell["heads"], cell["mode"]) for cell in one.result["cells"]]
    assert named == [(cell.label, cell.mode) for cell in one.stage.cells]
    assert len(set(named)) == len(named)


def test_texts_scores_and_kl_belong_to_their_cell_role_and_prompt(one):
    samples = range(2)
    for cell, got in zip(one.stage.cells, one.result["cells"], strict=True):
        for name in ("patched_texts", "patched_scores", "kl_first_token_nats"):
            assert set(got[name]) == set(one.stage.roles)
        for role in one.stage.roles:
            assert got["patched_texts"][role] == [
                [stages.text(role, cell, p, s, 8) for s in samples] for p in one.stage.recipients
            ]
            expected = [scores_of(one.stage, role, cell, p) for p in one.stage.recipients]
            close(got["patched_scores"][role], np.stack(expected, axis=1))
            assert got["kl_first_token_nats"][role].tolist() == [
                stages.kl_nats(role, cell, p) for p in one.stage.recipients
            ]


def test_the_baseline_is_of_the_same_prompts(one):
    baseline = one.result["baseline"]
    assert baseline["texts"] == [
        [stages.text("baseline", None, p, s, 8) for s in range(2)] for p in one.stage.recipients
    ]
    expected = [scores_of(one.stage, "baseline", None, p) for p in one.stage.recipients]
    close(baseline["scores"], np.stack(expected, axis=1))


def test_statistics_are_those_of_their_own_cell(one):
    for cell, got in zip(one.stage.cells, one.result["cells"], strict=True):
        found = got["statistics"]
        delta = difference(one.stage, cell, "emotion")
        close(found["delta"], delta.mean(axis=1))
        close(found["effect_size"], d_z(delta))
        assert (found["ci_low"] <= found["delta"]).all() and (found["delta"] <= found["ci_high"]).all()
        if "control" in one.stage.roles:
            net = difference(one.stage, cell, "emotion", "control")
            close(found["control_delta"], difference(one.stage, cell, "control").mean(axis=1))
            close(found["net_delta"], net.mean(axis=1))
            close(found["net_effect_size"], d_z(net))
            assert (found["net_p_value"] > 0).all()
            # So few prompts can reject nothing, which leaves the exploratory tests out.
            assert not (found["net_q_value"] < found["net_p_value"]).any()
            counted = (found["is_primary"] == 1) | (found["net_n_nonzero"] >= 6)
            np.testing.assert_array_equal(np.isfinite(found["net_q_value"]), counted)
        else:
            assert np.isnan(found["net_delta"]).all() and np.isnan(found["control_delta"]).all()
        assert ("synergy" in found) == (len(cell.heads) > 1)


def test_synergy_is_the_joint_effect_beyond_the_sum_of_the_single_ones(one):
    effects = {
        cell: difference(
            one.stage, cell, "emotion", "control" if len(one.stage.roles) > 1 else "baseline"
        )
        for cell in one.stage.cells
    }
    sets = 0
    for cell, got in zip(one.stage.cells, one.result["cells"], strict=True):
        if len(cell.heads) > 1:
            singles = sum(effects[Cell((head,), cell.mode)] for head in cell.heads)
            close(got["statistics"]["synergy"], (effects[cell] - singles).mean(axis=1))
            sets += 1
    assert sets == 2 * (len({c.heads for c in one.stage.cells}) - sum(
        len(heads) == 1 for heads in {c.heads for c in one.stage.cells}
    ))  # fmt: skip


def test_every_statistic_is_the_effects_stores_own(one):
    for cell, got in zip(one.stage.cells, one.result["cells"], strict=True):
        if len(cell.heads) == 1:
            stored = one.datasets[""].sel(layer=cell.heads[0].layer, head=cell.heads[0].head)
        else:
            stored = one.datasets["head_sets"].sel(head_set=cell.label)
        stored = stored.sel(mode=cell.mode)
        for name, values in got["statistics"].items():
            assert stored[name].dims == ("metric",)
            np.testing.assert_array_equal(values, stored[name].sel(metric=one.result["metrics"]).values)
        assert {"delta", "p_value", "q_value", "net_delta", "net_q_value"} <= set(got["statistics"])


def test_cells_are_found_by_label_wherever_they_lie(one):
    """The effects store's axes turned round: the same statistics."""
    turned = {
        name: dataset.isel({d: slice(None, None, -1) for d in dataset.dims})
        for name, dataset in one.datasets.items()
    }
    other = result_dict(turned, one.texts, one.scores, {}, {})
    for mine, yours in zip(one.result["cells"], other["cells"], strict=True):
        assert (mine["heads"], mine["mode"]) == (yours["heads"], yours["mode"])
        assert set(mine["statistics"]) == set(yours["statistics"])
        for name, values in mine["statistics"].items():
            np.testing.assert_array_equal(values, yours["statistics"][name])


def test_the_record_says_what_its_axes_are(one):
    result = one.result
    assert result["format_version"] == 1
    assert result["metrics"] == list(METRICS)
    assert result["prompts"] == {
        "neutral": [NEUTRAL.prompts[p] for p in one.stage.recipients],
        "neutral_index": list(one.stage.recipients),
        "emotion": list(GRATITUDE.prompts),
    }
    assert (result["settings"], result["provenance"]) == ({"seed": 5}, {"created": "now"})


def foreign(value: Any) -> set[str]:
    """Modules of everything inside that is neither built in nor NumPy's."""
    inside = list(value.items()) if isinstance(value, dict) else value
    if isinstance(inside, (list, tuple)):
        return set().union(*map(foreign, inside)) if inside else set()
    module = type(value).__module__
    return set() if module in ("builtins", "numpy") else {module}


def test_the_pickle_holds_built_in_and_numpy_types_only(one, tmp_path):
    assert foreign(one.result) == set()
    assert foreign({"cells": [one.stage.cells[0]]}) != set()  # it would be seen
    path = tmp_path / "result.pkl"
    write_result(path, one.result)
    again = pickle.loads(path.read_bytes())
    assert again.keys() == one.result.keys()
    close(again["cells"][-1]["statistics"]["delta"], one.result["cells"][-1]["statistics"]["delta"])
    assert again["cells"][0]["patched_texts"] == one.result["cells"][0]["patched_texts"]


def test_a_record_shares_no_array_with_what_it_was_made_of():
    one = made.__wrapped__(WHOLE)  # not the one that other tests read
    record = result_dict(one.datasets, one.texts, one.scores, {}, {})
    before = pickle.dumps(record)
    record["baseline"]["scores"][:] = -1.0
    for cell in record["cells"]:
        for arrays in (cell["patched_scores"], cell["kl_first_token_nats"], cell["statistics"]):
            for array in arrays.values():
                array[:] = array[::-1] if array.dtype.kind == "U" else -1.0
    again = result_dict(one.datasets, one.texts, one.scores, {}, {})
    assert pickle.dumps(again) == before != pickle.dumps(record)


# --- the effects store ---------------------------------------------------------------------------


def at(dataset: xr.Dataset, cell: Cell) -> xr.Dataset:
    """One cell of a Dataset by its labels."""
    if "head_set" in dataset.dims:
        return dataset.sel(head_set=cell.label, mode=cell.mode)
    (head,) = cell.heads
    return dataset.sel(layer=head.layer, head=head.head, mode=cell.mode)


def test_scores_per_prompt_are_under_their_labels(one):
    for stage, names in ((one.stage, ("", "head_sets")), (one.sweep, ("sweep",))):
        for cell in stage.cells if stage else ():
            dataset = one.datasets[names[len(cell.heads) > 1]]
            here, prompts = at(dataset, cell), dataset.prompt.values.tolist()
            assert int(here.n_prompts) == len(stage.recipients)
            for role, prefix in (("emotion", ""), ("control", "control_")):
                scores = by_label(here[f"{prefix}patched"], prompts)
                kl = here[f"{prefix}kl_first_token"].sel(prompt=prompts).values
                for p, prompt in enumerate(prompts):
                    if role in stage.roles and prompt in stage.recipients:
                        close(scores[:, p], scores_of(stage, role, cell, prompt))
                        assert kl[p] == stages.kl_nats(role, cell, prompt)
                    else:
                        assert np.isnan(scores[:, p]).all() and np.isnan(kl[p])
            baseline = by_label(dataset.baseline, stage.recipients)
            for p, prompt in enumerate(stage.recipients):
                close(baseline[:, p], scores_of(stage, "baseline", None, prompt))


def by_label(array: xr.DataArray, prompts: Any) -> np.ndarray:
    """Scores [metric, prompt] of these prompts."""
    chosen = array.sel(metric=list(METRICS), prompt=list(prompts))
    return chosen.transpose("metric", "prompt").values


def test_the_sweeps_effects_are_under_their_labels(one):
    if one.sweep is None:
        assert "sweep" not in one.datasets
        return
    for cell in one.sweep.cells:
        here = at(one.datasets["sweep"], cell)
        close(here.delta, difference(one.sweep, cell, "emotion").mean(axis=1))
        if "control" in one.sweep.roles:
            net = difference(one.sweep, cell, "emotion", "control")
            close(here.net_delta, net.mean(axis=1))


def test_places_without_a_cell_are_nan(one):
    tested = {(c.heads[0].layer, c.heads[0].head, c.mode) for c in one.stage.cells if len(c.heads) == 1}
    counts, delta = one.datasets[""].n_prompts, one.datasets[""].delta
    for layer, head, mode in np.ndindex(counts.shape):
        place = {"layer": layer, "head": head, "mode": mode}
        names = tuple(counts.isel(place)[d].item() for d in ("layer", "head", "mode"))
        assert (int(counts.isel(place)) > 0) == (names in tested)
        assert bool(delta.isel(place).notnull().all()) == (names in tested)


def test_prompts_say_which_half_they_belong_to(one):
    dataset = one.datasets[""]
    expected = {p: "confirmation" if one.sweep else "all" for p in one.stage.recipients}
    expected |= {p: "discovery" for p in (one.sweep.recipients if one.sweep else ())}
    found = dict(zip(dataset.prompt.values.tolist(), dataset.split.values.tolist(), strict=True))
    assert found == expected
    texts = dict(zip(dataset.prompt.values.tolist(), dataset.prompt_text.values.tolist(), strict=True))
    assert texts == {p: NEUTRAL.prompts[p] for p in expected}


def test_texts_are_under_their_labels(one):
    texts = one.datasets["texts"]
    for cell in one.stage.cells:
        here = at(texts, cell)
        for role, name in (("emotion", "patched_text"), ("control", "control_text")):
            for prompt in one.stage.recipients:
                expected = [
                    stages.text(role, cell, prompt, s, 8) if role in one.stage.roles else ""
                    for s in range(2)
                ]
                assert here[name].sel(prompt=prompt, sample=[0, 1]).values.tolist() == expected
    for prompt in one.stage.recipients:
        expected = [stages.text("baseline", None, prompt, s, 8) for s in range(2)]
        assert texts.baseline_text.sel(prompt=prompt, sample=[0, 1]).values.tolist() == expected


def test_effects_of_shorter_texts_are_under_their_lengths(one):
    lengths = one.datasets["lengths"]
    assert lengths.length.values.tolist() == [1, 5, 8]
    for length in (1, 5, 8):
        for cell in one.stage.cells:
            here = at(lengths.sel(length=length), cell)
            delta = difference(one.stage, cell, "emotion", length=length)
            close(here.delta, delta.mean(axis=1))
            close(here.effect_size, d_z(delta))
            assert float(here.changed_share) == 1.0
