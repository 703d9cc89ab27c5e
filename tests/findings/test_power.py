"""What could have been found: counts by hand, and effects by the formula."""

from __future__ import annotations

import dataclasses

import numpy as np

from phase7.findings.group import groups
from phase7.findings.power import cell_powers, detectable, reach, reach_by_cell
from phase7.statistics import detectable_effect
from tests.report.synthetic import Spec, tree


def with_nonzero(group, counts, in_family=True):
    """The first cells of a group, with so many differences other than 0 in every test of each."""
    cells = []
    for cell, n in zip(group.confirmed.values(), counts, strict=False):
        tested = np.isfinite(cell.tested("p_value"))
        arrays = dict(cell.arrays) | {
            "net_n_nonzero": np.where(tested, n, np.nan),
            "net_q_value": np.where(tested & (in_family and n >= 6), 1.0, np.nan),
            "is_primary": np.zeros(len(cell.metrics)),
        }
        cells.append(dataclasses.replace(cell, arrays=arrays))
    return cells


def test_what_could_survive_by_hand():
    """35 tests a cell, of which those with 5 differences are in no family: 70 tests.

    With 12 differences p is at least 2/2**12, times 70 0.034; with 6 it is 0.031, which survives where
    all the others are as small: 0.031 * 70 / 70.
    """
    group = groups(tree(Spec(n_confirmation=12)))[0]
    cells = with_nonzero(group, (12, 6, 5))
    n = int(np.isfinite(cells[0].tested("p_value")).sum())
    assert 2 / 2**12 * 2 * n < 0.05 < 2 / 2**11 * 2 * n
    found = reach(group, cells)
    assert (found.n_tests, found.n_left_out, found.n_needed) == (2 * n, n, 6)
    assert (found.n_alone, found.n_together, found.lowest_p) == (n, 2 * n, 2 / 2**12)
    by_cell = [(one.n_tests, one.n_alone, one.n_together, one.n_left_out)
               for one in reach_by_cell(group, cells)]  # fmt: skip
    assert by_cell == [(n, n, n, 0), (n, 0, n, 0), (0, 0, 0, n)]
    fewer = reach(group, with_nonzero(group, (11, 6, 5)))
    assert (fewer.n_alone, fewer.n_together) == (0, 2 * n)


def test_primary_tests_are_a_family_of_their_own():
    group = groups(tree(Spec(n_confirmation=12)))[0]
    (cell,) = with_nonzero(group, (9,))
    assert reach(group, [cell]).n_alone == 0  # 2/2**9 times 35 is 0.14
    arrays = dict(cell.arrays) | {"is_primary": np.arange(len(cell.metrics)) < 3}
    found = reach(group, [dataclasses.replace(cell, arrays=arrays)])
    assert found.n_alone == np.isfinite(cell.tested("p_value"))[:3].sum() > 0


def test_what_would_have_been_found_is_of_the_cell():
    group = groups(tree(Spec(n_confirmation=12)))[0]
    found = cell_powers(group)
    assert [one.cell.mode for one in found] == [group.mode] * len(found)
    assert not found[0].cell.heads.is_single and found[-1].cell.heads.is_single
    one = found[0]
    known = one.cell.differences(group.emotion_metric)
    known = known[np.isfinite(known)]
    expected = detectable_effect(known.std(ddof=1), 12)
    np.testing.assert_allclose(one.detectable, expected, rtol=1e-12)
    assert one.detectable_alone > one.detectable
    n_tests = sum(r.n_tests for r in reach_by_cell(group, list(group.confirmed.values())))
    expected = detectable(one.cell, group.emotion_metric, 0.05 / n_tests)
    np.testing.assert_allclose(one.detectable_alone, expected, rtol=1e-12)
