"""The laws of the shared noise and of sampling, against NumPy and SciPy references."""

from __future__ import annotations

import signal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from phase7.engine.decode.sampling import gumbel_noise, sample

LAW = settings(max_examples=80, deadline=None, derandomize=True)
IDENTITY = {"seed": 7, "prompt": "The kettle is on", "step": 3}


def noise_of(*, n_samples: int = 1, n_vocab: int = 64, **changes) -> np.ndarray:
    return gumbel_noise(**(IDENTITY | changes), n_samples=n_samples, n_vocab=n_vocab).numpy()


def draw(logits: np.ndarray, noise: np.ndarray | None, *, temperature=1.0, top_p=1.0) -> np.ndarray:
    rows = torch.from_numpy(np.asarray(logits, dtype=np.float32))
    shared = None if noise is None else torch.from_numpy(np.asarray(noise, dtype=np.float32))
    return sample(rows, shared, temperature=temperature, top_p=top_p).numpy()


# --- the noise ---------------------------------------------------------------------------------


@LAW
@given(
    seed=st.integers(0, 2**63 - 1),
    prompt=st.text(max_size=20),
    step=st.integers(0, 1000),
    n_samples=st.integers(1, 5),
)
def test_a_samples_noise_depends_on_neither_the_number_of_samples_nor_earlier_calls(
    seed, prompt, step, n_samples
):
    identity = {"seed": seed, "prompt": prompt, "step": step}
    whole = noise_of(**identity, n_samples=5)
    noise_of(seed=seed ^ 1, prompt="another", step=0)
    np.testing.assert_array_equal(noise_of(**identity, n_samples=n_samples), whole[:n_samples])
    assert whole.dtype == np.float32
    assert whole.shape == (5, 64)


def test_the_noise_neither_reads_nor_moves_the_global_generators():
    torch.manual_seed(1)
    np.random.seed(1)
    first = noise_of()
    after = (torch.rand(1).item(), np.random.rand())
    torch.manual_seed(1)
    np.random.seed(1)
    assert after == (torch.rand(1).item(), np.random.rand())
    np.testing.assert_array_equal(noise_of(), first)


@LAW
@given(
    first=st.tuples(st.integers(0, 3), st.sampled_from(["", "a", "b", "ab", "a ", "é", "e\u0301"]), st.integers(0, 3)),
    second=st.tuples(st.integers(0, 3), st.sampled_from(["", "a", "b", "ab", "a ", "é", "e\u0301"]), st.integers(0, 3)),
)  # fmt: skip
def test_noise_is_the_same_exactly_where_seed_prompt_and_step_are(first, second):
    names = ("seed", "prompt", "step")
    one = noise_of(**dict(zip(names, first, strict=True)))
    other = noise_of(**dict(zip(names, second, strict=True)))
    assert np.array_equal(one, other) == (first == second)
    if first != second:
        assert (one == other).mean() < 0.05


@pytest.mark.parametrize(
    "change",
    [{"seed": 8}, {"prompt": "The kettle is on "}, {"step": 4}],
    ids=["seed", "prompt", "step"],
)
def test_every_part_of_the_identity_changes_the_noise(change):
    one, other = noise_of(n_vocab=4000)[0], noise_of(n_vocab=4000, **change)[0]
    assert (one == other).mean() < 0.01
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.06


def test_samples_of_one_prompt_have_independent_noise():
    noise = noise_of(n_samples=6, n_vocab=4000)
    correlations = np.corrcoef(noise)[np.triu_indices(6, 1)]
    assert np.abs(correlations).max() < 0.07


def test_the_digits_of_sample_and_step_do_not_run_together():
    one = noise_of(seed=1, step=11, n_samples=2)
    other = noise_of(seed=11, step=1, n_samples=2)
    assert not np.array_equal(one, other)
    assert not np.array_equal(noise_of(step=1, n_samples=12)[11], noise_of(step=11, n_samples=2)[1])


def test_the_noise_is_standard_gumbel():
    noise = noise_of(n_vocab=40_000)[0]
    assert stats.kstest(noise, stats.gumbel_r.cdf).pvalue > 0.01
    assert stats.kstest(noise, stats.gumbel_r(loc=0.05).cdf).pvalue < 1e-4  # power of the line above


