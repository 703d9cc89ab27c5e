"""Laws of shared layers: they, and dropping finished rows, change the time and nothing else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phase7.engine.decode import running
from phase7.engine.decode.loop import generate
from phase7.engine.model.loading import load_model
from phase7.engine.model.tokens import encode
from phase7.engine.patch.capture import capture
from phase7.engine.patch.donors import Donor, DonorSum
from phase7.engine.patch.patching import Patch
from phase7.experiment.profile import Sampling
from phase7.models.files import find_model
from phase7.vocabulary.heads import parse_heads
from phase7.vocabulary.modes import MODES
from tests import tiny

ALL_HEADS = parse_heads("all", n_layers=tiny.N_LAYERS, n_heads=tiny.N_HEADS)
PROMPT = "Buses leave at ten past the hour and stop near"
LAW = settings(max_examples=8, deadline=None, derandomize=True)


def emotion_donor(model) -> Donor:
    texts = ("Thank you so much, I am grateful", "I am so sorry about the noise near the mill.")
    return DonorSum(capture(model, encode(model, t, "raw"), all_queries=False) for t in texts).mean()


def run(model, patches, sampling, **options):
    tokens = encode(model, PROMPT, "raw")
    donors = {"emotion": emotion_donor(model)}
    return generate(model, PROMPT, tokens, patches, donors=donors, sampling=sampling, **options)


patch_lists = st.lists(
    st.builds(
        Patch,
        heads=st.lists(st.sampled_from(ALL_HEADS), min_size=1, max_size=3, unique=True).map(
            lambda heads: tuple(sorted(heads))
        ),
        mode=st.sampled_from(MODES),
        donor=st.sampled_from(["self", "zero", "emotion"]),
        positions=st.sampled_from(["generated", "last"]),
    ),
    min_size=1,
    max_size=30,
)


@LAW
@given(
    architecture=st.sampled_from(tiny.ARCHITECTURES),
    patches=patch_lists,
    samples=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_shared_layers_give_the_same_bits(architecture, patches, samples, seed):
    model = tiny.load(architecture)
    sampling = Sampling(max_new_tokens=8, temperature=1.0, top_p=0.95, seed=seed, samples=samples)
    shared = run(model, patches, sampling)
    plain = run(model, patches, sampling, share_layers=False)
    np.testing.assert_array_equal(shared.baseline_tokens, plain.baseline_tokens)
    np.testing.assert_array_equal(shared.patched_tokens, plain.patched_tokens)
    np.testing.assert_array_equal(shared.kl_first_token_nats, plain.kl_first_token_nats)
    assert shared.max_self_logit_gap == plain.max_self_logit_gap == 0.0


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_fewer_rows_are_computed(architecture):
    """Liveness: without it, the law above would hold for an engine that shares nothing."""
    model = tiny.load(architecture)
    patches = [Patch(heads=(h,), donor="zero") for h in ALL_HEADS for _ in range(6)]
    rows: dict[bool, list[int]] = {True: [], False: []}
    for share in rows:
        note = [model.bridge.blocks[1].register_forward_hook(
            lambda module, args, out, share=share: rows[share].append(len(args[0] if args else out))
        )]  # fmt: skip
        try:
            run(model, patches, Sampling(max_new_tokens=6, seed=1), share_layers=share)
        finally:
            for handle in note:
                handle.remove()
    assert sum(rows[True]) < 0.85 * sum(rows[False])


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_the_attention_of_the_first_patched_layer_is_computed_once(architecture):
    """And so is the MLP beside it, where it reads no output of the attention."""
    model = tiny.load(architecture)
    assert model.is_parallel == (architecture == "gpt_neox")
    block = model.bridge.blocks[1]
    rows: dict[str, list[int]] = {"attn": [], "mlp": []}
    handles = [
        block.attn.q.register_forward_hook(lambda m, args, out: rows["attn"].append(len(out))),
        block.mlp.out.register_forward_hook(lambda m, args, out: rows["mlp"].append(len(out))),
    ]
    patches = [Patch(heads=(h,), donor="zero") for h in ALL_HEADS if h.layer == 1 for _ in range(8)]
    try:
        run(model, patches, Sampling(max_new_tokens=1, seed=1))
    finally:
        for handle in handles:
            handle.remove()
    attention, mlp = rows["attn"][-1], rows["mlp"][-1]
    assert attention == model.row_block
    assert mlp == (attention if model.is_parallel else len(patches) + 2)


def test_sharing_a_layer_too_many_is_noticed(monkeypatch):
    """Liveness: a layout that shares one layer above a patch changes the text."""
    model = tiny.load("gpt2")
    layout = running.SharedLayers

    def wrong(first, n_layers, row_block, **options):
        return layout(np.minimum(np.asarray(first) + 1, n_layers), n_layers, row_block, **options)

    patches = [Patch(heads=(h,), donor="zero") for h in ALL_HEADS if h.layer == 1]
    sampling = Sampling(max_new_tokens=8, seed=1)
    right = run(model, patches, sampling)
    monkeypatch.setattr(running, "SharedLayers", wrong)
    try:
        other = run(model, patches, sampling)
    except Exception:
        return
    assert not np.array_equal(other.patched_tokens, right.patched_tokens)


@LAW
@given(
    architecture=st.sampled_from(tiny.ARCHITECTURES),
    samples=st.integers(1, 3),
    seed=st.integers(0, 99),
    n_ends=st.integers(1, 120),
)
def test_dropping_finished_rows_changes_no_other_row(architecture, samples, seed, n_ends):
    endless = dataclasses.replace(tiny.load(architecture), eos_ids=frozenset())
    ends = frozenset(range(0, tiny.N_VOCAB, max(1, tiny.N_VOCAB // n_ends)))
    ending = dataclasses.replace(endless, eos_ids=ends)
    patches = [Patch(heads=(head,), mode=mode, donor="emotion") for head in ALL_HEADS for mode in MODES]
    sampling = Sampling(max_new_tokens=10, temperature=1.0, top_p=1.0, seed=seed, samples=samples)
    whole, cut = run(endless, patches, sampling), run(ending, patches, sampling)
    for long, short in (
        (whole.baseline_tokens, cut.baseline_tokens),
        (whole.patched_tokens, cut.patched_tokens),
    ):
        over = np.cumsum(np.isin(long, sorted(ends)), axis=-1) > 0
        np.testing.assert_array_equal(short, np.where(over, -1, long))


def test_rows_are_dropped(monkeypatch):
    """Liveness of the law above."""
    model = dataclasses.replace(tiny.load("llama"), eos_ids=frozenset(range(0, tiny.N_VOCAB, 4)))
    dropped = []
    drop = running.SharedLayers.drop
    monkeypatch.setattr(
        running.SharedLayers, "drop", lambda self, rows: dropped.extend(rows) or drop(self, rows)
    )
    patches = [Patch(heads=(head,), donor="zero") for head in ALL_HEADS]
    run(model, patches, Sampling(max_new_tokens=10, top_p=1.0, temperature=1.0, seed=2, samples=4))
    assert len(dropped) >= 16


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_bfloat16_keeps_the_laws(architecture, tmp_path):
    files = find_model(str(tiny.save(architecture, tmp_path / "tiny")), store_root=tmp_path)
    model = load_model(files, dtype="bfloat16")
    own = [Patch(heads=ALL_HEADS, mode=mode, donor="self") for mode in MODES]
    other = [Patch(heads=(head,), donor="zero") for head in ALL_HEADS]
    sampling = Sampling(max_new_tokens=8, temperature=1.0, seed=1, samples=3)
    shared = run(model, own + other, sampling)
    plain = run(model, own + other, sampling, share_layers=False)
    np.testing.assert_array_equal(shared.patched_tokens, plain.patched_tokens)
    for tokens in shared.patched_tokens[: len(own)]:
        np.testing.assert_array_equal(tokens, shared.baseline_tokens)
    assert shared.max_self_logit_gap == 0.0
    assert (shared.kl_first_token_nats[: len(own)] == 0).all()
    assert (shared.kl_first_token_nats[len(own) :] > 0).any()
