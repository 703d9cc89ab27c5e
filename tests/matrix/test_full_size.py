"""The laws of patched generation at full size, for every named model: `tox -e gpt2` and so on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from phase7.engine.decode.loop import generate
from phase7.engine.decode.rows import SharedLayers
from phase7.engine.decode.running import step_of
from phase7.engine.model.tokens import encode
from phase7.engine.patch.capture import capture
from phase7.engine.patch.donors import DonorSum
from phase7.engine.patch.patching import BASELINE, Patch, Patcher
from phase7.experiment.profile import Sampling
from phase7.vocabulary.heads import Head, parse_heads
from phase7.vocabulary.modes import MODES

pytestmark = pytest.mark.slow

PROMPT = "The timetable on the wall says that the last bus leaves at"
EMOTION = ("Thank you so much for the lift, I am", "I am deeply grateful that you all came and")
SAMPLING = Sampling(max_new_tokens=5, temperature=1.0, top_p=0.95, seed=2)


@pytest.fixture(scope="module")
def model(full_size):
    return full_size[0]


@pytest.fixture(scope="module")
def donor(model):
    captures = (capture(model, encode(model, text, "raw"), all_queries=True) for text in EMOTION)
    return DonorSum(captures).mean()


def run(model, patches, *, donors=None, sampling=SAMPLING, fmt="raw", **options):
    tokens = encode(model, PROMPT, fmt)
    return generate(model, PROMPT, tokens, patches, donors=donors or {}, sampling=sampling, **options)


def all_heads(model):
    return parse_heads("all", n_layers=model.n_layers, n_heads=model.n_heads)


@pytest.mark.parametrize("mode", MODES)
def test_all_heads_patched_with_themselves_change_nothing_and_with_a_donor_do(model, donor, mode):
    own = Patch(heads=all_heads(model), mode=mode, donor="self")
    other = Patch(heads=all_heads(model), mode=mode, donor="emotion")
    got = run(model, [own, other], donors={"emotion": donor})
    assert got.max_self_logit_gap == 0.0
    np.testing.assert_array_equal(got.patched_tokens[0], got.baseline_tokens)
    assert got.kl_first_token_nats[0] == 0.0
    assert got.kl_first_token_nats[1] > 1e-4


@pytest.mark.parametrize("mode", MODES)
def test_only_the_named_query_head_changes(model, donor, mode):
    layer = model.n_layers // 2
    patch = Patch(heads=(Head(layer, 1),), mode=mode, donor="emotion", positions="all")
    tokens = encode(model, PROMPT, "raw")
    patcher = Patcher(
        model, [BASELINE, patch], n_samples=1, donors={"emotion": donor}, n_prompt=len(tokens)
    )
    cache, seen = model.new_cache(), {}
    step = step_of(cache, first_query=0, rows=SharedLayers([-1, -1], model.n_layers))
    names = [
        (f"blocks.{i}.attn.hook_z", lambda z, hook, i=i: seen.__setitem__(i, z.detach().clone()))
        for i in (layer, layer + 1)
    ]
    with (
        torch.inference_mode(),
        model.hooked(patcher.hooks(lambda: step)),
        model.bridge.hooks(fwd_hooks=names),
    ):
        model.bridge(torch.tensor([tokens, tokens]), past_key_values=cache, use_cache=True)
    same = (seen[layer][0] == seen[layer][1]).all(dim=-1).all(dim=0)
    assert same.tolist() == [head != 1 for head in range(model.n_heads)]
    assert not torch.equal(seen[layer + 1][0], seen[layer + 1][1])


def test_cached_decoding_is_one_uncached_pass(model):
    greedy = Sampling(max_new_tokens=6, temperature=0.0)
    got = run(model, [Patch(heads=all_heads(model)[:1], donor="zero")], sampling=greedy)
    new = [int(t) for t in got.baseline_tokens[0] if t >= 0]
    tokens = [*encode(model, PROMPT, "raw"), *new]
    with torch.inference_mode():
        logits = model.bridge(torch.tensor([tokens]))[0]
    n = len(tokens) - len(new)
    assert logits[n - 1 : -1].argmax(dim=-1).tolist() == new


def test_chat_and_raw_prompts_both_run_where_there_is_a_template(model):
    formats = ("raw", "chat") if model.files.has_chat_template else ("raw",)
    own = Patch(heads=all_heads(model), donor="self")
    lengths = set()
    for fmt in formats:
        assert run(model, [own], fmt=fmt).max_self_logit_gap == 0.0
        lengths.add(len(encode(model, PROMPT, fmt)))
    assert len(lengths) == len(formats)


def test_grouped_queries_are_counted_apart(model):
    expected = {"smollm2": (9, 3)}.get(model.name, (12, 12))
    assert (model.n_heads, model.n_kv_heads) == expected


def test_use_attn_result_is_result_at_z_to_rounding_or_refused(model, donor):
    from phase7.vocabulary.errors import UserError

    patches = [Patch(heads=all_heads(model)[::7], donor="emotion")]
    at_z = run(model, patches, donors={"emotion": donor})
    if model.pattern_site == "attn_dropout":
        with pytest.raises(UserError, match="mode result at hook_z is the same patch"):
            run(model, patches, donors={"emotion": donor}, use_attn_result=True)
        return
    literal = run(model, patches, donors={"emotion": donor}, use_attn_result=True)
    np.testing.assert_allclose(
        literal.kl_first_token_nats, at_z.kl_first_token_nats, rtol=2e-3, atol=1e-5
    )