def test_the_noise_is_what_its_definition_says(monkeypatch):
    """-log(-log(u)) of u = (k + 1/2) / 2^52, for the upper 52 bits k of a raw draw, by plain arithmetic."""
    raw = np.random.Philox(key=3).random_raw(64)
    raw[:4] = [0, 2**12 - 1, 2**12, 2**64 - 1]

    class Fixed:
        def __init__(self, key):
            pass

        def random_raw(self, n):
            return raw[:n].copy()

    monkeypatch.setattr(np.random, "Philox", Fixed)
    u = (np.array([float(int(one) >> 12) for one in raw]) + 0.5) / 2.0**52
    np.testing.assert_array_equal(noise_of()[0], (-np.log(-np.log(u))).astype(np.float32))


def test_the_noise_of_one_token_over_steps_and_seeds_is_standard_gumbel():
    over_steps = [noise_of(step=step, n_vocab=3)[0, 2] for step in range(1500)]
    over_seeds = [noise_of(seed=seed, n_vocab=3)[0, 0] for seed in range(1500)]
    assert stats.kstest(over_steps, stats.gumbel_r.cdf).pvalue > 0.01
    assert stats.kstest(over_seeds, stats.gumbel_r.cdf).pvalue > 0.01


@pytest.mark.parametrize("raw", [0, 2**11 - 1, 2**53, 2**63, 2**64 - 2**11, 2**64 - 1])
def test_the_noise_is_finite_for_every_raw_draw(monkeypatch, raw):
    class Fixed:
        def __init__(self, key):
            pass

        def random_raw(self, n):
            return np.full(n, raw, dtype=np.uint64)

    monkeypatch.setattr(np.random, "Philox", Fixed)
    assert np.isfinite(noise_of()).all()


def test_the_stream_is_fixed():
    """Computed apart from the package: SHA-256 of the identity keys NumPy's Philox."""
    import hashlib
    import json

    identity = json.dumps(["phase7 noise", 7, "The kettle is on", 1, 3])
    key = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:16], "little")
    uniform = (np.random.Philox(key=key).random_raw(64) / 2.0**64).astype(np.float64)
    np.testing.assert_allclose(
        noise_of(n_samples=2)[1], stats.gumbel_r.ppf(uniform), rtol=1e-5, atol=1e-6
    )


# --- the nucleus -------------------------------------------------------------------------------


def nucleus(logits: np.ndarray, temperature: float, top_p: float) -> tuple[np.ndarray, float]:
    """Which tokens are kept, by sorting: the smallest set of the most probable ones whose mass
    reaches `top_p` (TopPLogitsWarper of transformers), tied tokens kept or dropped together; and how
    close a decision came to the boundary."""
    scaled = logits.astype(np.float64) / temperature
    weights = np.exp(scaled - scaled.max())
    probability = weights / weights.sum()
    order = np.argsort(-probability, kind="stable")
    kept = np.zeros(len(logits), dtype=bool)
    before, closest = 0.0, np.inf
    for level in np.unique(logits)[::-1]:
        if top_p < 1:
            closest = min(closest, abs(before - top_p))
            if before >= top_p:
                break
        tied = logits == level
        kept |= tied
        before += probability[tied].sum()
    assert kept[order[: kept.sum()]].all()
    return kept, float(closest)


def reference(
    logits: np.ndarray, noise: np.ndarray, temperature: float, top_p: float
) -> tuple[int, float]:
    """The token and the margin by which it was decided."""
    kept, closest = nucleus(logits, temperature, top_p)
    score = np.where(kept, logits.astype(np.float64) / temperature + noise, -np.inf)
    best = np.sort(score)[::-1]
    gap = best[0] - best[1] if kept.sum() > 1 else np.inf
    return int(score.argmax()), min(closest, gap / max(1.0, abs(best[0])))


#: Values on the coarse grid give ties; on the fine one they rarely do. None differ by rounding only,
#: where it would be open whether they are tied.
values = st.integers(-12, 12).map(lambda n: n / 4) | st.integers(-8000, 8000).map(lambda n: n / 1000)


@st.composite
def problems(draw_from):
    n_vocab = draw_from(st.integers(1, 24))
    n_rows = draw_from(st.integers(1, 20))
    row = st.lists(values, min_size=n_vocab, max_size=n_vocab)
    logits = draw_from(st.lists(row, min_size=n_rows, max_size=n_rows))
    return np.array(logits, dtype=np.float32)


@LAW
@given(
    logits=problems(),
    top_p=st.sampled_from([0.05, 0.3, 0.5, 0.8, 0.9, 0.95, 0.999, 1.0]),
    temperature=st.sampled_from([0.3, 0.8, 1.0, 2.5]),
    seed=st.integers(0, 10_000),
)
def test_sampling_is_the_perturbed_argmax_in_the_sorted_nucleus(logits, top_p, temperature, seed):
    noise = noise_of(seed=seed, n_vocab=logits.shape[1])
    got = draw(logits, noise, temperature=temperature, top_p=top_p)
    assert got.shape == (len(logits),)
    for row, token in zip(logits, got, strict=True):
        expected, margin = reference(row, noise[0], temperature, top_p)
        if margin > 1e-6:
            assert token == expected


