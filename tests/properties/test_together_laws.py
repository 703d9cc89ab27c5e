"""Laws of prompts that are decoded together: each has the continuations that it has alone, to the bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phase7.engine.decode import loop, together
from phase7.engine.decode.loop import Request, generate, generate_together
from phase7.engine.decode.together import can_run_together
from phase7.engine.model.loading import load_model
from phase7.engine.model.tokens import encode
from phase7.engine.patch.capture import capture
from phase7.engine.patch.donors import DonorSum
from phase7.engine.patch.patching import Patch
from phase7.experiment.profile import Sampling
from phase7.vocabulary.heads import parse_heads
from phase7.vocabulary.modes import MODES
from tests import tiny

ALL_HEADS = parse_heads("all", n_layers=tiny.N_LAYERS, n_heads=tiny.N_HEADS)
TEXTS = ("Buses leave at ten past the hour", "The kettle is on", "She wrote it on a card near the door")
DONORS = ("Thank you so much, I am grateful", "I am so sorry about the noise", "What a day")
LAW = settings(max_examples=8, deadline=None, derandomize=True)

patch_lists = st.lists(
    st.builds(
        Patch,
        heads=st.lists(st.sampled_from(ALL_HEADS), min_size=1, max_size=2, unique=True).map(
            lambda heads: tuple(sorted(heads))
        ),
        mode=st.sampled_from(MODES),
        donor=st.sampled_from(["self", "zero", "emotion"]),
        positions=st.sampled_from(["generated", "last"]),
    ),
    min_size=1,
    max_size=6,
)


def requests(model, patches) -> list[Request]:
    """Each prompt with a donor and patches of its own."""
    return [
        Request(
            prompt=text,
            tokens=encode(model, text, "raw"),
            patches=of_prompt,
            donors={"emotion": DonorSum([capture(model, encode(model, donor, "raw"), all_queries=False)]).mean()},
        )
        for text, donor, of_prompt in zip(TEXTS, DONORS, patches, strict=False)
    ]  # fmt: skip


def alone(model, asked, sampling):
    return [
        generate(model, one.prompt, one.tokens, one.patches, donors=one.donors, sampling=sampling)
        for one in asked
    ]


def assert_same(found, expected) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.baseline_tokens, other.baseline_tokens)
        np.testing.assert_array_equal(one.patched_tokens, other.patched_tokens)
        np.testing.assert_array_equal(one.kl_first_token_nats, other.kl_first_token_nats)
        assert one.n_self_rows == other.n_self_rows
        assert one.max_self_logit_gap == other.max_self_logit_gap == 0.0


@LAW
@given(
    architecture=st.sampled_from(tiny.ARCHITECTURES),
    patches=st.lists(patch_lists, min_size=2, max_size=3),
    samples=st.integers(1, 3),
    seed=st.integers(0, 99),
    n_ends=st.integers(0, 30),
)
def test_prompts_together_have_the_bits_they_have_alone(architecture, patches, samples, seed, n_ends):
    """Whatever their lengths, donors, patches, noise, and the step at which each row ends."""
    ends = frozenset(range(0, tiny.N_VOCAB, tiny.N_VOCAB // n_ends)) if n_ends else frozenset()
    model = dataclasses.replace(tiny.load(architecture), eos_ids=ends)
    assert can_run_together(model)
    asked = requests(model, patches)
    sampling = Sampling(max_new_tokens=8, temperature=1.0, top_p=0.95, seed=seed, samples=samples)
    assert_same(generate_together(model, asked, sampling=sampling), alone(model, asked, sampling))


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_they_pass_the_model_together(architecture):
    """Liveness: the law would hold as well for prompts that run one after the other."""
    model = tiny.load(architecture)
    asked = requests(model, [[Patch(heads=(ALL_HEADS[0],), donor="zero")]] * 3)
    rows: list[int] = []
    note = model.bridge.blocks[0].mlp.register_forward_hook(
        lambda module, args, out: rows.append(len(out)) if out.shape[1] == 1 else None
    )
    try:
        generate_together(model, asked, sampling=Sampling(max_new_tokens=4, seed=1, samples=2))
    finally:
        note.remove()
    prompts, steps = rows[:-4], rows[-4:]
    assert len(steps) == 4
    assert min(steps) >= 3 * 2
    assert not prompts or together._WHOLE_PROMPTS in model.compared


def test_an_attention_runs_once_for_all_prompts_where_it_can():
    ways = {architecture: tiny.load(architecture) for architecture in tiny.ARCHITECTURES}
    assert all(map(can_run_together, ways.values()))
    once = {name for name, model in ways.items() if together._ONE_ATTENTION in model.compared}
    assert once == {*tiny.ARCHITECTURES} - {"gpt_neo"}


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_one_after_the_other_gives_the_same(architecture):
    """The other way, which these architectures do not take."""
    apart = dataclasses.replace(tiny.load(architecture), compared={"together"})
    heads = [Patch(heads=(head,), donor="emotion") for head in ALL_HEADS[:4]]
    composed = [dataclasses.replace(patch, mode="pattern_v") for patch in heads]
    asked = requests(apart, [heads, composed, heads[:1]])
    sampling = Sampling(max_new_tokens=8, seed=3, samples=2)
    assert_same(generate_together(apart, asked, sampling=sampling), alone(apart, asked, sampling))


@pytest.mark.parametrize("compared", [{"together"}, {"together", together._ONE_ATTENTION}])
def test_a_batch_that_is_given_anothers_cache_is_noticed(compared, monkeypatch):
    """Liveness: an attention that reads a wrong prompt's keys and values changes the tokens."""
    model = dataclasses.replace(tiny.load("llama"), compared=compared)
    asked = requests(model, [[Patch(heads=(ALL_HEADS[0],), donor="zero")]] * 2)
    sampling = Sampling(max_new_tokens=8, temperature=1.0, seed=1)
    expected = alone(model, asked, sampling)
    mix_up(monkeypatch)
    try:
        found = generate_together(model, asked, sampling=sampling)
    except Exception:
        return
    assert not np.array_equal(found[1].baseline_tokens, expected[1].baseline_tokens)


