"""Laws of drawing: neither how many rows' logits are made at once nor rough logits change a token."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from phase7.engine.decode import drawing, logits
from phase7.engine.decode.drawing import Drawing, Unembedding, draw_together
from phase7.engine.decode.sampling import gumbel_noise, sample, sample_changed
from phase7.engine.model.bridge import unembedding_weight
from phase7.engine.model.rough import RoughUnembedding
from phase7.engine.patch.patching import Patch
from phase7.experiment.profile import Sampling
from tests import tiny
from tests.properties.test_sharing_laws import ALL_HEADS, run

PATCHES = [Patch(heads=(head,), donor=donor) for head in ALL_HEADS for donor in ("emotion", "zero")]


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("samples", [1, 3])
def test_pieces_of_any_size_give_the_same_bits(monkeypatch, architecture, samples):
    model = tiny.load(architecture)
    sampling = Sampling(max_new_tokens=6, seed=2, samples=samples)
    whole = run(model, PATCHES, sampling)
    monkeypatch.setattr(logits, "ROWS_AT_ONCE", 16)
    pieces = run(model, PATCHES, sampling)
    np.testing.assert_array_equal(whole.baseline_tokens, pieces.baseline_tokens)
    np.testing.assert_array_equal(whole.patched_tokens, pieces.patched_tokens)
    np.testing.assert_array_equal(whole.kl_first_token_nats, pieces.kl_first_token_nats)
    assert len(np.unique(whole.patched_tokens.reshape(-1, 6), axis=0)) > 3
    assert (whole.kl_first_token_nats > 0).any()


def drawn_alone(one, states, *, unembed, rows=None, step=0, row_block=2):
    every, histories = np.arange(len(states)), np.zeros(len(states), dtype=np.int64)
    rows = every if rows is None else rows
    begun = one.begin(states, slots=every, rows=rows, histories=histories, step=step)
    (drawn,) = draw_together([begun], Unembedding(exact=unembed, rough=None, row_block=row_block))
    return drawn


@pytest.mark.parametrize("row_block", [2, 16])
def test_logits_are_made_for_a_piece_of_whole_blocks_at_a_time(row_block):
    made: list[int] = []

    def unembed(states: torch.Tensor) -> torch.Tensor:
        made.append(len(states))
        return states @ torch.eye(8, 50)

    n_rows = logits.ROWS_AT_ONCE + 3
    one = Drawing(None, prompt="p", sampling=Sampling(temperature=0.0), n_rows=n_rows, n_checks=1)
    states = torch.randn(n_rows, 8)
    drawn = drawn_alone(one, states, unembed=unembed, row_block=row_block)
    assert made == [logits.ROWS_AT_ONCE, 4 if row_block == 2 else 16]
    assert drawn.shape == (n_rows,)


def test_a_self_check_row_that_differs_widens_the_gap():
    """Liveness of the reported gap, and of the divergence beside it."""
    states = torch.zeros(4, 8)
    states[3, 5] = 0.25
    one = Drawing(None, prompt="p", sampling=Sampling(), n_rows=4, n_checks=1)
    drawn_alone(one, states, unembed=lambda x: x)
    assert one.max_self_logit_gap == 0.25
    assert one.kl_first_token[:3].tolist() == [0, 0, 0] and one.kl_first_token[3] > 0


@pytest.mark.parametrize("step", [0, 1])
def test_a_row_with_its_baselines_bits_is_drawn_without_logits_of_its_own(step):
    """Rows 4 and 5 are those of samples 0 and 1; row 3 differs in one bit, and row 2 altogether."""
    made: list[int] = []

    def unembed(states: torch.Tensor) -> torch.Tensor:
        made.append(len(states))
        return states @ torch.eye(8, 50)

    states = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    states[3] = states[1]
    states[3, 2] = torch.nextafter(states[3, 2], torch.tensor(torch.inf))
    states[4:6] = states[:2]
    sampling = Sampling(samples=2, temperature=2.0, top_p=1.0)
    one = Drawing(None, prompt="p", sampling=sampling, n_rows=6, n_checks=2)
    drawn = drawn_alone(one, states, unembed=unembed, step=step)
    assert made == [4]
    assert drawn[4:].tolist() == drawn[:2].tolist() and drawn[0] != drawn[1]
    assert one.max_self_logit_gap == 0.0
    # Where a baseline has ended, its row has nothing to be equal to.
    drawn_alone(one, states, unembed=unembed, rows=np.array([1, 4, 5]), step=step + 1)
    assert made == [4, 2]


def test_what_several_prompts_need_is_made_by_one_product_of_each_kind(monkeypatch):
    """Own logits of all, rough ones of all, and own ones of those that the error leaves open."""
    weight, n_rows = torch.randn(50, 8, generator=torch.Generator().manual_seed(0)), 10
    rough, made = RoughUnembedding(weight), []
    changes = rough.changes
    monkeypatch.setattr(
        rough, "changes", lambda own, others: made.append(("rough", len(own))) or changes(own, others)
    )

    def unembed(states):
        made.append(("exact", len(states)))
        return states @ weight.T

    every, all_states, draws = np.arange(n_rows), [], []
    named = {"sampling": Sampling(), "n_rows": n_rows, "n_checks": 1}
    for number in range(3):
        states = torch.randn(8, generator=torch.Generator().manual_seed(number)).repeat(n_rows, 1)
        states[1:, 3] += 1e-3 * torch.arange(1, n_rows)
        one = Drawing(rough, prompt=f"{number}", **named)
        all_states.append(states)
        draws.append(one.begin(states, slots=every, rows=every, histories=0 * every, step=1))
    unembedding = Unembedding(exact=unembed, rough=rough, row_block=2)
    together = draw_together(draws, unembedding)
    # The baseline and the self-check of each, then the eight rows between them.
    assert made[:2] == [("exact", 3 * 2), ("rough", 3 * 8)] and len(made) <= 3
    for number, (states, found) in enumerate(zip(all_states, together, strict=True)):
        one = Drawing(None, prompt=f"{number}", **named)
        assert found.tolist() == drawn_alone(one, states, unembed=unembed, step=1).tolist()


def rough_model(architecture: str):
    """A tiny model with rough logits, also where the processor would not have them."""
    model = tiny.load(architecture)
    return dataclasses.replace(model, rough=RoughUnembedding(unembedding_weight(model)))


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    architecture=st.sampled_from(tiny.ARCHITECTURES),
    samples=st.integers(1, 3),
    seed=st.integers(0, 99),
    temperature=st.sampled_from([0.0, 0.3, 0.8, 1.5]),
    top_p=st.sampled_from([0.3, 0.9, 1.0]),
    donor=st.sampled_from(["emotion", "zero"]),
)
def test_rough_logits_change_no_token(architecture, samples, seed, temperature, top_p, donor):
    patches = [
        Patch(heads=(h,), donor=donor, positions=p) for h in ALL_HEADS for p in ("last", "generated")
    ]
    sampling = Sampling(
        max_new_tokens=8, seed=seed, samples=samples, temperature=temperature, top_p=top_p
    )
    model = rough_model(architecture)
    rough, full = (run(model, patches, sampling, rough_logits=r) for r in (True, False))
    np.testing.assert_array_equal(rough.baseline_tokens, full.baseline_tokens)
    np.testing.assert_array_equal(rough.patched_tokens, full.patched_tokens)
    np.testing.assert_array_equal(rough.kl_first_token_nats, full.kl_first_token_nats)
    assert rough.max_self_logit_gap == full.max_self_logit_gap == 0.0


def test_rough_logits_settle_most_rows_close_to_another(monkeypatch):
    """Liveness of the law above: rows are drawn without logits of their own."""
    looked_at, left = [], []
    near = drawing.Drawing._draw_near

    def count(self, now, rows, references):
        rest = yield from near(self, now, rows, references)
        looked_at.append(rows.size)
        left.append(rest.size)
        return rest

    monkeypatch.setattr(drawing.Drawing, "_draw_near", count)
    patches = [Patch(heads=(h,), donor="emotion", positions="last") for h in ALL_HEADS for _ in range(3)]
    run(rough_model("gpt2"), patches, Sampling(max_new_tokens=8, seed=1))
    assert sum(looked_at) > 40
    assert sum(left) < 0.7 * sum(looked_at)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    width=st.sampled_from([8, 64, 300]),
    size=st.floats(1e-4, 10.0),
    offset=st.floats(0.0, 5.0),
)
def test_the_bound_of_the_error_holds(seed, width, size, offset):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    weight = draw(90, width) * torch.exp(draw(90, 1)) + offset
    references = draw(7, width) * 5
    states = references + size * draw(7, width) * torch.exp(2 * draw(1, width))
    changes, error = RoughUnembedding(weight).changes(states, references)
    plain = states @ weight.T - references @ weight.T - changes.float()
    exact = (states.double() - references.double()) @ weight.double().T - changes.double()
    for off in (plain.double(), exact):
        spread = (off.amax(dim=1) - off.amin(dim=1)) / 2  # the best constant of each row
        assert (spread <= error).all()
    assert (error > 0).all()
    # And it is of use: smaller than the changes that it is an error of, if those are not tiny.
    if size >= 1:
        assert error.median() < 0.3 * changes.float().abs().amax(dim=1).median()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    n_vocab=st.sampled_from([3, 40, 700, 5000]),
    spread=st.sampled_from([0.5, 3.0, 10.0]),
    error=st.sampled_from([0.001, 0.05, 0.3]),
    temperature=st.sampled_from([0.0, 0.8, 1.3]),
    top_p=st.sampled_from([0.2, 0.9, 1.0]),
)
def test_a_certain_token_is_drawn_from_all_logits_within_the_error(
    seed, n_vocab, spread, error, temperature, top_p
):
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(n_vocab, generator=generator)
    changes = (0.2 * torch.randn(20, n_vocab, generator=generator)).bfloat16()
    errors = torch.full((20,), error)
    noise = gumbel_noise(seed=seed, prompt="p", n_samples=1, step=1, n_vocab=n_vocab)
    how = {"temperature": temperature, "top_p": top_p}
    centre = logits + changes.float()
    signs = torch.sign(torch.randn(20, n_vocab, generator=generator))
    drawn = sample(centre, noise, **how)
    worst = -torch.ones(20, n_vocab)
    worst[torch.arange(20), drawn] = 1
    for shift in (0 * signs, signs, -signs, worst, -worst):
        true = centre + error * shift + 2.5
        tokens, certain = near_one(logits, changes, errors, noise[0], exact=exactly(true), **how)
        assert torch.equal(sample(true, noise, **how)[certain], tokens[certain])


def test_rows_near_several_others_are_drawn_as_beside_each_alone():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(3, 700, generator=generator)
    changes = (0.2 * torch.randn(20, 700, generator=generator)).bfloat16()
    errors, of = 0.02 * torch.rand(20, generator=generator), torch.arange(20) * 7 % 3
    noise = gumbel_noise(seed=1, prompt="p", n_samples=3, step=1, n_vocab=700)
    true = logits[of] + changes.float()
    how = {"temperature": 0.8, "top_p": 0.9}
    tokens, certain = sample_changed(logits, changes, errors, noise, of=of, exact=exactly(true), **how)
    assert certain.sum() >= 10 and len({*tokens.tolist()}) >= 3
    for one in range(3):
        some = of == one
        alone = near_one(
            logits[one], changes[some], errors[some], noise[one], exact=exactly(true[some]), **how
        )
        assert torch.equal(tokens[some], alone[0]) and torch.equal(certain[some], alone[1])


def near_one(logits, changes, errors, noise, **how):
    """`sample_changed` of rows that all lie close to the same."""
    of = torch.zeros(len(changes), dtype=torch.int64)
    return sample_changed(logits[None], changes, errors, noise[None], of=of, **how)


def exactly(logits):
    """For `sample_changed`: the logits that are asked for, to the rounding of float32."""
    return lambda rows, tokens: (
        logits[rows, tokens].double(),
        torch.full((len(rows),), 1e-5, dtype=torch.float64),
    )


def test_candidates_within_the_error_are_compared_by_their_exact_logits():
    logits, noise = torch.tensor([2.0, 1.99, 0.0, -1.0] * 200), torch.zeros(800)
    noise[2:] = -9
    changes, errors = torch.zeros(2, 800).bfloat16(), torch.tensor([0.1, 0.1])
    true = logits.repeat(2, 1)
    true[1, 1] = 2.02
    asked = []

    def exact(rows, tokens):
        asked.append((rows.tolist(), tokens.tolist()))
        return exactly(true)(rows, tokens)

    how = {"temperature": 1.0, "top_p": 1.0}
    tokens, certain = near_one(logits, changes, errors, noise, exact=exact, **how)
    assert (tokens.tolist(), certain.tolist()) == ([0, 1], [True, True])
    assert asked == [([0, 0, 1, 1], [0, 1, 0, 1])]
    far = near_one(logits, changes, 0 * errors, noise, exact=exact, **how)
    assert (far[0].tolist(), len(asked)) == ([0, 0], 1)
    off = lambda rows, tokens: (true[rows, tokens].double(), torch.full((len(rows),), 0.05).double())  # noqa: E731
    assert not near_one(logits, changes, errors, noise, exact=off, **how)[1].any()


def test_what_lies_outside_the_nucleus_is_proposed_again():
    """The first proposal has the largest noise and hardly any mass above it is left."""
    logits, noise = torch.full((600,), -30.0), torch.zeros(600)
    logits[:3], noise[7] = torch.tensor([1.0, 0.5, 0.0]), 90.0
    changes, errors = torch.zeros(1, 600).bfloat16(), torch.tensor([0.01])
    tokens, certain = near_one(
        logits, changes, errors, noise, temperature=1.0, top_p=0.9, exact=exactly(logits[None])
    )
    assert (tokens.tolist(), certain.tolist()) == ([0], [True])


def test_the_exact_logits_are_those_of_the_weight_within_their_error():
    generator = torch.Generator().manual_seed(0)
    weight, states = torch.randn(90, 64, generator=generator), torch.randn(5, 64, generator=generator)
    tokens = torch.tensor([3, 88, 3, 0, 41])
    logits, error = RoughUnembedding(weight).logits_of(states, tokens)
    expected = (states.double() @ weight.double().T)[torch.arange(5), tokens]
    torch.testing.assert_close(logits, expected, rtol=1e-12, atol=1e-12)
    plain = (states @ weight.T)[torch.arange(5), tokens]
    assert ((plain - logits).abs() <= error).all() and (error < 1e-2).all()


def test_most_tokens_are_certain_when_the_error_is_small_and_none_when_it_is_large():
    generator = torch.Generator().manual_seed(0)
    logits, changes = torch.randn(2000, generator=generator) * 3, torch.zeros(200, 2000).bfloat16()
    nothing = lambda rows, tokens: (torch.zeros(len(rows)), torch.full((len(rows),), 1e9))  # noqa: E731
    shares = []
    for error in (1e-3, 0.1, 50.0):
        n_certain = 0
        for step in range(30):
            noise = gumbel_noise(seed=1, prompt="p", n_samples=1, step=step, n_vocab=2000)[0]
            errors = torch.full((200,), error)
            certain = near_one(
                logits, changes, errors, noise, temperature=0.8, top_p=0.9, exact=nothing
            )[1]
            n_certain += int(certain.sum())
        shares.append(n_certain / 6000)
    assert shares[0] > 0.8 > shares[1] > shares[2] == 0
