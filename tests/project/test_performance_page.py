"""The page says what the record says."""

import copy
import json

import pytest

from tests.programs.benchmarks.page import ARMS, COMMON_NOISE, PAGE, RECORD, WANTED, render


@pytest.fixture(scope="module")
def record():
    return json.loads(RECORD.read_text(encoding="utf-8"))


def test_a_changed_record_changes_the_page(record):
    """Liveness: the comparison above would notice."""
    for arm in ARMS:
        changed = copy.deepcopy(record)
        changed["models"]["smollm2"]["ms_per_token"][arm] += 1.0
        assert render(changed) != render(record)


def test_the_page_says_of_every_wanted_ratio_whether_it_was_reached(record):
    page = PAGE.read_text(encoding="utf-8")
    reached = [
        f["ratio"][arm] >= wanted for f in record["models"].values() for arm, wanted in WANTED.items()
    ]
    assert page.count(": reached |") == sum(reached)
    assert page.count(": *not reached* |") == len(reached) - sum(reached)
    assert sum(reached) > 0


def test_memory_and_warm_starts_are_within_their_limits(record):
    assert record["peak_memory_gb"] < min(4, record["printed_bound_gb"])
    assert record["warm"]["help_s"] < 1
    assert record["warm"]["rebuild_s"] < 10
    assert all(
        r["times_fewer_generations"] > 0 for r in json.loads(COMMON_NOISE.read_text())["ratios"].values()
    )
