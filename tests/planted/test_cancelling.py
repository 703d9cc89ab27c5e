"""A head whose direct effect and the one through an MLP cancel: missed by a gradient, found by GradDrop.

How often, over many models, `python -m tests.programs.measurements.missed_effects` counts.
"""

from __future__ import annotations

import pytest

from tests.planted.cancelling import CANCELLING
from tests.planted.missed import HEADS, N_CHOSEN, Planted, planted
from tests.planted.model import CARRIER
from tests.programs.measurements import missed_effects


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Planted:
    return planted(tmp_path_factory.mktemp("cancelling"), seed=0)


def test_the_head_matters(found):
    """Second only to the carrier, and more than ten times all others."""
    assert found.first(found.exact, 2) == [CARRIER, CANCELLING]
    assert abs(found.exact[HEADS.index(CANCELLING)]) > 10 * sorted(abs(found.exact))[-3]


def test_a_plain_gradient_misses_it(found):
    at = HEADS.index(CANCELLING)
    assert abs(found.plain[at]) < 0.05 * abs(found.exact[at])
    assert CANCELLING not in found.first(found.plain, N_CHOSEN)
    assert found.first(found.plain, 1) == [CARRIER]  # liveness: others are found


def test_graddrop_finds_it(found):
    assert set(found.first(found.dropped, N_CHOSEN)) == {CARRIER, CANCELLING}


def test_the_bound_knows_that_it_was_missed(found):
    assert found.missed == pytest.approx(abs(found.exact[HEADS.index(CANCELLING)]))
    assert found.missed <= found.bound < 3 * found.missed


def test_the_program_counts(tmp_path, capsys):
    counted = missed_effects.counted(tmp_path, range(1, 3))
    assert counted["runs"] == 2
    assert counted["missed_by_plain"] == counted["found_by_graddrop"] == 2
    assert 0 <= counted["covered"] <= 2
    assert counted["random_heads_covered"] <= counted["runs"]
