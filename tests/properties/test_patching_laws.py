"""The laws of patched generation, on tiny random models of all four architectures.

Every no-op law stands beside a liveness law: the same hooks with another donor do change the output.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from phase7.engine.decode.loop import generate
from phase7.engine.decode.rows import SharedLayers
from phase7.engine.decode.running import step_of
from phase7.engine.model.tokens import decode, encode
from phase7.engine.patch.capture import capture
from phase7.engine.patch.donors import Donor, DonorSum, single
from phase7.engine.patch.patching import BASELINE, Patch, Patcher
from phase7.experiment.profile import Sampling
from phase7.vocabulary.heads import Head, parse_heads
from phase7.vocabulary.modes import MODES, POSITIONS
from tests import tiny

ALL_HEADS = parse_heads("all", n_layers=tiny.N_LAYERS, n_heads=tiny.N_HEADS)
RECIPIENT = "The kettle is on the second shelf, beside"
EMOTION = ("Thank you so much, I am grateful", "I am so sorry about the noise near the old mill.")
LAW = settings(max_examples=8, deadline=None, derandomize=True)

architectures = st.sampled_from(tiny.ARCHITECTURES)
modes = st.sampled_from(MODES)
positions = st.sampled_from(POSITIONS)
prompts = st.sampled_from([RECIPIENT, "She", "Buses leave at ten past the hour and stop near"])


def emotion_donor(architecture: str, texts: tuple[str, ...] = EMOTION) -> Donor:
    model = tiny.load(architecture)
    return DonorSum(
        capture(model, encode(model, text, "raw"), all_queries=True) for text in texts
    ).mean()


def run(architecture, prompt, patches, *, donors=None, sampling=None, **options):
    model = tiny.load(architecture)
    return generate(
        model,
        prompt,
        encode(model, prompt, "raw"),
        patches,
        donors=donors or {},
        sampling=sampling or Sampling(max_new_tokens=8, temperature=0.9, top_p=0.95, seed=3),
        **options,
    )


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("where", POSITIONS)
def test_own_activations_change_nothing_and_others_do(architecture, mode, where):
    own = Patch(heads=ALL_HEADS, mode=mode, donor="self", positions=where)
    other = Patch(heads=ALL_HEADS, mode=mode, donor="emotion", positions=where)
    sampling = Sampling(max_new_tokens=8, temperature=0.9, top_p=0.95, seed=3, samples=4)
    donors = {"emotion": emotion_donor(architecture)}
    got = run(architecture, RECIPIENT, [own, other], donors=donors, sampling=sampling)

    assert got.max_self_logit_gap == 0.0
    assert got.n_self_rows == 4
    np.testing.assert_array_equal(got.patched_tokens[0], got.baseline_tokens)
    assert got.kl_first_token_nats[0] == 0.0
    assert not np.array_equal(got.patched_tokens[1], got.baseline_tokens)
    assert got.kl_first_token_nats[1] > 1e-3


@LAW
@given(architecture=architectures, mode=modes, where=positions, prompt=prompts, seed=st.integers(0, 99))
def test_own_activations_change_nothing_for_any_prompt_and_seed(architecture, mode, where, prompt, seed):
    own = Patch(heads=ALL_HEADS, mode=mode, donor="self", positions=where)
    sampling = Sampling(max_new_tokens=6, temperature=1.0, top_p=0.9, seed=seed, samples=2)
    got = run(architecture, prompt, [own], sampling=sampling)
    np.testing.assert_array_equal(got.patched_tokens[0], got.baseline_tokens)
    assert got.max_self_logit_gap == 0.0


def z_of(architecture: str, prompt: str, patch: Patch, donors: dict[str, Donor]):
    """Every layer's z in one full pass: rows baseline and patched, [layers, 2, queries, heads, d]."""
    model = tiny.load(architecture)
    tokens = encode(model, prompt, "raw")
    patcher = Patcher(model, [BASELINE, patch], n_samples=1, donors=donors, n_prompt=len(tokens))
    cache = model.new_cache()
    step = step_of(cache, first_query=0, rows=SharedLayers([-1, -1], model.n_layers))
    seen: dict[int, torch.Tensor] = {}

    def note(layer):
        def hook(z, hook):
            seen[layer] = z.detach().clone()

        return hook

    with torch.inference_mode(), model.hooked(patcher.hooks(lambda: step)):
        names = [(f"blocks.{i}.attn.hook_z", note(i)) for i in range(model.n_layers)]
        with model.bridge.hooks(fwd_hooks=names):
            ids = torch.tensor([tokens, tokens])
            model.bridge(ids, past_key_values=cache, use_cache=True)
    return torch.stack([seen[i] for i in range(model.n_layers)])


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("mode", MODES)
def test_only_the_named_query_head_changes_in_its_layer(architecture, mode):
    patch = Patch(heads=(Head(1, 2),), mode=mode, donor="emotion", positions="all")
    z = z_of(architecture, RECIPIENT, patch, {"emotion": emotion_donor(architecture)})
    same = (z[:, 0] == z[:, 1]).all(dim=-1)  # [layers, queries, heads]

    assert same[0].all()
    others = [head for head in range(tiny.N_HEADS) if head != 2]
    assert same[1][:, others].all()
    assert not same[1][-1, 2]
    assert not same[2].all()


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("where", POSITIONS)
def test_positions_patch_the_queries_they_name(architecture, where):
    patch = Patch(heads=(Head(0, 1),), mode="result", donor="emotion", positions=where)
    n = len(encode(tiny.load(architecture), RECIPIENT, "raw"))
    changed = ~(
        z_of(architecture, RECIPIENT, patch, {"emotion": emotion_donor(architecture)})[0]
        .diff(dim=0)[0, :, 1]
        .eq(0)
        .all(dim=-1)
    )
    assert changed[n - 1]
    reach = emotion_donor(architecture).z.shape[1]
    expected = [where == "all" and n - 1 - p < reach for p in range(n - 1)]
    assert changed[: n - 1].tolist() == expected


