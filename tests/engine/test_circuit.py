"""Paths of a head's effect and direct attribution, against plain transformers with hooks by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pytest
import torch

from phase7.engine.decode.circuit import head_paths
from phase7.engine.decode.direct import direct_attribution
from phase7.engine.decode.paths import patched_paths
from phase7.engine.decode.written import set_weights
from phase7.engine.patch.capture import capture
from phase7.engine.patch.donors import Donor, DonorSum
from phase7.vocabulary.circuits import LETTERS, LOGITS, MLP, Reader
from phase7.vocabulary.heads import Head
from tests import tiny
from tests.engine.test_attribution import tokens_of
from tests.plain_frozen import PlainFrozen

PATH = (41, 300, 7, 262)
WEIGHTS = set_weights(tiny.N_VOCAB, (5, 41, 262))
EMOTION = ("Thank you so much", "I am so sorry about it")
NEUTRAL = ("The buses leave at ten", "She wrote a card")
HEADS = (Head(0, 1), Head(1, 2))


@cache
def donors_of(architecture: str) -> tuple[Donor, Donor]:
    model = tiny.load(architecture)
    emotion, neutral = (
        DonorSum(capture(model, tokens_of(architecture, t), all_queries=True) for t in texts).mean()
        for texts in (EMOTION, NEUTRAL)
    )
    return emotion, neutral


@cache
def plain_of(architecture: str) -> PlainFrozen:
    return PlainFrozen(architecture, tokens_of(architecture), PATH, WEIGHTS)


def paths_of(architecture: str, heads: Sequence[Head] = HEADS, **given):
    donor, reference = donors_of(architecture)
    given = {"mode": "result", "positions": "generated", "n_nodes": 24, "reference": reference} | given
    tokens = given.pop("tokens", tokens_of(architecture))
    path = given.pop("path", PATH)
    return head_paths(
        tiny.load(architecture), tokens, path, heads, donor=donor, weights=WEIGHTS, **given
    )


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_direct_attributions_are_those_of_plain_transformers_and_sum_to_the_read_out(architecture):
    got = direct_attribution(tiny.load(architecture), tokens_of(architecture), PATH, weights=WEIGHTS)
    expected = plain_of(architecture).direct()
    assert abs(expected["total"]) > 0.1
    assert got.total == pytest.approx(expected["total"], abs=1e-4)
    assert abs(got.gap) < 1e-4
    np.testing.assert_allclose(got.heads, expected["heads"], atol=1e-4)
    np.testing.assert_allclose(got.mlps, expected["mlps"], atol=1e-4)
    np.testing.assert_allclose(got.biases, expected["biases"], atol=1e-4)
    assert got.embedding == pytest.approx(expected["embedding"], abs=1e-4)
    for part in (got.heads, got.mlps):  # liveness: leaving one out would be seen
        assert np.abs(part).min() > 1e-4


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("positions", ["generated", "all"])
def test_effects_are_those_of_plain_transformers_with_frozen_norms(architecture, positions):
    plain, (donor, reference) = plain_of(architecture), donors_of(architecture)
    got = paths_of(architecture, positions=positions, n_nodes=1)
    assert got.baseline == pytest.approx(plain.read({}), abs=1e-4)
    for effect, head in zip(got.effect, HEADS, strict=True):
        values = [plain.read({head: plain.written(one, head, positions)}) for one in (donor, reference)]
        assert abs(values[0] - values[1]) > 1e-3
        assert effect == pytest.approx(values[0] - values[1], abs=1e-4)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize(("mode", "positions"), [("result", "generated"), ("v_only", "all")])
def test_paths_over_all_readers_sum_to_the_effect(architecture, mode, positions):
    got = paths_of(architecture, mode=mode, positions=positions)
    assert np.abs(got.effect).min() > 1e-3
    assert np.abs(got.gap).max() < 1e-4
    coarse = paths_of(architecture, mode=mode, positions=positions, n_nodes=1)
    assert np.abs(coarse.gap).max() > 10 * np.abs(got.gap).max()
    indirect = np.abs(got.heads).max(axis=(1, 2)) > 1e-5  # through queries, keys and values alike
    assert indirect[0].all() and np.abs(got.mlps).max() > 1e-5


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_only_what_comes_later_reads_a_head(architecture):
    got = paths_of(architecture)
    is_parallel = tiny.load(architecture).is_parallel
    for number, head in enumerate(HEADS):
        assert not got.heads[number, : head.layer + 1].any()
        assert got.heads[number, head.layer + 1 :].all()
        assert not got.mlps[number, : head.layer + is_parallel].any()
        assert got.mlps[number, head.layer + is_parallel :].all()


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_one_node_is_the_derivative_halfway_by_differences(architecture):
    """Of every reader, in plain transformers: the reader alone is given a little more of the change."""
    plain, (donor, reference) = plain_of(architecture), donors_of(architecture)
    head = HEADS[0]
    got = paths_of(architecture, (head,), n_nodes=1)
    written = [plain.written(one, head, "generated") for one in (donor, reference)]
    halfway = {head: (written[0] + written[1]) / 2}
    added = plain.added(head, written[0] - written[1])
    readers = [Reader(LOGITS), Reader(MLP, 1), Reader(MLP, 2)]
    readers += [Reader(letter, 1 + number % 2, number) for letter in LETTERS for number in range(4)]
    for reader in readers:
        either = [plain.read(halfway, given={reader: sign * 1e-3 * added}) for sign in (1, -1)]
        slope = (either[0] - either[1]) / 2e-3
        part, layer, at = reader
        if part == LOGITS:
            found = got.direct[0]
        elif part == MLP:
            found = got.mlps[0, layer]
        else:
            found = got.heads[0, layer, at, LETTERS.index(part)]
        assert found == pytest.approx(slope, abs=2e-4 * max(1.0, np.abs(got.heads).max())), reader.label


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_path_patching_gives_one_reader_alone_what_the_head_adds(architecture):
    plain, (donor, reference) = plain_of(architecture), donors_of(architecture)
    head = HEADS[0]
    written = [plain.written(one, head, "generated") for one in (donor, reference)]
    added = plain.added(head, written[0] - written[1])
    readers = [Reader(LOGITS), Reader(MLP, 1), Reader("q", 1, 3), Reader("k", 1, 1), Reader("v", 2, 2)]
    got = patched_paths(
        tiny.load(architecture), tokens_of(architecture), PATH, head, readers,
        donor=donor, reference=reference, weights=WEIGHTS,
    )  # fmt: skip
    base = plain.read({})
    expected = [plain.read({}, given={reader: added}) - base for reader in readers]
    assert np.abs(expected).min() > 1e-5
    np.testing.assert_allclose(got, expected, atol=1e-4)
    assert got[0] == pytest.approx(paths_of(architecture, (head,), n_nodes=1).direct[0], abs=1e-5)


def test_heads_are_the_same_alone_and_in_many_passes():
    """More heads than one pass takes."""
    many = tuple(Head(layer, head) for layer in range(tiny.N_LAYERS) for head in range(tiny.N_HEADS))
    whole, alone = paths_of("llama", many, n_nodes=2), paths_of("llama", (many[9],), n_nodes=2)
    assert len(whole.effect) == 12
    for name in ("effect", "direct", "mlps", "heads"):
        np.testing.assert_allclose(getattr(whole, name)[9], getattr(alone, name)[0], atol=1e-5)


def test_without_a_reference_the_effect_is_that_on_the_unpatched_run():
    plain, (donor, _) = plain_of("llama"), donors_of("llama")
    got = paths_of("llama", (HEADS[1],), reference=None)
    value = plain.read({HEADS[1]: plain.written(donor, HEADS[1], "generated")})
    assert got.effect[0] == pytest.approx(value - plain.read({}), abs=1e-4)
    assert np.abs(got.gap).max() < 1e-4


def test_equal_donors_have_no_effect_through_any_path():
    donor, _ = donors_of("llama")
    got = paths_of("llama", reference=donor)
    assert not got.effect.any() and not got.direct.any() and not got.mlps.any() and not got.heads.any()


def test_a_prompt_of_one_token_and_a_path_of_none_are_read_at_the_first_step():
    got = paths_of("llama", tokens=(41,), path=())
    longer = paths_of("llama", tokens=(41,), path=(300,))
    assert np.abs(got.gap).max() < 1e-4
    np.testing.assert_allclose(got.effect, longer.effect, atol=1e-5)


REFUSED: list[tuple[Callable[[], object], str]] = [
    (lambda: paths_of("llama", ()), "expected at least one head"),
    (lambda: direct_attribution(tiny.load("llama"), (1, 2), (), weights=WEIGHTS[1:]), "320 finite numbers"),
    (lambda: patched_paths(tiny.load("llama"), (1, 2), (), HEADS[1], [Reader("q", 1, 0)], donor=donors_of("llama")[0], reference=None, weights=WEIGHTS), "no reader behind head 1:2"),
]  # fmt: skip


@pytest.mark.parametrize(("ask", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_cannot_be_measured_is_refused(ask, message):
    with pytest.raises(ValueError, match=message):
        ask()


def test_the_weights_of_a_set_are_its_mean_less_that_of_all():
    logits = np.random.default_rng(0).normal(size=12)
    assert logits @ set_weights(12, (3, 5, 3)) == pytest.approx(logits[[3, 5]].mean() - logits.mean())


def test_gradients_leave_the_model_as_it_was():
    model = tiny.load("llama")
    before = {name: one.clone() for name, one in model.bridge.named_parameters()}
    paths_of("llama", n_nodes=1)
    assert all(torch.equal(before[name], one) for name, one in model.bridge.named_parameters())
    hooks = [
        m for m in model.differentiable.bridge.modules() if m._forward_pre_hooks or m._forward_hooks
    ]
    assert [m for m in hooks if type(m).__name__ in ("LinearBridge", "MLPBridge")] == []
