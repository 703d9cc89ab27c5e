"""Laws of drawing: how many rows' logits are made at once changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from phase7 import drawing
from phase7.config import Sampling
from phase7.drawing import Drawing
from phase7.patching import Patch
from tests import tiny
from tests.properties.test_sharing_laws import ALL_HEADS, run

PATCHES = [Patch(heads=(head,), donor=donor) for head in ALL_HEADS for donor in ("emotion", "zero")]


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("samples", [1, 3])
def test_pieces_of_any_size_give_the_same_bits(monkeypatch, architecture, samples):
    model = tiny.load(architecture)
    sampling = Sampling(max_new_tokens=6, seed=2, samples=samples)
    whole = run(model, PATCHES, sampling)
    monkeypatch.setattr(drawing, "_ROWS_AT_ONCE", 16)
    pieces = run(model, PATCHES, sampling)
    np.testing.assert_array_equal(whole.baseline_tokens, pieces.baseline_tokens)
    np.testing.assert_array_equal(whole.patched_tokens, pieces.patched_tokens)
    np.testing.assert_array_equal(whole.kl_first_token_nats, pieces.kl_first_token_nats)
    assert len(np.unique(whole.patched_tokens.reshape(-1, 6), axis=0)) > 3
    assert (whole.kl_first_token_nats > 0).any()


@pytest.mark.parametrize("row_block", [2, 16])
def test_logits_are_made_for_a_piece_of_whole_blocks_at_a_time(row_block):
    made: list[int] = []

    def unembed(states: torch.Tensor) -> torch.Tensor:
        made.append(len(states))
        return states @ torch.eye(8, 50)

    n_rows = drawing._ROWS_AT_ONCE + 3
    drawn = Drawing(
        unembed,
        prompt="p",
        sampling=Sampling(temperature=0.0),
        n_rows=n_rows,
        n_checks=1,
        row_block=row_block,
    ).draw(torch.randn(n_rows, 8), np.arange(n_rows), np.arange(n_rows), 0)
    assert made == [drawing._ROWS_AT_ONCE, 4 if row_block == 2 else 16]
    assert drawn.shape == (n_rows,)


def test_a_self_check_row_that_differs_widens_the_gap():
    """Liveness of the reported gap, and of the divergence beside it."""
    states = torch.zeros(4, 8)
    states[3, 5] = 0.25
    one = Drawing(lambda x: x, prompt="p", sampling=Sampling(), n_rows=4, n_checks=1, row_block=2)
    one.draw(states, np.arange(4), np.arange(4), 0)
    assert one.max_self_logit_gap == 0.25
    assert one.kl_first_token[:3].tolist() == [0, 0, 0] and one.kl_first_token[3] > 0