@LAW
@given(architecture=architectures, where=positions, prompt=prompts)
def test_pattern_v_equals_result_for_a_single_donor(architecture, where, prompt):
    model = tiny.load(architecture)
    one = single(capture(model, encode(model, EMOTION[0], "raw"), all_queries=True))
    np.testing.assert_allclose(one.composed, one.z, atol=2e-6)
    donors = {"emotion": one}
    zs = [
        z_of(
            architecture,
            prompt,
            Patch(heads=ALL_HEADS, mode=m, donor="emotion", positions=where),
            donors,
        )
        for m in ("result", "pattern_v")
    ]
    torch.testing.assert_close(zs[0], zs[1], atol=2e-5, rtol=2e-5)


def test_pattern_v_differs_from_result_for_a_mean_donor():
    donor = emotion_donor("gpt2")
    assert np.abs(donor.composed - donor.z).max() > 1e-2


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_v_only_attends_over_the_donors_values_with_the_recipients_pattern(architecture):
    """Against a composition written out from the recipient's own capture."""
    model, donor, head = tiny.load(architecture), emotion_donor(architecture), Head(0, 3)
    tokens = encode(model, RECIPIENT, "raw")
    own = capture(model, tokens, all_queries=True)
    patch = Patch(heads=(head,), mode="v_only", donor="emotion", positions="all")
    z = z_of(architecture, RECIPIENT, patch, {"emotion": donor})[0, 1, :, head.head]
    kv = head.head // (model.n_heads // model.n_kv_heads)
    n = len(tokens)
    reach = donor.value.shape[1]
    values = np.stack(
        [donor.value[0, n - 1 - k, kv] if n - 1 - k < reach else own.value[0, k, kv] for k in range(n)]
    )
    expected = own.pattern[0, head.head] @ values
    queries = [q for q in range(n) if n - 1 - q < donor.z.shape[1]]
    np.testing.assert_allclose(z.numpy()[queries], expected[queries], atol=1e-5)


