"""A planted path of two heads is the first edge, and nothing else is found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.planted.model import NEUTRAL_WORDS
from tests.planted.two_heads import READER, find, plant
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
    small = sum(p < 0.05 for p in found.p[1:5])
    assert two_heads.main(3) == two_heads.Counted(
        n_runs=3, n_first=2, n_false=1, n_null=12, n_small=3 * small
    )
    assert found.q[1] > 0.05


def test_what_else_reads_the_writer_is_as_likely_as_its_negative(tmp_path):
    """Words of opposite features turn the effects of such edges around, and leave the planted one."""
    made = plant(tmp_path, 0)
    text = made.neutral[0]
    opposite = [NEUTRAL_WORDS[NEUTRAL_WORDS.index(word) ^ 1] for word in text.split()]
    one, other = (made.paths(words).heads[0].sum(axis=-1) for words in (text, " ".join(opposite)))
    assert np.abs(one[2]).min() > 1e-4
    np.testing.assert_allclose(other[2], -one[2], rtol=1e-3)
    np.testing.assert_allclose(other[1], one[1], rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_twenty_seeds(tmp_path):
    counted = two_heads.study(20, tmp_path)
    assert counted.n_first == 20
    assert counted.n_false <= 1
