"""Other architectures by path: what works does so exactly, what does not is one clear line."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers

from phase7.engine.decode.forced import forced_pass
from phase7.engine.decode.loop import generate
from phase7.engine.model.loading import load_model
from phase7.engine.model.tokens import encode
from phase7.engine.patch.patching import Patch
from phase7.experiment.profile import Sampling
from phase7.models.files import find_model, require_heads
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.heads import parse_heads
from phase7.vocabulary.modes import MODES, POSITIONS
from tests import tiny

DONORS = ("self", "zero")
PROMPT = "The kettle is on the second shelf, beside"
COMMON = {
    "vocab_size": tiny.N_VOCAB, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 96,
    "initializer_range": 0.25, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip
WORKING = {
    "Qwen2": {},
    "Qwen3": {"head_dim": 8},
    "Gemma2": {"head_dim": 8, "query_pre_attn_scalar": 8},
    "Gemma3": {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 16},
    "Mistral": {"sliding_window": 8},
    "Phi3": {},
    "Olmo2": {},
}


def make(name: str, folder, extra: dict) -> object:
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}TextConfig" if name == "Gemma3" else f"{name}Config")
    kind = getattr(transformers, f"{name}ForCausalLM")
    kind(config(**(COMMON | extra))).eval().save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return find_model(str(folder), store_root=folder)


@pytest.mark.parametrize("name", WORKING)
def test_self_patching_is_exact_and_the_text_is_that_of_transformers(name, tmp_path):
    model = load_model(make(name, tmp_path / name, WORKING[name]))
    assert model.has_plain_head == (name != "Gemma2")  # which caps its logits
    heads = parse_heads("all", n_layers=model.n_layers, n_heads=model.n_heads)
    patches = [Patch(heads=heads, mode=m, donor=d) for m in MODES for d in ("self", "zero")]
    tokens = encode(model, PROMPT, "raw")
    got = generate(
        model, PROMPT, tokens, patches, donors={}, sampling=Sampling(max_new_tokens=12, seed=1)
    )
    assert got.max_self_logit_gap == 0.0
    assert (got.kl_first_token_nats[::2] == 0).all()
    assert (got.kl_first_token_nats[1::2] > 1e-3).all()
    # Without an emotion the three modes ablate alike, up to rounding.
    np.testing.assert_allclose(got.kl_first_token_nats[1::2], got.kl_first_token_nats[1], rtol=1e-3)
    greedy = Sampling(max_new_tokens=12, temperature=0.0)
    baseline = generate(model, PROMPT, tokens, patches[:1], donors={}, sampling=greedy).baseline_tokens[
        0
    ]
    reference = model.bridge.original_model.generate(
        torch.tensor([tokens]), max_new_tokens=12, do_sample=False, pad_token_id=0
    )[0, len(tokens) :]
    assert [t for t in baseline.tolist() if t >= 0] == [t for t in reference.tolist() if t != 0]


@pytest.mark.parametrize("name", WORKING)
def test_the_forced_pass_reads_what_transformers_computes(name, tmp_path):
    """Prompt and path reach beyond the sliding windows."""
    model = load_model(make(name, tmp_path / name, WORKING[name]))
    heads = parse_heads("1:*", n_layers=model.n_layers, n_heads=model.n_heads)
    tokens, path = encode(model, PROMPT, "raw"), [41, 300, 7, 262, 262, 88]
    with torch.inference_mode():
        logits = model.bridge.original_model(torch.tensor([[*tokens, *path[:-1]]])).logits[0].double()
    log_p = torch.log_softmax(logits[len(tokens) - 1 :], dim=-1)
    expected = log_p[range(len(path)), path].numpy()
    ablated = {}
    for where in POSITIONS:
        patches = [Patch(heads=heads, mode=m, donor=d, positions=where) for m in MODES for d in DONORS]
        got = forced_pass(model, tokens, path, patches, donors={}, token_sets={"some": [7, 41]})
        np.testing.assert_allclose(got.baseline.log_likelihood, expected, atol=1e-4)
        odds = torch.logsumexp(log_p[:, [7, 41]], dim=1)
        odds -= torch.log1p(-odds.exp())
        np.testing.assert_allclose(got.baseline.log_odds["some"], odds, atol=1e-4)
        assert (got.patched.kl[::2] == 0).all()
        assert (got.patched.kl[1::2, 0] > 1e-3).all()
        ablated[where] = got.patched.kl[1::2]
        np.testing.assert_allclose(ablated[where], np.tile(ablated[where][0], (3, 1)), atol=1e-4)
    assert not np.allclose(ablated["generated"], ablated["last"], atol=1e-3)


def test_modes_that_would_compose_wrongly_are_refused(tmp_path):
    model = load_model(make("OPT", tmp_path / "model", {"ffn_dim": 64, "word_embed_proj_dim": 32}))
    heads = parse_heads("all", n_layers=2, n_heads=4)
    tokens, sampling = encode(model, PROMPT, "raw"), Sampling(max_new_tokens=3)
    for mode in ("v_only", "pattern_v"):
        with pytest.raises(UserError, match=f"mode {mode}: .* use --patch-mode result"):
            patch = Patch(heads=heads, mode=mode, donor="zero")
            generate(model, PROMPT, tokens, [patch], donors={}, sampling=sampling)
    zero = Patch(heads=heads, donor="zero")
    got = generate(model, PROMPT, tokens, [zero], donors={}, sampling=sampling)
    assert got.kl_first_token_nats[0] > 1e-3
    assert got.max_self_logit_gap == 0.0


def test_a_model_without_heads_is_refused(tmp_path):
    files = make("Mamba", tmp_path / "mamba", {"num_hidden_layers": 2})
    with pytest.raises(UserError, match=r"docs/models\.md"):
        require_heads(files)
        load_model(files)
