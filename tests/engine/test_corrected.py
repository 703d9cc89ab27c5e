"""Corrected first-order estimates, against gradients of plain transformers with hand-written hooks."""

from __future__ import annotations

import contextlib
import dataclasses
from functools import cache

import numpy as np
import pytest
import torch

from phase7.engine.decode.corrected import dropped_slopes, integrated_effects
from phase7.engine.decode.forced import forced_pass
from phase7.engine.decode.read_logits import log_likelihood_of, log_odds_of
from phase7.engine.patch.capture import capture
from phase7.engine.patch.donors import single
from phase7.engine.patch.patching import Patch
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.heads import Head
from phase7.vocabulary.modes import MODES, POSITIONS
from tests import tiny
from tests.engine.test_attribution import (
    EMOTION,
    PATH,
    RECIPIENTS,
    SETS,
    donor_of,
    exact_effects,
    plain,
    slopes_of,
    tokens_of,
)

LAYERS = range(tiny.N_LAYERS)
#: Of a read-out's largest value; float32 against float64.
AGREES = 1e-3


def blocks_of(architecture: str, model: torch.nn.Module) -> torch.nn.ModuleList:
    if architecture in ("gpt2", "gpt_neo"):
        return model.transformer.h
    return model.gpt_neox.layers if architecture == "gpt_neox" else model.model.layers


