"""Batches are whole blocks of rows, and rows of whole blocks are computed alike."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from phase7.rows import ROW_BLOCK, n_slots, n_slots_within


@given(n_patches=st.integers(1, 600), n_samples=st.integers(1, 40))
def test_the_smallest_number_of_slots_that_fills_whole_blocks(n_patches, n_samples):
    got = n_slots(n_patches, n_samples)
    filling = [n for n in range(n_patches, n_patches + ROW_BLOCK) if n * n_samples % ROW_BLOCK == 0]
    assert got == min(filling)


@given(max_rows=st.integers(0, 2000), n_samples=st.integers(1, 40))
def test_the_largest_number_of_slots_that_stays_within(max_rows, n_samples):
    got = n_slots_within(max_rows, n_samples)
    assert got * n_samples <= max_rows
    assert got == 0 or got == n_slots(got, n_samples)
    assert n_slots(got + 1, n_samples) * n_samples > max_rows


@pytest.mark.parametrize("n_rows", [ROW_BLOCK * k for k in (1, 2, 3, 17, 28)])
@pytest.mark.parametrize("width", [8, 24, 96])
def test_equal_rows_of_whole_blocks_give_equal_products(n_rows, width):
    """The reason for the blocks: with left-over rows this fails with some libraries and threads."""
    generator = torch.Generator().manual_seed(n_rows)
    row = torch.randn(1, width, generator=generator)
    weight = torch.randn(width, 50, generator=generator)
    product = (row.expand(n_rows, -1).contiguous() @ weight).numpy()
    assert (product == product[0]).all()
    assert np.isfinite(product).all()
