"""The page says what the record says."""

import copy
import json

import pytest

from tests.programs.benchmarks.page import (
    ARMS,
    COMMON_NOISE,
    FEW_PATCHES,
    LEAST_SAVED,
    PAGE,
    PREFIX,
    RECORD,
    WANTED,
    WANTED_FEW,
    few_patches_section,
    prefix_section,
    products_of_a_row,
    render,
)
from tests.programs.measurements.ioi_page import RECORD as IOI
from tests.programs.measurements.ioi_page import ioi_section


@pytest.fixture(scope="module")
def record():
    return json.loads(RECORD.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def prefix_record():
    return json.loads(PREFIX.read_text(encoding="utf-8"))


def test_a_changed_record_changes_the_page(record):
    """Liveness: the comparison above would notice."""
    for arm in ARMS:
        changed = copy.deepcopy(record)
        changed["models"]["smollm2"]["ms_per_token"][arm] += 1.0
        assert render(changed) != render(record)


def test_a_changed_time_of_either_cache_changes_the_page(prefix_record):
    assert prefix_section(prefix_record) in PAGE.read_text(encoding="utf-8")
    for name, figures in prefix_record["models"].items():
        for size in figures["sizes"]:
            for cache in ("shared", "ordinary"):
                changed = copy.deepcopy(prefix_record)
                changed["models"][name]["sizes"][size]["ms_per_token"][cache] += 1.0
                assert prefix_section(changed) != prefix_section(prefix_record)


def test_the_shared_prefix_cache_is_kept_where_it_saves_enough_at_the_default_prompts(prefix_record):
    record = copy.deepcopy(prefix_record)
    default = record["models"]["smollm2"]["sizes"]["default"]
    for saved, verdict in ((LEAST_SAVED + 0.01, "is kept."), (LEAST_SAVED - 0.01, "code*.")):
        default["ratio"]["ordinary"] = 1 / (1 - saved)
        assert prefix_section(record).endswith(verdict)


def test_the_prefix_record_covers_what_was_asked_and_the_caches_agreed(prefix_record):
    sizes = {name: list(figures["sizes"]) for name, figures in prefix_record["models"].items()}
    assert sizes == {"smollm2": ["20", "default", "100", "400"], "gpt2": ["20", "100", "400"]}
    for figures in prefix_record["models"].values():
        for found in figures["sizes"].values():
            assert found["n_unequal_texts"] <= 0.05 * found["n_texts"]
            assert {len(r) for r in found["ratios"].values()} == {prefix_record["n_repeats"]}
            assert found["ratio"].keys() == found["ms_per_token"].keys() - {"shared"}


def test_few_patches_are_told_as_they_were_measured():
    record = json.loads(FEW_PATCHES.read_text(encoding="utf-8"))
    assert few_patches_section(record) in PAGE.read_text(encoding="utf-8")
    for name in record["ms_per_token"]:
        changed = copy.deepcopy(record)
        changed["ms_per_token"][name] += 1.0
        assert few_patches_section(changed) != few_patches_section(record)
        assert record["ms_per_token"][name] == pytest.approx(
            sum(one[name] for one in record["repeats"]) / len(record["repeats"]), rel=0.2
        )
    for ratio, verdict in ((WANTED_FEW, "(reached)"), (WANTED_FEW + 0.01, "(*not reached*)")):
        changed = copy.deepcopy(record)
        changed["ratio_to_sweep"]["together"] = ratio
        assert verdict in few_patches_section(changed)


def test_the_comparison_with_transformer_lens_is_told_as_it_was_measured():
    record = json.loads(IOI.read_text(encoding="utf-8"))
    assert ioi_section(record) in PAGE.read_text(encoding="utf-8")
    assert "planted" in record
    for name, found in record.items():
        for place in ("last", "all"):
            assert max(found[place]["gap_nats"], found[place]["gap_attribution_nats"]) < 1e-3
            assert min(found[place]["spearman"], found[place]["spearman_attribution"]) > 0.999
            for figure in ("times_faster", "gap_attribution_nats", "largest_effect_nats"):
                changed = copy.deepcopy(record)
                changed[name][place][figure] *= 2
                assert ioi_section(changed) != ioi_section(record)


def test_what_is_left_to_compute_is_worked_out_from_what_was_counted():
    products = {"attention": 100.0, "mlp": 200.0, "logits": 40.0}
    every = {"layers": 1.0, "attentions": 1.0, "exact_logits": 1.0, "copied_logits": 0.0}
    every |= {"prefilled_tokens": 0.0}
    assert products_of_a_row(every, products) == 340.0
    shared = {"layers": 0.5, "attentions": 0.4, "exact_logits": 0.25, "copied_logits": 0.25}
    shared |= {"prefilled_tokens": 0.1}
    assert products_of_a_row(shared, products) == pytest.approx(40 + 100 + 20 + 30)
    record = json.loads(FEW_PATCHES.read_text(encoding="utf-8"))
    told = few_patches_section(
        record | {"work_by_row": {"sweep": shared, "few": every}, "products": products}
    )
    assert f"are {340 / 190:.2f} × the sweep's" in told


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
