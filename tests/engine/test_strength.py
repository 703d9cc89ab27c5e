"""How strongly a patch writes, and what it adds: exact where nothing may change, else as by hand."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache

import numpy as np
import pytest

from phase7.engine.decode import running
from phase7.engine.decode.forced import forced_pass
from phase7.engine.decode.loop import generate
from phase7.engine.decode.running import self_checks
from phase7.engine.model.loading import load_model
from phase7.engine.model.tokens import encode
from phase7.engine.patch import patching, recipes
from phase7.engine.patch.capture import capture
from phase7.engine.patch.donors import DonorSum
from phase7.engine.patch.patching import BASELINE, Patch, Patcher
from phase7.experiment.profile import Sampling
from phase7.vocabulary.errors import SelfCheckError
from phase7.vocabulary.heads import Head, parse_heads
from phase7.vocabulary.modes import MODES, POSITIONS
from tests import tiny
from tests.by_hand import direct_mean
from tests.plain_patching import PlainModel, read_out

ALL_HEADS = parse_heads("all", n_layers=tiny.N_LAYERS, n_heads=tiny.N_HEADS)
RECIPIENT = "The kettle is on the second shelf, beside"
#: Of unequal length, and all shorter than the recipient: each of the two reaches offsets of its own.
TEXTS = {
    "emotion": ("Thank you so much", "I am so sorry about it"),
    "neutral": ("Buses leave", "The mill"),
}
PATH = (41, 300, 7, 262, 262, 88)
SETS = {"few": (5, 41, 262), "one": (7,)}
SOME = (Head(0, 3), Head(1, 0), Head(2, 2))
#: In nats; the largest difference measured is 2.4e-6.
AGREES = 2e-5

architectures = pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
modes = pytest.mark.parametrize("mode", MODES)
positions = pytest.mark.parametrize("where", POSITIONS)


def tokens_of(architecture: str, text: str = RECIPIENT) -> tuple[int, ...]:
    return encode(tiny.load(architecture), text, "raw")


@cache
def donors(architecture: str):
    model = tiny.load(architecture)
    return {
        name: DonorSum(
            capture(model, tokens_of(architecture, text), all_queries=True) for text in texts
        ).mean()
        for name, texts in TEXTS.items()
    }


@cache
def plain(architecture: str):
    """The same weights in plain transformers, and the donors from their own activations."""
    model = PlainModel(architecture)
    captures = {
        name: [model.capture(tokens_of(architecture, text)) for text in texts]
        for name, texts in TEXTS.items()
    }
    return model, {name: direct_mean(some) for name, some in captures.items()}


def run(architecture, patches, *, model=None, **options):
    return forced_pass(
        model or tiny.load(architecture),
        tokens_of(architecture),
        PATH,
        patches,
        donors=donors(architecture),
        token_sets=SETS,
        **options,
    )


def added(heads=SOME, mode="result", where="generated", **options) -> Patch:
    given = {"donor": "emotion", "reference": "neutral", **options}
    return Patch(heads=heads, mode=mode, positions=where, write="add", **given)


def same_bits(one, other) -> bool:
    mine, theirs = one.by_name(), other.by_name()
    return all(np.array_equal(values, theirs[name]) for name, values in mine.items())


def far_apart(one, other) -> bool:
    mine, theirs = one.by_name(), other.by_name()
    return all(np.abs(values - theirs[name]).max() > 10 * AGREES for name, values in mine.items())


@architectures
@modes
@positions
def test_own_activations_and_strength_0_change_no_bit_and_others_do(architecture, mode, where):
    common = {"heads": ALL_HEADS, "mode": mode, "positions": where}
    nothing = [
        Patch(**common, donor="self", write=write, strength=strength)
        for write in ("replace", "add")
        for strength in (0.5, 1.0, 2.0, -1.5)
    ]
    nothing += [
        Patch(**common, donor="emotion", strength=0.0),
        added(ALL_HEADS, mode, where, strength=0),
    ]
    nothing += [added(ALL_HEADS, mode, where, reference="emotion", strength=2.0)]
    acting = [Patch(**common, donor="emotion", strength=s) for s in (0.5, 1.0, 2.0, -0.5)]
    acting += [added(ALL_HEADS, mode, where, strength=s) for s in (0.5, 1.0, -1.0)]
    got = run(architecture, [*nothing, *acting])
    assert got.max_self_gap == 0.0
    for number, patch in enumerate(nothing):
        assert same_bits(got.patched.of(number), got.baseline), patch
    arms = [got.baseline, *(got.patched.of(len(nothing) + n) for n in range(len(acting)))]
    for number, arm in enumerate(arms):
        for other in arms[:number]:
            assert far_apart(arm, other)


@architectures
@modes
@positions
def test_strength_1_writes_what_the_mode_makes_to_the_bit(monkeypatch, architecture, mode, where):
    """No arithmetic on the way, and other kinds of write in the batch leave no trace."""
    original, n_seen = patching.output, []

    def compared(mode, write, place, now):
        made, recipe = original(mode, write, place, now), recipes.RECIPES[mode]
        make = recipe.of_self if write.table is None else recipe.of_donor
        if write.strength is None:
            assert made.equal(make(write, place, now))
            n_seen.append(len(write.rows))
        return made

    monkeypatch.setattr(patching, "output", compared)
    one = Patch(heads=SOME, mode=mode, donor="emotion", positions=where, strength=1.0)
    alone = run(architecture, [one])
    assert sum(n_seen) == 2 * len(SOME)  # its self-check beside it
    others = [replace(one, strength=0.5), added(SOME, mode, where), replace(one, strength=2.0)]
    among = run(architecture, [*others, one])
    assert same_bits(among.patched.of(3), alone.patched.of(0))
    assert same_bits(among.baseline, alone.baseline)
    for number, other in enumerate(others):
        assert same_bits(run(architecture, [other]).patched.of(0), among.patched.of(number))
        assert far_apart(among.patched.of(number), alone.patched.of(0))


@architectures
@modes
@positions
def test_strengths_and_shifts_are_those_of_plain_transformers(architecture, mode, where):
    model, by_name = plain(architecture)
    prompt = tokens_of(architecture)
    assert by_name["neutral"][0].shape[1] < by_name["emotion"][0].shape[1] < len(prompt)
    patches = [
        *(Patch(heads=SOME, mode=mode, donor="emotion", positions=where, strength=s) for s in (0.5, -1)),
        added(SOME, mode, where, strength=2.0),
        added(SOME, mode, where, donor="neutral", reference="emotion", strength=0.5),
    ]
    got = run(architecture, patches)
    baseline = model.patched_logits(prompt, PATH, (), mode, where, by_name["emotion"])
    for number, patch in enumerate(patches):
        logits = model.patched_logits(
            prompt, PATH, patch.heads, mode, where, by_name[patch.donor],
            strength=patch.strength, reference=by_name.get(patch.reference),
        )  # fmt: skip
        expected, found = read_out(logits, baseline, PATH, SETS), got.patched.of(number)
        for name, values in (
            ("kl", found.kl),
            ("log_likelihood", found.log_likelihood),
            *found.log_odds.items(),
        ):
            np.testing.assert_allclose(values, expected[name], atol=AGREES, rtol=0, err_msg=f"{patch}")
        assert far_apart(found, got.baseline)


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "llama"])
@modes
def test_after_the_output_projection_both_are_the_same_up_to_rounding(architecture, mode):
    own = [
        Patch(heads=SOME, mode=mode, donor="self", write=write, strength=2.0)
        for write in ("replace", "add")
    ]
    patches = [*own, Patch(heads=SOME, mode=mode, donor="emotion", strength=0.5), added(mode=mode)]
    at_z, literal = run(architecture, patches), run(architecture, patches, use_attn_result=True)
    for name, values in at_z.patched.by_name().items():
        np.testing.assert_allclose(literal.patched.by_name()[name], values, atol=AGREES, err_msg=name)
    assert not np.array_equal(at_z.patched.kl, literal.patched.kl)
    for number in range(len(own)):
        assert same_bits(literal.patched.of(number), literal.baseline)


@modes
def test_no_bit_changes_in_half_precision_either(mode):
    model = load_model(tiny.load("llama").files, pack=False, dtype="bfloat16")
    own = [
        Patch(heads=ALL_HEADS, mode=mode, donor="self", write=write, strength=0.3)
        for write in ("replace", "add")
    ]
    patches = [*own, Patch(heads=ALL_HEADS, mode=mode, donor="emotion", strength=0.0), added(mode=mode)]
    got = run("llama", patches, model=model)
    for number in range(3):
        assert same_bits(got.patched.of(number), got.baseline)
    assert not same_bits(got.patched.of(3), got.baseline)


@architectures
@modes
@positions
def test_texts_are_generated_under_an_added_shift(architecture, mode, where):
    """And a row draws the same text whatever its neighbours add."""
    patches = [added(ALL_HEADS, mode, where, strength=s) for s in (2.0, 0.0, -2.0)]

    def texts(some):
        sampling = Sampling(max_new_tokens=8, temperature=1.0, seed=3, samples=4)
        prompt = tokens_of(architecture)
        model, given = tiny.load(architecture), donors(architecture)
        return generate(model, RECIPIENT, prompt, some, donors=given, sampling=sampling)

    got = texts(patches)
    assert got.max_self_logit_gap == 0.0
    assert got.n_self_rows == 3 * 4
    np.testing.assert_array_equal(got.patched_tokens[1], got.baseline_tokens)
    assert (got.kl_first_token_nats[[0, 2]] > 1e-3).all()
    assert not np.array_equal(got.patched_tokens[0], got.baseline_tokens)
    assert not np.array_equal(got.patched_tokens[0], got.patched_tokens[2])
    np.testing.assert_array_equal(texts(patches[2:]).patched_tokens[0], got.patched_tokens[2])


def test_dropped_rows_leave_all_of_an_entry():
    patches = [BASELINE, *(added(strength=s) for s in (0.25, 0.5, 2.0, 4.0))]
    patcher = Patcher(tiny.load("gpt2"), patches, n_samples=1, donors=donors("gpt2"), n_prompt=9)
    (before,) = patcher._writes[SOME[0].layer]
    patcher.drop(np.array([1, 3]))
    (after,) = patcher._writes[SOME[0].layer]
    assert after.write.strength.tolist() == [0.5, 4.0]
    for field in fields(before.write):
        old, new = (getattr(one.write, field.name) for one in (before, after))
        assert old is not None
        np.testing.assert_array_equal(new, old if isinstance(old, bool) else old[[1, 3]])


def test_a_self_check_for_each_kind_of_write():
    def kinds(patches):
        return [(check.mode, check.write, check.strength) for check in self_checks(patches)]

    alike = [added((head,), mode, strength=2.0) for head in SOME for mode in MODES]
    assert kinds(alike) == [(mode, "add", 2.0) for mode in sorted(MODES)]
    mixed = [Patch(heads=SOME, donor="emotion", strength=s) for s in (1, 0.5)] + [added(), added()]
    assert kinds(mixed) == [
        ("result", "add", 1.0),
        ("result", "replace", 0.5),
        ("result", "replace", 1.0),
    ]
    assert run("gpt2", mixed).n_self_rows == 3


def test_a_self_check_that_fails_says_which_write(monkeypatch):
    monkeypatch.setattr(running, "self_checks", lambda patches: [added(strength=0.5)])
    with pytest.raises(SelfCheckError, match=r"positions generated, write add, strength 0\.5\) changed"):
        run("gpt2", [added()])


@pytest.mark.parametrize("strength", [float("nan"), float("inf"), -float("inf"), 1e39])
@pytest.mark.parametrize("write", ["replace", "add"])
def test_a_strength_that_is_not_finite_is_refused(strength, write):
    with pytest.raises(ValueError, match="strength: expected a finite number"):
        Patch(heads=SOME, write=write, strength=strength)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"write": "subtract"}, "write: expected 'replace' or 'add', got 'subtract'"),
        ({"donor": "emotion", "reference": "neutral"}, "a replacement has no reference"),
        ({"donor": "zero", "reference": "neutral", "write": "add"}, "activations, got 'zero'"),
        ({"donor": "emotion", "write": "add"}, "donor 'emotion' needs a reference"),
    ],
)
def test_writes_that_mean_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Patch(heads=SOME, **options)


@pytest.mark.parametrize("reference", ["nobody", "zero", "self"])
@pytest.mark.parametrize("donor", ["emotion", "self"])
def test_a_reference_that_is_no_donor_of_the_batch_is_refused(reference, donor):
    with pytest.raises(KeyError, match=f"no donor named '{reference}'"):
        run("gpt2", [added(donor=donor, reference=reference)])


def test_an_added_donor_that_is_none_of_the_batch_is_refused():
    with pytest.raises(KeyError, match="no donor named 'nobody'"):
        run("gpt2", [added(donor="nobody")])