def test_the_reference_agrees_with_transformers():
    """The sort-based reference keeps what TopPLogitsWarper keeps, where no two logits are equal."""
    from transformers import TopPLogitsWarper

    random = np.random.default_rng(3)
    sizes = set()
    for top_p in (0.1, 0.5, 0.9, 0.99):
        logits = random.normal(size=(40, 50)).astype(np.float32) * 2
        warped = TopPLogitsWarper(top_p)(None, torch.from_numpy(logits)).numpy()
        for row, after in zip(logits, warped, strict=True):
            kept, closest = nucleus(row, 1.0, top_p)
            if closest > 1e-6:
                np.testing.assert_array_equal(kept, np.isfinite(after))
                sizes.add(int(kept.sum()))
    assert len(sizes) > 10


@pytest.mark.parametrize("n_vocab", [2, 500, 50_257])
def test_large_vocabularies_agree_with_the_reference(n_vocab):
    random = np.random.default_rng(n_vocab)
    logits = (random.normal(size=(12, n_vocab)) * 3).astype(np.float32)
    logits[6:] = np.round(logits[6:] * 2) / 2  # ties by the thousand
    noise = noise_of(n_samples=3, n_vocab=n_vocab)
    n_decided, n_moved = 0, 0
    for top_p in (0.02, 0.9, 0.98):
        got = draw(logits, noise, temperature=0.8, top_p=top_p)
        free = draw(logits, noise, temperature=0.8, top_p=1.0)
        n_moved += int((got != free).sum())
        for r, (row, token) in enumerate(zip(logits, got, strict=True)):
            expected, margin = reference(row, noise[r % 3], 0.8, top_p)
            if margin > 1e-6:
                n_decided += 1
                assert token == expected
    assert n_decided > 30
    assert n_moved > 0


@LAW
@given(logits=problems(), seed=st.integers(0, 1000))
def test_top_p_one_keeps_every_token(logits, seed):
    noise = noise_of(seed=seed, n_vocab=logits.shape[1])
    np.testing.assert_array_equal(draw(logits, noise), (logits + noise).argmax(axis=1))


@LAW
@given(logits=problems(), seed=st.integers(0, 1000), top_p=st.sampled_from([1e-30, 1e-9, 1e-3]))
def test_a_tiny_top_p_is_the_argmax_and_leaves_ties_to_the_noise(logits, seed, top_p):
    noise = noise_of(seed=seed, n_vocab=logits.shape[1])
    got = draw(logits, noise, top_p=top_p)
    best = logits == logits.max(axis=1, keepdims=True)
    np.testing.assert_array_equal(got, np.where(best, noise, -np.inf).argmax(axis=1))


@pytest.mark.parametrize("top_p", [1e-44, 1e-46, 1e-300, 5e-324])
def test_a_top_p_too_small_for_float32_is_the_argmax_and_comes_to_an_end(top_p):
    def give_up(signum, frame):
        raise TimeoutError("sampling did not come to an end")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, 3)
    try:
        got = draw([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]], [[0.1, 5.0, 0.2]], top_p=top_p)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert got.tolist() == [2, 0]


@LAW
@given(logits=problems(), seed=st.integers(0, 1000), top_p=st.sampled_from([0.1, 0.9, 1.0]))
def test_temperature_zero_is_the_argmax_with_or_without_noise(logits, seed, top_p):
    noise = noise_of(seed=seed, n_vocab=logits.shape[1])
    np.testing.assert_array_equal(draw(logits, noise, temperature=0, top_p=top_p), logits.argmax(1))
    np.testing.assert_array_equal(draw(logits, None, temperature=0, top_p=top_p), logits.argmax(1))


@pytest.mark.parametrize("temperature", [1e-3, 1e-6, 1e-20, 1e-36, 1e-39, 1e-44, 1e-300])
@pytest.mark.parametrize("top_p", [0.9, 1.0])
def test_a_temperature_near_zero_is_the_argmax(temperature, top_p):
    random = np.random.default_rng(1)
    logits = np.array([random.permutation(40) for _ in range(6)], dtype=np.float32)
    got = draw(logits, noise_of(n_vocab=40), temperature=temperature, top_p=top_p)
    np.testing.assert_array_equal(got, logits.argmax(axis=1))


