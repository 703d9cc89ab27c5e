"""The laws of the simulation of large sweeps."""

import pytest

from tests.measurements.scaling_model import LLAMAS, cluster, makespan, n_weights, sweep_flops


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
