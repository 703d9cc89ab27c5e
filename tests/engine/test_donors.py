"""Donors against loops written out by hand, and captures of real (tiny) models against attention."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from phase7.engine.model.tokens import encode
from phase7.engine.patch.capture import Capture, capture
from phase7.engine.patch.donors import DonorSum, single
from tests import tiny
from tests.by_hand import direct_mean

LAW = settings(max_examples=30, deadline=None, derandomize=True)
L, H, D = 2, 4, 3
TEXTS = (
    "Thank you so much, I am grateful",
    "I am so sorry about the noise near the old mill.",
    "She",
    "Buses leave at ten past the hour",
)


def causal_pattern(random: np.random.Generator, n: int) -> np.ndarray:
    """Attention rows that sum to 1 and look back only: float32 [L, H, n, n]."""
    weights = np.tril(random.random((L, H, n, n)) + 0.01)
    return (weights / weights.sum(axis=-1, keepdims=True)).astype(np.float32)


def made_up(n: int, *, seed: int, n_kv_heads: int = H, n_queries: int | None = None) -> Capture:
    """A random capture of n tokens whose z is its pattern over its values."""
    random = np.random.default_rng(seed)
    value = random.normal(size=(L, n, n_kv_heads, D)).astype(np.float32)
    pattern = causal_pattern(random, n)
    by_query_head = np.repeat(value, H // n_kv_heads, axis=2)
    z = np.einsum("lhqk,lkhd->lqhd", pattern, by_query_head).astype(np.float32)
    start = n - (n_queries or n)
    return Capture(value=value, z=z[:, start:], pattern=pattern[:, :, start:])


lengths = st.lists(st.integers(1, 7), min_size=1, max_size=5)


@LAW
@given(
    lengths=lengths,
    seed=st.integers(0, 100),
    last_only=st.booleans(),
    n_kv_heads=st.sampled_from([1, 2, 4]),
)
def test_the_mean_aligned_at_the_end_is_the_direct_loop(lengths, seed, last_only, n_kv_heads):
    captures = [
        made_up(n, seed=seed + i, n_kv_heads=n_kv_heads, n_queries=1 if last_only else None)
        for i, n in enumerate(lengths)
    ]
    donor = DonorSum(captures).mean()
    z, value, pattern = direct_mean(captures)
    assert donor.z.shape == (L, 1 if last_only else max(lengths), H, D)
    assert donor.value.shape == (L, max(lengths), n_kv_heads, D)
    np.testing.assert_allclose(donor.z, z, atol=1e-6)
    np.testing.assert_allclose(donor.value, value, atol=1e-6)
    np.testing.assert_allclose(donor.pattern, pattern, atol=1e-6)
    assert {donor.z.dtype, donor.value.dtype, donor.pattern.dtype} == {np.dtype(np.float32)}


def test_the_ends_are_aligned_and_not_the_beginnings():
    short, long = made_up(2, seed=1), made_up(5, seed=2)
    donor = DonorSum([short, long]).mean()
    np.testing.assert_allclose(donor.z[:, 0], (short.z[:, -1] + long.z[:, -1]) / 2, atol=1e-6)
    np.testing.assert_array_equal(donor.value[:, 4], long.value[:, 0])
    assert np.abs(donor.z[:, 0] - (short.z[:, 0] + long.z[:, 0]) / 2).max() > 0.1


@LAW
@given(lengths=lengths, seed=st.integers(0, 100))
def test_each_row_of_a_pattern_sums_to_one_and_looks_back_only(lengths, seed):
    pattern = DonorSum(made_up(n, seed=seed + i) for i, n in enumerate(lengths)).mean().pattern
    np.testing.assert_allclose(pattern.sum(axis=-1), 1.0, atol=1e-6)
    assert (pattern >= 0).all()
    later = np.triu(np.ones(pattern.shape[2:], dtype=bool))  # offset k < j lies after the query
    assert (pattern[..., ~later] == 0).all()


def test_without_renormalisation_rows_of_unequal_prompts_would_not_sum_to_one():
    """Liveness of the law above."""
    captures = [made_up(3, seed=1), made_up(6, seed=2)]
    raw = np.zeros((L, H, 6, 6))
    counts = np.zeros((6, 6))
    for one in captures:
        n = one.value.shape[1]
        raw[:, :, :n, :n] += one.pattern[:, :, ::-1, ::-1]
        counts[:n, :n] += 1
    rows = (raw / np.maximum(counts, 1)).sum(axis=-1)
    assert np.abs(rows - 1).max() > 0.05


@LAW
@given(
    lengths=st.lists(st.integers(1, 7), min_size=2, max_size=6),
    seed=st.integers(0, 100),
    data=st.data(),
)
def test_leaving_one_out_is_the_mean_of_the_others(lengths, seed, data):
    captures = [made_up(n, seed=seed + i, n_kv_heads=2) for i, n in enumerate(lengths)]
    out = data.draw(st.integers(0, len(captures) - 1))
    whole = DonorSum(captures)
    without = whole.mean(without=captures[out])
    others = DonorSum(one for i, one in enumerate(captures) if i != out).mean()
    for name in ("z", "value", "pattern", "composed"):
        np.testing.assert_allclose(getattr(without, name), getattr(others, name), atol=1e-6)
    assert np.abs(whole.mean().z[:, 0] - without.z[:, 0]).max() > 1e-4


def test_leaving_one_out_leaves_the_sum_as_it_was():
    captures = [made_up(n, seed=n) for n in (2, 4, 6)]
    whole = DonorSum(captures)
    before = whole.mean()
    for one in captures:
        whole.mean(without=one)
    after = whole.mean()
    np.testing.assert_array_equal(after.z, before.z)
    np.testing.assert_array_equal(after.pattern, before.pattern)


def test_the_longest_prompts_reach_goes_when_it_is_left_out():
    captures = [made_up(n, seed=n) for n in (2, 4, 6)]
    donor = DonorSum(captures).mean(without=captures[2])
    assert (donor.z.shape[1], donor.value.shape[1], donor.pattern.shape[2:]) == (4, 4, (4, 4))


def test_a_mean_over_nothing_is_refused():
    one = made_up(3, seed=0)
    with pytest.raises(ValueError, match="a mean over no captures"):
        DonorSum([]).mean()
    with pytest.raises(ValueError, match="a mean over no captures"):
        DonorSum([one]).mean(without=one)


def test_captures_without_a_pattern_give_a_donor_without_one():
    with_one, plain = made_up(3, seed=0), made_up(4, seed=1)
    without = Capture(value=plain.value, z=plain.z, pattern=None)
    donor = DonorSum([with_one, without]).mean()
    assert donor.pattern is None
    np.testing.assert_allclose(donor.z, DonorSum([with_one, plain]).mean().z)
    with pytest.raises(ValueError, match="no pattern"):
        _ = donor.composed


@LAW
@given(n=st.integers(1, 7), seed=st.integers(0, 100))
def test_single_is_the_capture_itself_counted_from_the_end(n, seed):
    one = made_up(n, seed=seed, n_kv_heads=2)
    donor = single(one)
    np.testing.assert_array_equal(donor.z, one.z[:, ::-1])
    np.testing.assert_array_equal(donor.value, one.value[:, ::-1])
    np.testing.assert_allclose(donor.pattern, one.pattern[:, :, ::-1, ::-1], atol=1e-7)
    np.testing.assert_allclose(donor.composed, donor.z, atol=1e-6)


@pytest.mark.parametrize("n_kv_heads", [1, 2, 4])
def test_composed_lets_each_query_head_attend_over_its_own_kv_heads_values(n_kv_heads):
    captures = [made_up(n, seed=n, n_kv_heads=n_kv_heads) for n in (3, 5)]
    donor = DonorSum(captures).mean()
    expected = np.zeros((L, 5, H, D))
    for layer, j, head, k in np.ndindex(L, 5, H, 5):
        kv_head = head * n_kv_heads // H
        expected[layer, j, head] += donor.pattern[layer, head, j, k] * donor.value[layer, k, kv_head]
    np.testing.assert_allclose(donor.composed, expected, atol=1e-6)
    assert np.abs(donor.composed - donor.z).max() > 1e-2  # product of means, not mean of products


# --- captures of real models -------------------------------------------------------------------


def captured(architecture: str, text: str, *, all_queries: bool = True) -> Capture:
    model = tiny.load(architecture)
    return capture(model, encode(model, text, "raw"), all_queries=all_queries)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("text", TEXTS)
def test_a_captures_z_is_its_pattern_over_its_values(architecture, text):
    model, one = tiny.load(architecture), captured(architecture, text)
    n = len(encode(model, text, "raw"))
    assert one.value.shape == (model.n_layers, n, model.n_kv_heads, model.d_head)
    assert one.z.shape == (model.n_layers, n, model.n_heads, model.d_head)
    assert one.pattern.shape == (model.n_layers, model.n_heads, n, n)
    np.testing.assert_allclose(one.pattern.sum(axis=-1), 1.0, atol=1e-5)
    assert (np.triu(one.pattern, k=1) == 0).all()
    by_query_head = np.repeat(one.value, model.n_heads // model.n_kv_heads, axis=2)
    expected = np.einsum("lhqk,lkhd->lqhd", one.pattern, by_query_head)
    np.testing.assert_allclose(one.z, expected, atol=1e-5)
    if n > 1:
        swapped = np.einsum("lhqk,lkhd->lqhd", one.pattern[:, ::-1], by_query_head)
        assert np.abs(one.z - swapped).max() > 1e-2


def test_kv_heads_are_shared_by_neighbouring_query_heads_in_the_grouped_query_model():
    model = tiny.load("llama")
    assert (model.n_heads, model.n_kv_heads) == (4, 2)
    donor = single(captured("llama", TEXTS[0]))
    np.testing.assert_allclose(donor.composed, donor.z, atol=1e-5)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_a_capture_at_the_last_query_is_the_end_of_the_whole_one(architecture):
    last = captured(architecture, TEXTS[1], all_queries=False)
    whole = captured(architecture, TEXTS[1])
    assert last.z.shape[1] == last.pattern.shape[2] == 1
    np.testing.assert_array_equal(last.z, whole.z[:, -1:])
    np.testing.assert_array_equal(last.pattern, whole.pattern[:, :, -1:])
    np.testing.assert_array_equal(last.value, whole.value)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_a_capture_repeats_to_the_bit_and_differs_between_prompts(architecture):
    first, again = captured(architecture, TEXTS[0]), captured(architecture, TEXTS[0])
    np.testing.assert_array_equal(first.z, again.z)
    other = captured(architecture, TEXTS[3])
    assert np.abs(first.z[:, -1] - other.z[:, -1]).max() > 1e-2


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_a_capture_leaves_no_hook_behind(architecture):
    model = tiny.load(architecture)
    tokens = torch.tensor([encode(model, TEXTS[0], "raw")])
    with torch.inference_mode():
        before = model.bridge(tokens)
        one = captured(architecture, TEXTS[0])
        kept = one.z.copy()
        np.testing.assert_array_equal(model.bridge(tokens).numpy(), before.numpy())
        model.bridge(tokens.flip(1))
    np.testing.assert_array_equal(one.z, kept)