def by_hooks(architecture, positions, *, dropped=None, moved=None) -> np.ndarray:
    """dR/dz [R, L, Q, H, d] of plain transformers in one whole pass, read-outs as in `SETS`.

    `dropped`: the layer through which no gradient flows. `moved`: a layer and what is added to its heads'
    outputs at the patched queries.
    """
    one, _ = plain(architecture)
    prompt = tokens_of(architecture)
    tokens, n = [*prompt, *PATH[:-1]], len(prompt)
    queries = {"generated": slice(n - 1, None), "last": slice(n - 1, n), "all": slice(None)}[positions]
    z = {}

    def before_output(layer):
        def hook(module, args):
            heads = args[0][0].reshape(len(tokens), tiny.N_HEADS, one.d_head)
            if moved is not None and moved[0] == layer:
                heads = heads.clone()
                heads[queries] += torch.tensor(moved[1])
            z[layer] = heads if heads.requires_grad else heads.detach().requires_grad_()
            return (z[layer].reshape(1, len(tokens), -1),)

        return hook

    def without_gradient(module, args, kwargs, output):
        into = args[0] if args else kwargs["hidden_states"]
        out = output if isinstance(output, torch.Tensor) else output[0]
        kept = into + (out - into).detach()
        return kept if isinstance(output, torch.Tensor) else (kept, *output[1:])

    with contextlib.ExitStack() as stack, torch.enable_grad():
        for layer in LAYERS:
            projection = one.output_projection(layer)
            stack.callback(projection.register_forward_pre_hook(before_output(layer)).remove)
        if dropped is not None:
            block = blocks_of(architecture, one.model)[dropped]
            stack.callback(block.register_forward_hook(without_gradient, with_kwargs=True).remove)
        p = one.model(torch.tensor([tokens]), use_cache=False).logits[0, n - 1 :].softmax(dim=-1)
        inside = torch.stack([p[:, list(ids)].sum(dim=1) for ids in SETS.values()], dim=1)
        odds = (inside / (1 - inside)).log()
        found = []
        for value in [*odds.mean(dim=0), *odds[0]]:
            inputs = [z[i] for i in LAYERS]
            by_z = torch.autograd.grad(
                value, inputs, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            found.append(np.stack([g[queries].numpy() for g in by_z]))
    return np.stack(found)


def close(found: np.ndarray, expected: np.ndarray) -> None:
    for readout, values in enumerate(expected):
        scale = np.abs(values).max()
        np.testing.assert_allclose(
            found[readout], values, atol=AGREES * scale, rtol=0, err_msg=str(readout)
        )


@cache
def dropped_of(architecture: str, positions: str):
    model, tokens = tiny.load(architecture), tokens_of(architecture)
    read = log_odds_of(model, PATH, SETS)
    return [*dropped_slopes(model, tokens, PATH, read, positions=positions)]


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("where", POSITIONS)
def test_dropped_gradients_are_those_of_hand_written_hooks(architecture, where):
    whole = by_hooks(architecture, where)
    for layer, given in enumerate(dropped_of(architecture, where)):
        expected = by_hooks(architecture, where, dropped=layer)
        close(given.gradient, expected)
        assert not given.gradient[:, layer].any()
        if layer:  # liveness: what lies below is another gradient
            off = np.abs(expected[:, :layer] - whole[:, :layer]).max()
            assert off > 10 * AGREES * np.abs(whole).max()


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_heads_above_a_dropped_layer_keep_their_slopes(architecture):
    whole = slopes_of(architecture, "generated")
    found = dropped_of(architecture, "generated")
    assert len(found) == tiny.N_LAYERS
    for layer, given in enumerate(found):
        np.testing.assert_allclose(
            given.gradient[:, layer + 1 :], whole.gradient[:, layer + 1 :], rtol=1e-5, atol=1e-7
        )
        for name in ("baseline", "z", "value", "pattern"):
            np.testing.assert_array_equal(getattr(given, name), getattr(whole, name))


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("where", POSITIONS)
@pytest.mark.parametrize("text", RECIPIENTS)
def test_the_change_times_the_gradient_is_the_effect(architecture, mode, where, text):
    """With donors that are shorter and longer than the recipient, and one whose outputs end early."""
    whole = donor_of(architecture)
    cut = dataclasses.replace(whole, z=whole.z[:, :2], pattern=whole.pattern[:, :, :2])
    given = slopes_of(architecture, where, text)
    for donor in (whole, cut, donor_of(architecture, EMOTION[:1])):
        change = given.change(donor, mode)
        found = np.einsum("rlqhd,lqhd->rlh", given.gradient.astype(float), change)
        np.testing.assert_allclose(found, given.effect(donor, mode), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("where", POSITIONS)
def test_the_change_is_what_plain_transformers_write(architecture, mode, where):
    one, donor = plain(architecture)
    prompt = tokens_of(architecture)
    tokens, n = [*prompt, *PATH[:-1]], len(prompt)
    seen = one.run(tokens, {})
    found = slopes_of(architecture, where).change(donor_of(architecture), mode)
    first = 0 if where == "all" else n - 1
    assert np.abs(found).max() > 1e-2
    for layer, query, head in [(0, 0, 0), (1, found.shape[1] - 1, 3), (tiny.N_LAYERS - 1, 0, 2)]:
        q = first + query
        expected = np.zeros(one.d_head)
        if max(0, n - 1 - q) < donor[0].shape[1]:
            new = one._output(seen, layer, head, q, n, mode, donor)
            expected = (new - seen.z[layer][q, head]).numpy()
        np.testing.assert_allclose(found[layer, query, head], expected, atol=1e-5)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize(("mode", "where"), [("result", "generated"), ("v_only", "all")])
def test_integrated_steps_are_gradients_of_hand_written_hooks(architecture, mode, where):
    model, tokens = tiny.load(architecture), tokens_of(architecture)
    given, donor, n_steps = slopes_of(architecture, where), donor_of(architecture), 2
    read = log_odds_of(model, PATH, SETS)
    found = integrated_effects(model, tokens, PATH, read, given, donor, mode, n_steps=n_steps)
    change = given.change(donor, mode)
    expected = np.zeros_like(found)
    for layer in LAYERS:
        for share in (0.25, 0.75):
            gradient = by_hooks(architecture, where, moved=(layer, share * change[layer]))[:, layer]
            expected[:, layer] += np.einsum("rqhd,qhd->rh", gradient, change[layer]) / n_steps
    close(found, expected)
    off = np.abs(expected - given.effect(donor, mode)).max()
    assert off > 10 * AGREES * np.abs(expected).max()


def layers_patched(architecture: str, mode: str):
    """The exact pass in which one layer after the other is patched whole."""
    model, tokens, donor = tiny.load(architecture), tokens_of(architecture), donor_of(architecture)
    layers = [tuple(Head(layer, head) for head in range(tiny.N_HEADS)) for layer in LAYERS]
    patches = [Patch(heads=heads, mode=mode, donor="given", positions="generated") for heads in layers]
    return forced_pass(model, tokens, PATH, patches, donors={"given": donor}, token_sets=SETS)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("mode", MODES)
def test_many_steps_sum_to_the_exact_effect_of_a_whole_layer(architecture, mode):
    model, tokens, donor = tiny.load(architecture), tokens_of(architecture), donor_of(architecture)
    given = slopes_of(architecture, "generated")
    read = log_odds_of(model, PATH, SETS)
    found = integrated_effects(model, tokens, PATH, read, given, donor, mode, n_steps=24)
    got = layers_patched(architecture, mode)
    exact = np.array(
        [got.patched.log_odds[n].mean(axis=1) - got.baseline.log_odds[n].mean() for n in SETS]
    )
    summed = found.sum(axis=2)[: len(SETS)]
    plainly = given.effect(donor, mode).sum(axis=2)[: len(SETS)]
    assert np.abs(summed - exact).max() < 2e-2 * np.abs(exact).max()
    assert np.abs(plainly - exact).max() > 5 * np.abs(summed - exact).max()


def test_likelihoods_have_corrections_too():
    """Of the path's own tokens, as a sum."""
    model, tokens, donor = tiny.load("llama"), tokens_of("llama"), donor_of("llama")
    read = log_likelihood_of(model, PATH, by_token=False)
    slopes = [*dropped_slopes(model, tokens, PATH, read, positions="generated")]
    assert all(one.gradient.shape[0] == 2 for one in slopes)
    found = integrated_effects(model, tokens, PATH, read, slopes[0], donor, "result", n_steps=24)
    got = layers_patched("llama", "result")
    exact = (got.patched.log_likelihood - got.baseline.log_likelihood).sum(axis=1)
    assert np.abs(found[0].sum(axis=1) - exact).max() < 1e-2 * np.abs(exact).max()


def test_what_has_no_steps_or_no_pattern_is_refused():
    model, tokens, donor = tiny.load("gpt2"), tokens_of("gpt2"), donor_of("gpt2")
    read, given = log_odds_of(model, PATH, SETS), slopes_of("gpt2", "generated")
    with pytest.raises(ValueError, match="n_steps: expected at least 1, got 0"):
        integrated_effects(model, tokens, PATH, read, given, donor, "result", n_steps=0)
    blind = dataclasses.replace(given, pattern=None)
    with pytest.raises(UserError, match="mode v_only"):
        integrated_effects(model, tokens, PATH, read, blind, donor, "v_only", n_steps=1)
    with pytest.raises(NotImplementedError):
        given.change(donor, "k_only")


def test_own_activations_change_nothing():
    model, tokens = tiny.load("llama"), tokens_of("llama")
    own = single(capture(model, tokens, all_queries=True))
    given = slopes_of("llama", "all", RECIPIENTS[0], PATH[:1])
    for mode in MODES:
        assert np.abs(given.change(own, mode)).max() < 1e-5
    assert np.abs(exact_effects("llama", donor_of("llama"), "result", "all", PATH)).max() > 1e-2
