"""Sizes by chance and texts that differ, each against loops written out by hand."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest

from phase7.findings.chance import N_FLIPS, chance_size, median_sizes
from phase7.findings.donors import apart_share
from phase7.findings.group import groups
from phase7.statistics.draws import random_sign_blocks
from tests.report.synthetic import Spec, tree


def size_by_hand(differences: list[float]) -> float:
    """|d_z| of some differences: 0 where all are 0."""
    if not any(differences):
        return 0.0
    n, mean = len(differences), math.fsum(differences) / len(differences)
    sd = math.sqrt(math.fsum((one - mean) ** 2 for one in differences) / (n - 1))
    return abs(mean) / sd if sd else math.inf


@pytest.mark.parametrize("spec", [Spec(seed=4), Spec(seed=4, control=False)])
def test_the_median_size_by_chance_is_that_of_a_loop(spec):
    group = groups(tree(spec))[0]
    cells = list(group.confirmed.values())[:2]
    (signs,) = random_sign_blocks(seed=7, purpose="median size", n=12, n_resamples=N_FLIPS)
    medians = []
    for flip in signs:
        sizes = []
        for cell in cells:
            other = cell.arrays["control_patched" if spec.control else "baseline"]
            for one, two in zip(cell.arrays["patched"], other, strict=True):
                change = [a - b for a, b in zip(one, two, strict=True) if not math.isnan(a - b)]
                sizes.append(size_by_hand([d * s for d, s in zip(change, flip, strict=True)]))
        medians.append(statistics.median(sizes))
    found = chance_size(group, cells)
    assert found.median == pytest.approx(statistics.median(medians), rel=1e-9)
    assert found.low == pytest.approx(np.quantile(medians, 0.025), rel=1e-9)
    assert found.high == pytest.approx(np.quantile(medians, 0.975), rel=1e-9)
    assert 0 < found.low < found.median < found.high


def test_the_size_by_chance_depends_on_how_many_differences_are_zero():
    """6 of 20 that are not 0, all as large: their signs allow four sizes, and 0.19 is the middle one."""
    differences = np.zeros((50, 20))
    differences[:, :6] = 1.0
    allowed = [size_by_hand([1.0] * n + [-1.0] * (6 - n) + [0.0] * 14) for n in (3, 4, 5, 6)]
    medians = median_sizes(differences, seed=1)
    assert {round(float(m), 9) for m in medians} == {round(size, 9) for size in allowed}
    assert np.median(medians) == pytest.approx(allowed[1])
    assert allowed[1] > 0.18 > 0.6745 / math.sqrt(20)


def test_tests_of_zeros_alone_have_size_zero_and_missing_prompts_are_left_out():
    differences = np.full((3, 6), np.nan)
    differences[:, :4] = [[0.0] * 4, [0.0] * 4, [1.0, 2.0, 3.0, 4.0]]
    assert (median_sizes(differences, seed=1, n_flips=9) == 0).all()
    alone = median_sizes(differences[2:], seed=1, n_flips=9)
    assert alone.shape == (9,) and (alone > 0).any()


def test_flips_come_from_the_seed():
    differences = np.random.default_rng(0).normal(size=(9, 12))
    assert np.array_equal(median_sizes(differences, seed=1), median_sizes(differences, seed=1))
    assert not np.array_equal(median_sizes(differences, seed=1), median_sizes(differences, seed=2))


def test_blocks_of_flips_do_not_matter(monkeypatch):
    differences = np.random.default_rng(0).normal(size=(9, 12))
    whole = median_sizes(differences, seed=1)
    monkeypatch.setattr("phase7.findings.chance._MOST_NUMBERS", 700)
    assert np.array_equal(median_sizes(differences, seed=1), whole)


def test_nothing_tested_has_no_size():
    for spec in (Spec(n_confirmation=1), Spec(missing=tuple(groups(tree(Spec()))[0].measured))):
        group = groups(tree(spec))[0]
        assert math.isnan(chance_size(group, list(group.confirmed.values())).median)
    assert math.isnan(chance_size(group, []).median)


@pytest.mark.parametrize("control", [True, False])
def test_the_share_of_pairs_is_counted_over_cells_and_prompts(control):
    made = tree(Spec(seed=4, control=control, n_samples=1))
    group = groups(made)[0]
    texts = made["tiny/gratitude/texts"].to_dataset()
    n, pairs = 0, 0
    for (label, mode), _ in group.confirmed.items():
        for prompt in texts.prompt.values[(texts.split == "confirmation").values]:
            place = {"head_set": label, "mode": mode, "prompt": prompt}
            other = texts.control_text.sel(place) if control else texts.baseline_text.sel(prompt=prompt)
            pairs += 1
            n += any(
                a != b for a, b in zip(texts.patched_text.sel(place).values, other.values, strict=True)
            )
    assert 0 < n < pairs == 12 * len(group.confirmed)
    assert apart_share(group, list(group.confirmed.values())) == n / pairs


def test_without_texts_a_pair_differs_where_any_metric_does():
    made = tree(Spec(seed=4))
    group = groups(made.filter(lambda node: node.name != "texts"))[0]
    assert group.child("texts") is None
    n, pairs = 0, 0
    for cell in group.confirmed.values():
        change = cell.arrays["patched"] - cell.arrays["control_patched"]
        change = change[:, np.isfinite(change).any(axis=0)]
        pairs += change.shape[1]
        n += int((change != 0).any(axis=0).sum())
    assert 0 < n < pairs
    assert apart_share(group, list(group.confirmed.values())) == n / pairs
    assert math.isnan(apart_share(group, []))
