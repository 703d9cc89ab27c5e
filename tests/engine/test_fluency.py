"""What texts are like under the unpatched model, against plain transformers and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from phase7.engine.decode import fluency
from phase7.engine.decode.fluency import mean_ln_p, repeated_4grams
from tests import tiny

PROMPT = [41, 300, 7, 262, 88]
TEXTS = [(12, 100, 9, 41, 7), (12, 100), (5,), (), (300, 300, 300, 300), (12, 100)]


@torch.no_grad()
def by_transformers(architecture: str, prompt, text) -> float:
    """One text, one pass, no cache, no padding."""
    model = tiny.hf_model(architecture)
    logits = model(torch.tensor([[*prompt, *text]]), use_cache=False).logits[0].double()
    ln_p = logits.log_softmax(dim=-1)
    places = range(len(prompt) - 1, len(prompt) + len(text) - 1)
    return float(np.mean([ln_p[place, token] for place, token in zip(places, text, strict=True)]))


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("n_prompt", [1, len(PROMPT)])
def test_likelihoods_are_those_of_plain_transformers(architecture, n_prompt, monkeypatch):
    monkeypatch.setattr(fluency, "_TEXTS_AT_ONCE", 3)
    found = mean_ln_p(tiny.load(architecture), PROMPT[:n_prompt], TEXTS)
    expected = [
        by_transformers(architecture, PROMPT[:n_prompt], text) if text else np.nan for text in TEXTS
    ]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found[1] == found[5] and len({*np.round(found[:3], 3)}) == 3


def test_no_text_needs_no_model():
    assert np.isnan(mean_ln_p(None, PROMPT, [(), ()])).all()


@given(st.lists(st.integers(0, 2), max_size=14))
def test_repetitions_are_counted(text):
    grams = [str(text[i : i + 4]) for i in range(len(text) - 3)]
    repeats = sum(gram in grams[:i] for i, gram in enumerate(grams))
    found = repeated_4grams(tuple(text))
    assert math.isnan(found) if not grams else found == pytest.approx(repeats / len(grams))