@LAW
@given(
    architecture=architectures,
    data=st.data(),
    seed=st.integers(0, 50),
)
def test_a_rows_text_does_not_depend_on_its_neighbours_or_its_place(architecture, data, seed):
    donors = {"emotion": emotion_donor(architecture)}
    pool = [
        Patch(heads=(head,), mode=mode, donor=donor)
        for head in ALL_HEADS[::3]
        for mode, donor in (("result", "emotion"), ("v_only", "emotion"), ("pattern_v", "zero"))
    ]
    chosen = data.draw(st.lists(st.sampled_from(pool), min_size=2, max_size=7, unique=True))
    sampling = Sampling(max_new_tokens=6, temperature=0.9, top_p=0.9, seed=seed)
    together = run(architecture, RECIPIENT, chosen, donors=donors, sampling=sampling)
    order = data.draw(st.permutations(range(len(chosen))))
    shuffled = run(architecture, RECIPIENT, [chosen[i] for i in order], donors=donors, sampling=sampling)
    np.testing.assert_array_equal(shuffled.patched_tokens, together.patched_tokens[list(order)])
    alone = run(architecture, RECIPIENT, chosen[:1], donors=donors, sampling=sampling)
    np.testing.assert_array_equal(alone.patched_tokens[0], together.patched_tokens[0])


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_temperature_zero_is_greedy_generate_of_transformers(architecture):
    model = tiny.load(architecture)
    reference = tiny.hf_model(architecture)
    for prompt in (RECIPIENT, "She wrote", "I am"):
        tokens = encode(model, prompt, "raw")
        out = reference.generate(
            torch.tensor([tokens]), max_new_tokens=12, do_sample=False, pad_token_id=0
        )[0, len(tokens) :]
        expected = [int(t) for t in out if int(t) != 0]
        got = run(
            architecture,
            prompt,
            [Patch(heads=(Head(0, 0),), donor="zero")],
            sampling=Sampling(max_new_tokens=12, temperature=0.0),
        )
        assert [int(t) for t in got.baseline_tokens[0] if t >= 0] == expected
        assert decode(model, expected) == model.tokenizer.decode(expected)


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "llama"])
def test_use_attn_result_is_result_at_z_up_to_rounding(architecture):
    donors = {"emotion": emotion_donor(architecture)}
    patches = [Patch(heads=ALL_HEADS[2:7], donor="emotion")]
    at_z = run(architecture, RECIPIENT, patches, donors=donors)
    literal = run(architecture, RECIPIENT, patches, donors=donors, use_attn_result=True)
    np.testing.assert_array_equal(at_z.patched_tokens, literal.patched_tokens)
    np.testing.assert_allclose(
        at_z.kl_first_token_nats, literal.kl_first_token_nats, rtol=1e-3, atol=1e-6
    )
    assert literal.max_self_logit_gap == 0.0


def test_use_attn_result_is_refused_where_the_architecture_lacks_it():
    from phase7.vocabulary.errors import UserError

    with pytest.raises(UserError, match=r"mode result at hook_z is the same patch"):
        run("gpt_neo", RECIPIENT, [Patch(heads=ALL_HEADS[:1], donor="zero")], use_attn_result=True)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_last_patches_once_and_zero_ablates(architecture):
    zero = Patch(heads=ALL_HEADS, mode="result", donor="zero")
    z = z_of(architecture, RECIPIENT, Patch(heads=ALL_HEADS, donor="zero", positions="all"), {})
    assert (z[:, 1] == 0).all()
    assert (z[:, 0] != 0).any()
    got = run(architecture, RECIPIENT, [zero, Patch(heads=ALL_HEADS, donor="zero", positions="last")])
    assert got.kl_first_token_nats[0] == pytest.approx(got.kl_first_token_nats[1], rel=1e-6)


def test_cached_decoding_equals_one_full_pass():
    """The baseline's greedy tokens are the argmax of an uncached pass over prompt and continuation."""
    for architecture in tiny.ARCHITECTURES:
        model = tiny.load(architecture)
        got = run(
            architecture,
            RECIPIENT,
            [Patch(heads=ALL_HEADS[:1], donor="zero")],
            sampling=Sampling(max_new_tokens=10, temperature=0.0),
        )
        new = [int(t) for t in got.baseline_tokens[0] if t >= 0]
        tokens = [*encode(model, RECIPIENT, "raw"), *new]
        with torch.inference_mode():
            logits = model.bridge(torch.tensor([tokens]))[0]
        n = len(tokens) - len(new)
        assert logits[n - 1 : -1].argmax(dim=-1).tolist() == new
