"""Estimated effects of patches, against differences in plain transformers and against exact patches."""

from __future__ import annotations

import dataclasses
import threading
from functools import cache

import numpy as np
import pytest
import torch

from phase7.engine.decode.attribution import slopes
from phase7.engine.decode.forced import forced_pass
from phase7.engine.model.tokens import encode
from phase7.engine.patch.capture import capture
from phase7.engine.patch.donors import Donor, DonorSum, single
from phase7.engine.patch.patching import Patch
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.heads import parse_heads
from phase7.vocabulary.modes import MODES, POSITIONS
from phase7.vocabulary.readouts import readout_metrics
from tests import tiny
from tests.by_hand import direct_mean
from tests.plain_patching import PlainModel, read_out

ALL_HEADS = parse_heads("all", n_layers=tiny.N_LAYERS, n_heads=tiny.N_HEADS)
#: Longer than both donors, of the length of one of them, and of one token.
RECIPIENTS = ("The kettle is on the second shelf, beside", "Thank you so late", "I")
EMOTION = ("Thank you so much", "I am so sorry about it")
PATH = (41, 300, 7, 262, 262, 88)
SETS = {"few": (5, 41, 262), "most": tuple(range(300)), "one": (7,)}
#: Half the distance of a difference: plain transformers, too, take softmax and norms in float32.
STEP = 2e-3
#: Of a read-out's largest effect; the largest difference measured is 4e-4.
AGREES = 1e-3


def tokens_of(architecture: str, text: str = RECIPIENTS[0]) -> tuple[int, ...]:
    return encode(tiny.load(architecture), text, "raw")


@cache
def donor_of(architecture: str, texts: tuple[str, ...] = EMOTION) -> Donor:
    model = tiny.load(architecture)
    prompts = [tokens_of(architecture, text) for text in texts]
    return DonorSum(capture(model, tokens, all_queries=True) for tokens in prompts).mean()


@cache
def slopes_of(architecture: str, positions: str, text: str = RECIPIENTS[0], path=PATH):
    tokens = tokens_of(architecture, text)
    model = tiny.load(architecture)
    return slopes(model, tokens, path, token_sets=SETS, positions=positions)


@cache
def plain(architecture: str):
    model = PlainModel(architecture, torch.float64)
    return model, direct_mean([model.capture(tokens_of(architecture, text)) for text in EMOTION])


def by_differences(architecture, mode, positions, text, heads, n_queries=None) -> np.ndarray:
    """Derivatives [R, heads] along the way from a head's output to what is written."""
    model, (z, value, pattern) = plain(architecture)
    donor = z[:, :n_queries], value, pattern[:, :, :n_queries]
    found = np.empty((2 * len(SETS), len(heads)))
    for number, head in enumerate(heads):
        either = []
        for strength in (STEP, -STEP):
            logits = model.patched_logits(
                tokens_of(architecture, text), PATH, (head,), mode, positions, donor, strength=strength
            )
            odds = read_out(logits, logits, PATH, SETS)
            steps = np.array([odds[name] for name in SETS])
            either.append(np.concatenate([steps.mean(axis=1), steps[:, 0]]))
        found[:, number] = (either[0] - either[1]) / (2 * STEP)
    return found


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("where", POSITIONS)
@pytest.mark.parametrize("text", RECIPIENTS)
def test_effects_are_the_derivatives_of_plain_transformers(architecture, mode, where, text):
    heads = ALL_HEADS[::2] if text == RECIPIENTS[0] else ALL_HEADS[1::3]
    got = slopes_of(architecture, where, text).effect(donor_of(architecture), mode)
    assert got.dtype == np.float64
    assert got.shape == (2 * len(SETS), tiny.N_LAYERS, tiny.N_HEADS)
    expected = by_differences(architecture, mode, where, text, heads)
    for readout, values in enumerate(expected):
        found = np.array([got[readout, layer, head] for layer, head in heads])
        scale = np.abs(values).max()
        assert scale > 1e-2
        np.testing.assert_allclose(found, values, atol=AGREES * scale, rtol=0, err_msg=str(readout))


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n_queries", [1, 3])
def test_queries_beyond_the_donor_stay_as_they_are(architecture, mode, n_queries):
    """Of all queries, with a donor whose values reach further than its outputs."""
    whole, heads = donor_of(architecture), ALL_HEADS[::2]
    cut = dataclasses.replace(whole, z=whole.z[:, :n_queries], pattern=whole.pattern[:, :, :n_queries])
    given = slopes_of(architecture, "all")
    got, further = given.effects([cut, whole], mode)
    expected = by_differences(architecture, mode, "all", RECIPIENTS[0], heads, n_queries)
    for readout, values in enumerate(expected):
        scale = np.abs(values).max()
        found, other = (
            np.array([e[readout, layer, head] for layer, head in heads]) for e in (got, further)
        )
        np.testing.assert_allclose(found, values, atol=AGREES * scale, rtol=0, err_msg=str(readout))
        assert np.abs(other - values).max() > 10 * AGREES * scale


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("where", POSITIONS)
def test_the_laws_above_notice_another_mode_donor_or_query(architecture, mode, where):
    """Liveness: every other choice gives effects that are further off than the law allows."""
    donor = donor_of(architecture)
    got = slopes_of(architecture, where).effect(donor, mode)
    others = [slopes_of(architecture, where).effect(donor, other) for other in MODES if other != mode]
    others += [
        slopes_of(architecture, other).effect(donor, mode) for other in POSITIONS if other != where
    ]
    others.append(slopes_of(architecture, where).effect(donor_of(architecture, EMOTION[:1]), mode))
    for other in others:
        means = np.abs(other - got)[: len(SETS)].max(axis=(1, 2))
        assert (means > 10 * AGREES * np.abs(got).max()).all()