def test_noise_does_change_the_token_where_the_temperature_is_not_zero():
    """Liveness of the argmax laws."""
    logits = np.zeros((1, 30), dtype=np.float32)
    tokens = {int(draw(logits, noise_of(seed=seed, n_vocab=30), top_p=0.9)[0]) for seed in range(40)}
    assert len(tokens) > 10


# --- rows --------------------------------------------------------------------------------------


@LAW
@given(
    logits=problems(),
    data=st.data(),
    top_p=st.sampled_from([0.3, 0.9, 1.0]),
    seed=st.integers(0, 1000),
)
def test_a_rows_token_depends_on_neither_its_neighbours_nor_its_place(logits, data, top_p, seed):
    noise = noise_of(seed=seed, n_vocab=logits.shape[1])
    together = draw(logits, noise, top_p=top_p)
    order = data.draw(st.permutations(range(len(logits))))
    np.testing.assert_array_equal(draw(logits[order], noise, top_p=top_p), together[order])
    row = data.draw(st.integers(0, len(logits) - 1))
    assert draw(logits[row : row + 1], noise, top_p=top_p)[0] == together[row]


@LAW
@given(
    n_samples=st.integers(1, 11),
    n_patches=st.integers(1, 6),
    top_p=st.sampled_from([0.5, 0.9, 1.0]),
    seed=st.integers(0, 1000),
)
def test_row_r_uses_the_noise_of_sample_r_modulo_the_samples(n_samples, n_patches, top_p, seed):
    logits = np.random.default_rng(seed).normal(size=(n_patches * n_samples, 40)).astype(np.float32)
    noise = noise_of(seed=seed, n_samples=n_samples, n_vocab=40)
    got = draw(logits, noise, top_p=top_p)
    alone = [
        draw(logits[r : r + 1], noise[r % n_samples][None], top_p=top_p)[0] for r in range(len(logits))
    ]
    np.testing.assert_array_equal(got, alone)


def test_the_callers_logits_and_noise_are_left_as_they_were():
    random = np.random.default_rng(2)
    logits = torch.from_numpy(random.normal(size=(10, 50)).astype(np.float32))
    noise = torch.from_numpy(noise_of(n_samples=2, n_vocab=50))
    copies = logits.clone(), noise.clone()
    for temperature in (1.0, 0.5):
        sample(logits, noise, temperature=temperature, top_p=0.3)
    assert torch.equal(logits, copies[0])
    assert torch.equal(noise, copies[1])


# --- the distribution --------------------------------------------------------------------------

LOGITS = np.array([2.0, 1.5, 1.5, 0.3, 0.0, -0.5, -1.0, -3.0], dtype=np.float32)


@pytest.mark.parametrize("temperature", [0.7, 1.3])
@pytest.mark.parametrize("top_p", [0.5, 0.8, 0.95, 1.0])
def test_frequencies_over_seeds_are_the_renormalised_nucleus(temperature, top_p):
    n = 3000
    noise = np.concatenate([noise_of(seed=seed, n_vocab=len(LOGITS)) for seed in range(n)])
    tokens = draw(np.repeat(LOGITS[None], n, axis=0), noise, temperature=temperature, top_p=top_p)
    counts = np.bincount(tokens, minlength=len(LOGITS))
    kept, closest = nucleus(LOGITS, temperature, top_p)
    assert closest > 1e-6
    assert (counts[~kept] == 0).all()
    weights = np.where(kept, np.exp(LOGITS.astype(np.float64) / temperature), 0.0)
    expected = n * weights[kept] / weights.sum()
    assert stats.chisquare(counts[kept], expected).pvalue > 0.01
    other = np.exp(LOGITS.astype(np.float64)[kept] / (temperature * 1.3))
    assert stats.chisquare(counts[kept], n * other / other.sum()).pvalue < 0.01  # its power


def test_two_arms_with_nearly_the_same_logits_nearly_always_draw_the_same_token():
    random = np.random.default_rng(4)
    logits = random.normal(size=(1, 100)).astype(np.float32)
    moved = logits + 0.02 * random.normal(size=(1, 100)).astype(np.float32)
    coupled, independent = 0, 0
    for seed in range(400):
        noise = noise_of(seed=seed, n_vocab=100)
        other = noise_of(seed=seed + 10_000, n_vocab=100)
        token = draw(logits, noise, top_p=0.95)[0]
        coupled += int(token == draw(moved, noise, top_p=0.95)[0])
        independent += int(token == draw(moved, other, top_p=0.95)[0])
    assert coupled > 0.95 * 400
    assert independent < 0.2 * 400
