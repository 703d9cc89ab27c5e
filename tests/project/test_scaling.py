"""The laws of the simulation of large sweeps, and a page that says what the record says."""

import copy
import json

import pytest

from tests.programs.measurements.scaling_model import LLAMAS, cluster, makespan, n_weights, sweep_flops
from tests.programs.measurements.scaling_page import RECORD, render


def test_more_workers_never_take_longer():
    for name in LLAMAS:
        hours = list(cluster(name, [0.2, 0.5, 1.0])["hours"].values())
        assert hours == sorted(hours, reverse=True)
        assert hours[0] > hours[-1] > 0


def test_the_shapes_give_the_published_numbers_of_weights():
    assert n_weights(LLAMAS["Llama-3-8B"]) == pytest.approx(8.03e9, rel=0.01)
    assert n_weights(LLAMAS["Llama-3-70B"]) == pytest.approx(70.6e9, rel=0.01)


def test_without_sharing_a_step_costs_two_flop_a_weight_and_row():
    shape = LLAMAS["Llama-3-8B"]
    unread = shape["width"] * shape["vocab"]  # the embedding is looked up, not multiplied
    assert sweep_flops(shape, [1.0] * 10, 1) == pytest.approx(2 * (n_weights(shape) - unread))
    assert sweep_flops(shape, [0.5] * 10, 1) < sweep_flops(shape, [1.0] * 10, 1)


@pytest.mark.parametrize(
    ("n_workers", "seconds"), [(1, 75.0), (2, 45.0), (3, 35.0), (7, 15.0), (9, 15.0)]
)
def test_a_schedule_by_hand(n_workers, seconds):
    assert makespan(7, 10.0, 5.0, n_workers) == seconds


@pytest.fixture(scope="module")
def record():
    return json.loads(RECORD.read_text(encoding="utf-8"))


def test_a_changed_record_changes_the_page(record):
    """Liveness: the comparison above would notice."""
    for change in (
        lambda r: r["fit"].update(gflop_per_s=1.0),
        lambda r: r["two_workers"].update(measured_s=999.0),
        lambda r: r["sharing"]["share_by_depth"].__setitem__(0, 0.999),
        lambda r: r["clusters"][0]["hours"].update({"1": 12345.6}),
    ):
        changed = copy.deepcopy(record)
        change(changed)
        assert render(changed) != render(record)


def test_the_simulated_clusters_follow_from_the_measured_sharing(record):
    depth = record["sharing"]["share_by_depth"]
    assert len(depth) == 10 and 0 < depth[0] < depth[-1] <= 1
    assert record["clusters"] == [cluster(name, depth) for name in LLAMAS]


def test_the_fit_is_that_of_the_measured_sweeps(record):
    fitted = record["fit"]
    seconds = [
        p["gflop"] / fitted["gflop_per_s"]
        + p["layer_steps"] * fitted["overhead_ms_per_layer_step"] / 1000
        + p["row_steps"] * fitted["ms_per_row_step"] / 1000
        for p in record["sweeps"]
    ]
    errors = [abs(s / p["seconds"] - 1) for s, p in zip(seconds, record["sweeps"], strict=True)]
    assert max(errors) == pytest.approx(fitted["largest_relative_error"], abs=0.01)