def near(own: Donor, other: Donor) -> Donor:
    """A donor a hundredth of the way from one to another of the same length."""

    def mixed(name: str) -> np.ndarray:
        here, there = getattr(own, name), getattr(other, name)
        return (here + 0.01 * (there - here)).astype(np.float32)

    return Donor(z=mixed("z"), value=mixed("value"), pattern=mixed("pattern"))


def exact_effects(architecture, donor, mode, positions, path) -> np.ndarray:
    patches = [Patch(heads=(h,), mode=mode, donor="given", positions=positions) for h in ALL_HEADS]
    model, tokens = tiny.load(architecture), tokens_of(architecture)
    got = forced_pass(model, tokens, path, patches, donors={"given": donor}, token_sets=SETS)
    kept = [not name.startswith("kl") for name in readout_metrics([*SETS])]
    changes = (got.patched.summary() - got.baseline.summary())[:, kept]
    return changes.T.reshape(2 * len(SETS), tiny.N_LAYERS, tiny.N_HEADS)


#: Where every query that is patched has an own output at the donor's offset, which the donor can be near.
CLOSE = (("generated", PATH[:1]), ("last", PATH), ("all", PATH[:1]))


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("where", "path"), CLOSE)
def test_exact_patches_with_a_donor_nearby_have_the_estimated_effects(architecture, mode, where, path):
    model, tokens = tiny.load(architecture), tokens_of(architecture)
    own, other, third = (
        single(capture(model, prompt, all_queries=True))
        for prompt in (tokens, tokens[::-1], (tokens[0], *tokens[:-1]))
    )
    given = slopes_of(architecture, where, path=path)
    found = given.effect(near(own, other), mode)
    exact = exact_effects(architecture, near(own, other), mode, where, path)
    elsewhere = given.effect(near(own, third), mode)
    for one, same, different in zip(found, exact, elsewhere, strict=True):
        assert np.corrcoef(one.ravel(), same.ravel())[0, 1] > 0.99
        assert np.corrcoef(different.ravel(), same.ravel())[0, 1] < 0.98
        assert np.abs(one - same).max() < 0.15 * np.abs(same).max()


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("where", "path"), CLOSE)
@pytest.mark.parametrize("text", RECIPIENTS)
def test_own_activations_have_no_effect(architecture, mode, where, path, text):
    own = single(capture(tiny.load(architecture), tokens_of(architecture, text), all_queries=True))
    effect = slopes_of(architecture, where, text, path).effect(own, mode)
    np.testing.assert_allclose(effect, 0.0, atol=1e-5)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("where", POSITIONS)
def test_many_donors_are_one_after_the_other(architecture, mode, where):
    """Of several lengths, and one with outputs of its last query alone."""
    model = tiny.load(architecture)
    donors = [donor_of(architecture, (text,)) for text in (*EMOTION, *RECIPIENTS)]
    donors.append(single(capture(model, tokens_of(architecture)[::-1], all_queries=False)))
    given = slopes_of(architecture, where)
    together = given.effects(donors, mode)
    for donor, effect in zip(donors, together, strict=True):
        np.testing.assert_array_equal(given.effect(donor, mode), effect)
    assert len(np.unique(together[:, 0, 0, 0])) == len(donors)
    assert given.effects([], mode).shape == (0, *together.shape[1:])