def test_where_the_bits_would_differ_each_runs_alone(monkeypatch):
    """Plain products, and whatever the comparison of a loaded model finds."""
    files = tiny.load("gpt2").files
    plain = load_model(files, pack=False)
    assert not can_run_together(plain)
    wrong = load_model(files)
    mix_up(monkeypatch)
    assert not can_run_together(wrong)
    assert "apart" in wrong.compared
    monkeypatch.setattr(loop.Together, "forward", _only_one(loop.Together.forward))
    sampling = Sampling(max_new_tokens=4, seed=1)
    for model in (plain, wrong):
        asked = requests(model, [[Patch(heads=(ALL_HEADS[0],), donor="zero")]] * 2)
        assert_same(generate_together(model, asked, sampling=sampling), alone(model, asked, sampling))


def mix_up(monkeypatch):
    """Let a prompt read another's keys and values, whichever way attentions run."""
    side_by_side = together.side_by_side
    monkeypatch.setattr(together._Given, "of", lambda self, value: value)
    monkeypatch.setattr(
        together, "side_by_side", lambda caches, n_rows: side_by_side(caches[::-1], n_rows)
    )


@pytest.mark.parametrize("positions", ["generated", "all"])
def test_patched_prompts_run_one_after_the_other(positions, monkeypatch):
    model = tiny.load("llama")
    assert can_run_together(model)
    patches = [Patch(heads=(ALL_HEADS[0],), donor="zero", positions=positions)]
    asked, sampling = requests(model, [patches] * 2), Sampling(max_new_tokens=4, seed=1)
    n_running: list[int] = []
    forward = loop.Together.forward
    monkeypatch.setattr(
        loop.Together,
        "forward",
        lambda self, *args: n_running.append(len(args[0])) or forward(self, *args),
    )
    assert_same(generate_together(model, asked, sampling=sampling), alone(model, asked, sampling))
    assert max(n_running) == (2 if positions == "generated" else 1)


def _only_one(forward):
    def one(self, running, ids, first):
        assert len(running) == 1
        return forward(self, running, ids, first)

    return one
