"""The caches that the benchmark times the shared-prefix cache against compute the same."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest

from phase7.engine.decode.loop import generate
from phase7.engine.model.kv_cache import SharedPrefixLayer
from phase7.engine.patch.capture import capture
from phase7.engine.patch.donors import DonorSum
from phase7.engine.patch.patching import Patch
from phase7.experiment.profile import Sampling
from phase7.vocabulary.errors import SelfCheckError, UserError
from phase7.vocabulary.heads import parse_heads
from phase7.vocabulary.modes import MODES
from tests import tiny
from tests.programs.benchmarks.ordinary_cache import GroupedLayer, OrdinaryLayer, stored_by

PROMPT = (5, 9, 2, 40, 7, 13, 101, 77, 31)


def sweep(architecture, **options):
    """All heads in all modes; many tokens end a text, so that finished rows are dropped."""
    model = tiny.load(architecture)
    donor = DonorSum([capture(model, (3, 8, 60, 21), all_queries=False)]).mean()
    heads = parse_heads("all", n_layers=tiny.N_LAYERS, n_heads=tiny.N_HEADS)
    return generate(
        dataclasses.replace(model, eos_ids=frozenset(range(0, tiny.N_VOCAB, 16))),
        "a prompt",
        PROMPT,
        [Patch(heads=(head,), mode=mode, donor="emotion") for mode in MODES for head in heads],
        donors={"emotion": donor},
        sampling=Sampling(max_new_tokens=12, temperature=1.0, top_p=0.95, samples=2, seed=3),
        **options,
    )


@pytest.fixture
def steps(monkeypatch):
    """How often each kind of layer was given tokens."""
    counts = Counter()
    for kind in (OrdinaryLayer, SharedPrefixLayer):

        def counted(self, *args, update=kind.update, **kwargs):
            counts[type(self)] += 1
            return update(self, *args, **kwargs)

        monkeypatch.setattr(kind, "update", counted)
    return counts


@pytest.mark.parametrize(
    ("architecture", "layer", "share_layers"),
    [
        *((architecture, OrdinaryLayer, True) for architecture in tiny.ARCHITECTURES),
        ("llama", OrdinaryLayer, False),
        ("llama", GroupedLayer, True),
    ],
)
def test_all_caches_give_the_same_tokens(architecture, layer, share_layers, steps):
    shared = sweep(architecture, share_layers=share_layers)
    assert set(steps) == {SharedPrefixLayer}
    steps.clear()
    with stored_by(layer):
        ordinary = sweep(architecture, share_layers=share_layers)
    assert set(steps) == {layer}
    np.testing.assert_array_equal(ordinary.baseline_tokens, shared.baseline_tokens)
    np.testing.assert_array_equal(ordinary.patched_tokens, shared.patched_tokens)
    np.testing.assert_allclose(
        ordinary.kl_first_token_nats, shared.kl_first_token_nats, rtol=1e-3, atol=1e-6
    )
    assert ordinary.max_self_logit_gap == 0.0
    assert (shared.patched_tokens == -1).any()  # rows did end


def test_slots_without_the_prompt_give_other_tokens(monkeypatch):
    """Liveness: the comparison above would notice."""
    right = sweep("llama")

    def without_prompt(self, n_used):
        for whole in self._whole:
            whole[:n_used, :, : self._n_prompt] = 0

    monkeypatch.setattr(OrdinaryLayer, "_fill", without_prompt)
    with stored_by(OrdinaryLayer):
        wrong = sweep("llama")
    assert not np.array_equal(wrong.patched_tokens, right.patched_tokens)


def test_slots_that_do_not_take_over_their_groups_tokens_fail_the_self_check(monkeypatch):
    """Liveness: texts do part in these sweeps, and copying is what keeps them right.

    Slots that hold nothing can hold NaN, which is told before the self-check.
    """
    monkeypatch.setattr(OrdinaryLayer, "copy_slots", lambda self, source, target: None)
    with stored_by(OrdinaryLayer), pytest.raises((SelfCheckError, UserError), match=r"self-check|NaN"):
        sweep("llama")
