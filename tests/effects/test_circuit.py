"""The Dataset of a circuit, from made-up paths."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from phase7.effects.attributes import VARIABLES
from phase7.effects.circuit import StageCircuit, circuit_dataset, path_q_values
from phase7.experiment.statistics import Statistics
from phase7.statistics.paired import paired_summary
from phase7.vocabulary.heads import Head

N_LAYERS, N_HEADS, N = 3, 2, 8
HEADS = (Head(0, 1), Head(1, 0))
STATS = Statistics(resamples=200)


def made(seed: int = 0) -> StageCircuit:
    draws = np.random.default_rng(seed)
    through = draws.normal(0.05, 0.02, (2, N_LAYERS, N_HEADS, 3, N))
    mlps = draws.normal(0.0, 0.02, (2, N_LAYERS, N))
    direct = draws.normal(0.3, 0.05, (2, N))
    for s, head in enumerate(HEADS):
        through[s, : head.layer + 1] = 0.0
        mlps[s, : head.layer] = 0.0
    effect = direct + mlps.sum(axis=1) + through.sum(axis=(1, 2, 3)) + 1e-4
    return StageCircuit(
        heads=HEADS, recipients=tuple(range(1, 2 * N, 2)), effect=effect, direct=direct, mlps=mlps,
        through=through, own={"own_heads": draws.normal(size=(N_LAYERS, N_HEADS, N))},
        reads={"read_token": [["a", "b\0"], ["c", ""]], "read_emotion": [[0.5, 0.1], [0.4, np.nan]]},
        words="gratitude", n_steps=3,
    )  # fmt: skip


def data(found: StageCircuit):
    return circuit_dataset(found, STATS, 3, range(2 * N))


def test_readers_are_the_logits_mlps_and_heads_and_what_comes_before_is_missing():
    got = data(made())
    assert got.reader.values.tolist() == [
        "logits", "mlp:0", "mlp:1", "mlp:2", "0:0", "0:1", "1:0", "1:1", "2:0", "2:1",
    ]  # fmt: skip
    missing = got.path_delta.isnull()
    assert got.reader.values[missing[0]].tolist() == ["0:0", "0:1"]
    assert got.reader.values[missing[1]].tolist() == ["mlp:0", "0:0", "0:1", "1:0", "1:1"]
    for name in ("path_q_value", "path_ci_low", "path_p_value"):
        assert got[name].isnull().equals(missing)
    assert got.path[:, 0, ::2].isnull().all() and got.path[:, 0, 1::2].notnull().all()


def test_numbers_are_those_of_the_paths():
    found = made()
    got = data(found)
    expected = paired_summary(found.through[0, 2, 1].sum(axis=0), seed=3)
    one = got.sel(head_set="0:1", reader="2:1")
    assert float(one.path_delta) == pytest.approx(float(expected.mean))
    assert float(one.path_ci_low) == pytest.approx(float(expected.ci_low))
    assert float(one.path_p_value) == pytest.approx(2 / 2**N)
    np.testing.assert_allclose(one.path_by_letter, found.through[0, 2, 1].mean(axis=-1))
    assert got.path_by_letter.sel(reader=["logits", "mlp:2"]).isnull().all()
    assert float(got.path_gap[0]) == pytest.approx(1e-4)
    share = float(got.direct_share.sel(head_set="1:0"))
    assert share == pytest.approx(found.direct[1].mean() / found.effect[1].mean())
    assert float(got.direct_share_low[1]) < share < float(got.direct_share_high[1])
    np.testing.assert_allclose(got.own_heads, found.own["own_heads"].mean(axis=-1))
    assert got.read_token.values.tolist() == [["a", "b\ufffd"], ["c", ""]]
    assert (got.attrs["words"], got.attrs["n_steps"]) == ("gratitude", 3)


def test_q_is_of_one_family_and_leaves_out_what_could_not_be_found():
    p = np.array([[0.01, 0.2, np.nan], [0.03, 0.001, 0.5]])
    n = np.array([[8.0, 8.0, np.nan], [8.0, 5.0, 8.0]])
    got = path_q_values(p, n, STATS)
    np.testing.assert_allclose(
        got[[0, 0, 1, 1], [0, 1, 0, 2]], false_discovery_control([0.01, 0.2, 0.03, 0.5], method="by")
    )
    assert np.isnan(got[0, 2]) and np.isnan(got[1, 1])


def test_what_could_be_found_depends_on_the_level():
    """Six prompts bring p to 2 / 2**6 = 0.031 at least, and eight to 0.008."""
    p, n = np.array([[0.04, 0.01, 0.5]]), np.array([[6.0, 8.0, 8.0]])
    assert np.isfinite(path_q_values(p, n, STATS)).all()
    strict = path_q_values(p, n, Statistics(alpha=0.01))
    assert np.isnan(strict[0, 0])
    np.testing.assert_allclose(strict[0, 1:], false_discovery_control([0.01, 0.5], method="by"))


def test_rounding_is_no_path():
    found = made()
    through = found.through.copy()
    through[0, 2, 0] = 1e-9
    got = data(replace(found, through=through)).sel(head_set="0:1", reader="2:0")
    assert float(got.path_delta) == 0.0 and np.isnan(float(got.path_q_value))


def test_an_effect_that_is_not_told_from_zero_has_no_share():
    found = made()
    effect = found.effect - found.effect.mean(axis=1, keepdims=True)
    assert data(replace(found, effect=effect)).direct_share.isnull().all()


def test_every_variable_has_a_name_and_a_unit():
    assert set(map(str, data(made()).data_vars)) <= set(VARIABLES)