def test_a_mean_donor_has_the_mean_effect():
    """Among donors of one length, whose effects are linear in what they hold."""
    model, tokens = tiny.load("llama"), tokens_of("llama")
    captures = [capture(model, t, all_queries=True) for t in (tokens, tokens[::-1], (*tokens[1:], 7))]
    given = slopes_of("llama", "generated")
    for mode in ("result", "v_only"):
        apart = given.effects([single(one) for one in captures], mode)
        mean = given.effect(DonorSum(captures).mean(), mode)
        np.testing.assert_allclose(mean, apart.mean(axis=0), atol=1e-5)


def test_outputs_alone_are_attributed_where_the_pattern_cannot_be_read():
    model = dataclasses.replace(tiny.load("gpt2"), pattern_site=None)
    given = slopes(model, tokens_of("gpt2"), PATH, token_sets=SETS, positions="all")
    whole = slopes_of("gpt2", "all").effect(donor_of("gpt2"), "result")
    np.testing.assert_array_equal(given.effect(donor_of("gpt2"), "result"), whole)
    for mode in ("v_only", "pattern_v"):
        with pytest.raises(UserError, match=f"mode {mode}"):
            given.effect(donor_of("gpt2"), mode)
    with pytest.raises(NotImplementedError):
        given.effect(donor_of("gpt2"), "k_only")


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_gradients_leave_the_model_as_it_is(architecture):
    """No weight collects a gradient, and a pass in the middle of inference changes nothing after it."""
    model, tokens = tiny.load(architecture), tokens_of(architecture)
    donor = donor_of(architecture)
    before = exact_effects(architecture, donor, "v_only", "all", PATH)
    with torch.inference_mode():
        again = slopes(model, tokens, PATH, token_sets=SETS, positions="all")
    np.testing.assert_array_equal(again.gradient, slopes_of(architecture, "all").gradient)
    np.testing.assert_array_equal(exact_effects(architecture, donor, "v_only", "all", PATH), before)
    twin = model.differentiable
    assert twin is model.differentiable
    for one in (model, twin):
        assert all(weight.grad is None for weight in one.bridge.parameters())
    assert not any(weight.requires_grad for weight in twin.bridge.parameters())
    ours = {weight.data_ptr() for weight in model.bridge.parameters()}
    assert {weight.data_ptr() for weight in twin.bridge.parameters()} <= ours


def test_threads_have_twins_of_their_own():
    model, tokens = tiny.load("llama"), tokens_of("llama")
    models = [model, model.for_another_thread()]
    assert models[0].differentiable is not models[1].differentiable
    found: dict[int, np.ndarray] = {}

    def work(number: int) -> None:
        for _ in range(5):
            given = slopes(models[number], tokens, PATH, token_sets=SETS, positions="all")
            found[number] = given.gradient

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(2):
        np.testing.assert_allclose(found[number], slopes_of("llama", "all").gradient, atol=1e-5)


def test_a_set_that_holds_nearly_everything_has_finite_gradients():
    sets = {"nearly all": range(tiny.N_VOCAB - 1), "the other": [tiny.N_VOCAB - 1]}
    model, tokens = tiny.load("gpt2"), tokens_of("gpt2")
    given = slopes(model, tokens, PATH, token_sets=sets, positions="generated")
    assert np.isfinite(given.gradient).all()
    np.testing.assert_allclose(given.gradient[0], -given.gradient[1], atol=1e-6)
    assert np.abs(given.gradient[0]).max() > 1e-2


@pytest.mark.parametrize(
    ("path", "sets", "message"),
    [
        ((), SETS, "path: expected at least one token id"),
        ((5, tiny.N_VOCAB), SETS, "path: expected"),
        ((5,), {"none": ()}, "token set 'none': expected"),
        ((5,), {}, "expected at least one token set"),
        ((5,), {"all": range(tiny.N_VOCAB)}, "holds every token"),
    ],
)
def test_what_has_no_slope_is_refused(path, sets, message):
    with pytest.raises(ValueError, match=message):
        slopes(tiny.load("gpt2"), tokens_of("gpt2"), path, token_sets=sets, positions="last")
