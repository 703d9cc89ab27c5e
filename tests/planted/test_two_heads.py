"""A planted path of two heads is the first edge, and nothing else is found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.planted.two_heads import READER, find
from tests.programs.measurements import two_heads


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return find(tmp_path_factory.mktemp("two"), seed=0)


def test_the_planted_edge_is_the_first(found):
    assert found.names[0] == str(READER)
    assert found.q[0] < 0.05


def test_other_edges_are_tested_too(found):
    """The reader and the four heads of the next layer; those of its own layer have nothing to say."""
    assert found.n_tested == 5
    assert len(found.names) > 5  # what reads nothing is no test


def test_without_the_reader_its_edge_is_not_there(tmp_path):
    found = find(tmp_path, seed=0, is_read=False)
    assert found.n_tested == 4 and str(READER) not in found.names[:4]


def test_the_program_counts(found, monkeypatch):
    """Of three runs the first is the one above, the second misses it, and the third finds another, too."""
    missed = replace(found, q=(0.2, *found.q[1:]))
    another = replace(found, q=(found.q[0], 0.01, *found.q[2:]))
    runs = {0: found, 1: missed, 2: another}
    monkeypatch.setattr(two_heads, "find", lambda folder, seed: runs[seed])
    assert two_heads.main(3) == two_heads.Counted(n_runs=3, n_first=2, n_false=1)
    assert found.q[1] > 0.05


@pytest.mark.slow
def test_five_seeds(tmp_path):
    counted = two_heads.study(5, tmp_path)
    assert counted.n_first == 5
    assert counted.n_false <= 1
