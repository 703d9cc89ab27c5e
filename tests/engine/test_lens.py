"""The lens against the arithmetic written out with the modules of transformers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers

from phase7.engine.model.bridge import final_norm, has_norm_behind, joins_stream
from phase7.engine.model.loading import load_model
from phase7.engine.patch.donors import Donor
from phase7.engine.patch.lens import promoted_tokens, standing
from phase7.models.files import find_model
from phase7.vocabulary.heads import Head
from tests import tiny
from tests.programs.models.architectures import save

HEADS = [Head(0, 1), Head(2, 3), Head(1, 0)]
#: Of these forms "the", " the", "on", "and" and others are one token of the tiny tokenizer; zebra is none.
WORDS = ("the", "and", "on", "zebra")
D_HEAD = 8


@pytest.fixture(scope="module", params=tiny.ARCHITECTURES)
def pair(request, tmp_path_factory):
    """A model with an uneven final norm as transformers has it, and as phase7 loads it."""
    folder = tmp_path_factory.mktemp(request.param)
    plain = tiny.hf_model(request.param)
    with torch.no_grad():
        parts(request.param, plain)[0].weight.normal_(1.0, 0.7)
    plain.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return request.param, plain, load_model(find_model(str(folder), store_root=folder.parent))


def parts(architecture, plain):
    """The final norm, and W_O [d_model in, d_model out] of each layer."""
    if architecture == "gpt2":
        return plain.transformer.ln_f, [b.attn.c_proj.weight for b in plain.transformer.h]
    if architecture == "gpt_neox":
        body = plain.gpt_neox
        return body.final_layer_norm, [b.attention.dense.weight.T for b in body.layers]
    if architecture == "gpt_neo":
        body = plain.transformer
        return body.ln_f, [b.attn.attention.out_proj.weight.T for b in body.h]
    return plain.model.norm, [b.self_attn.o_proj.weight.T for b in plain.model.layers]


def donor(seed):
    z = np.random.default_rng(seed).normal(size=(tiny.N_LAYERS, 2, tiny.N_HEADS, D_HEAD))
    z = z.astype(np.float32)
    return Donor(z=z, value=z, pattern=None)


def logits_by_hand(architecture, plain, emotion, neutral):
    """Direct change of every logit [layer, head, token] in double precision."""
    norm, projections = parts(architecture, plain)
    gain = norm.weight.detach().double()
    unembedding = plain.get_output_embeddings().weight.detach().double()
    made = torch.empty(tiny.N_LAYERS, tiny.N_HEADS, tiny.N_VOCAB, dtype=torch.double)
    for layer, projection in enumerate(projections):
        for head in range(tiny.N_HEADS):
            z = torch.zeros(tiny.N_HEADS * D_HEAD, dtype=torch.double)
            difference = emotion.z[layer, 0, head] - neutral.z[layer, 0, head]
            z[head * D_HEAD : (head + 1) * D_HEAD] = torch.tensor(difference)
            stream = z @ projection.detach().double()
            if isinstance(norm, torch.nn.LayerNorm):
                stream = stream - stream.mean()
            made[layer, head] = unembedding @ (gain * stream)
    return made.numpy()


def word_ids():
    tokenizer = tiny.tokenizer()
    spelt = {p + w for word in WORDS for w in (word, word.capitalize()) for p in ("", " ")}
    pieces = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in spelt]
    return sorted({ids[0] for ids in pieces if len(ids) == 1})


def test_tokens_scores_z_and_ranks_are_those_by_hand(pair):
    architecture, plain, model = pair
    emotion, neutral = donor(1), donor(2)
    found = promoted_tokens(model, HEADS, emotion, neutral, WORDS, n_tokens=5)
    logits = logits_by_hand(architecture, plain, emotion, neutral)
    tokenizer = tiny.tokenizer()
    assert found["heads"] == ["0:1", "2:3", "1:0"]
    for place, head in enumerate(HEADS):
        order = np.argsort(logits[head.layer, head.head])
        for direction, ids in enumerate((order[::-1][:5], order[:5])):
            expected = logits[head.layer, head.head][ids]
            np.testing.assert_allclose(found["score"][place][direction], expected, rtol=1e-4, atol=1e-5)
            assert found["token"][place][direction] == [tokenizer.decode([int(i)]) for i in ids]
    ids = word_ids()
    assert 2 < len(ids) < 12
    scores = logits[..., ids].mean(axis=-1) - logits.mean(axis=-1)
    z = (scores - scores.mean()) / scores.std()
    rank = [1 + sum(scores[h.layer, h.head] < other for other in scores.ravel()) for h in HEADS]
    np.testing.assert_allclose(
        found["emotion_z"], [z[h.layer, h.head] for h in HEADS], rtol=1e-4, atol=1e-5
    )
    assert found["emotion_rank"].tolist() == rank
    assert len(set(rank)) == 3


def test_the_gain_and_the_centring_matter(pair):
    """So the test above would see them forgotten."""
    architecture, plain, model = pair
    norm = final_norm(model)
    module = parts(architecture, plain)[0]
    np.testing.assert_allclose(norm.gain, module.weight.detach(), rtol=1e-5, atol=1e-5)
    assert norm.is_centred == (architecture != "llama")
    assert norm.gain.std() > 0.3
    change = torch.linspace(-1.0, 3.0, 32)
    assert torch.allclose(norm.folded(change), change * norm.gain) == (architecture == "llama")


def test_the_gain_of_a_family_that_writes_it_otherwise(tmp_path):
    """Gemma multiplies with 1 + weight."""
    torch.manual_seed(0)
    plain = transformers.Gemma2ForCausalLM(
        transformers.Gemma2Config(
            vocab_size=tiny.N_VOCAB, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, head_dim=8, query_pre_attn_scalar=8,
            max_position_embeddings=96, bos_token_id=0, eos_token_id=0, pad_token_id=0,
        )
    )  # fmt: skip
    with torch.no_grad():
        plain.model.norm.weight.normal_(0.0, 0.5)
    plain.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    norm = final_norm(load_model(find_model(str(tmp_path), store_root=tmp_path)))
    np.testing.assert_allclose(norm.gain, 1 + plain.model.norm.weight.detach(), rtol=1e-5, atol=1e-5)
    assert not norm.is_centred


@pytest.mark.parametrize(
    ("name", "is_normed"),
    [("Llama", False), ("Gemma 2", True), ("EXAONE 4", True), ("VaultGemma", False), ("Granite", False)],
)
def test_what_joins_the_stream_is_what_the_model_adds(tmp_path, name, is_normed):
    """Between the stream before and behind the attention, whatever a family calls its norms."""
    save(name, tmp_path)
    model = load_model(find_model(str(tmp_path), store_root=tmp_path))
    seen = {}

    def keep(key):
        return lambda states, hook: seen.__setitem__(key, states.detach().clone())

    block = model.bridge.blocks[1]
    handle = block.attn.o.register_forward_hook(lambda module, given, out: seen.__setitem__("out", out))
    hooks = [(f"blocks.1.hook_resid_{key}", keep(key)) for key in ("pre", "mid")]
    with torch.inference_mode(), model.bridge.hooks(fwd_hooks=hooks):
        model.bridge(torch.tensor([[5, 6, 7, 8]]))
    handle.remove()
    output, added = seen["out"][0], (seen["mid"] - seen["pre"])[0]
    assert has_norm_behind(model, 1) == is_normed
    with torch.inference_mode():
        torch.testing.assert_close(joins_stream(model, 1)(output), added, atol=2e-6, rtol=1e-5)
    is_plain = torch.allclose(output, added, atol=1e-3)
    assert is_plain == (name in ("Llama", "VaultGemma"))


def behind_attention(family):
    """Tiny models that normalise what attention writes, with uneven gains there and at the end."""
    sizes = {
        "vocab_size": tiny.N_VOCAB, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": tiny.N_LAYERS, "num_attention_heads": tiny.N_HEADS, "head_dim": D_HEAD,
        "max_position_embeddings": 96, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
    }  # fmt: skip
    torch.manual_seed(3)
    if family == "gemma3":
        config = transformers.Gemma3TextConfig(**sizes, num_key_value_heads=2, query_pre_attn_scalar=8)
        plain = transformers.Gemma3ForCausalLM(config)
    else:
        sizes.pop("head_dim")
        plain = transformers.Olmo2ForCausalLM(transformers.Olmo2Config(**sizes, num_key_value_heads=2))
    centre = 1.0 if family == "olmo2" else 0.0
    with torch.no_grad():
        for layer in plain.model.layers:
            layer.post_attention_layernorm.weight.normal_(centre, 0.7)
        plain.model.norm.weight.normal_(centre, 0.7)
    return plain, centre


@pytest.mark.parametrize("family", ["gemma3", "olmo2"])
def test_a_norm_behind_attention_counts(family, tmp_path):
    """The tokens are those of a neutral run of which one head is replaced, and others without the norm."""
    plain, centre = behind_attention(family)
    plain.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    model = load_model(find_model(str(tmp_path), store_root=tmp_path))
    emotion, neutral = donor(1), donor(2)
    found = promoted_tokens(model, HEADS, emotion, neutral, WORDS, n_tokens=5)
    final = plain.model.norm.weight.detach().double() + 1 - centre
    unembedding = plain.get_output_embeddings().weight.detach().double()
    n_other = 0
    for place, head in enumerate(HEADS):
        layer = plain.model.layers[head.layer]
        projection = layer.self_attn.o_proj.weight.detach().double().T
        gain = layer.post_attention_layernorm.weight.detach().double() + 1 - centre

        def joined(z, projection=projection, gain=gain):
            output = torch.tensor(z.reshape(-1)).double() @ projection
            return gain * output / (output.square().mean() + 1e-6).sqrt()

        before = neutral.z[head.layer, 0].copy()
        after = before.copy()
        after[head.head] = emotion.z[head.layer, 0, head.head]
        logits = (unembedding @ (final * (joined(after) - joined(before)))).numpy()
        order = np.argsort(logits)
        for direction, ids in enumerate((order[::-1][:5], order[:5])):
            np.testing.assert_allclose(
                found["score"][place][direction], logits[ids], rtol=1e-3, atol=1e-5
            )
        difference = torch.tensor((after - before).reshape(-1)).double()
        without = (unembedding @ (final * (difference @ projection))).numpy()
        n_other += len(set(order[::-1][:5]) - set(np.argsort(-without)[:5]))
    assert n_other > 3  # of 15: liveness


@pytest.mark.parametrize("words", [(), ("zebra", "xylophone")])
def test_without_a_word_that_is_one_token_there_is_no_z(words):
    model = tiny.load("gpt2")
    found = promoted_tokens(model, HEADS, donor(1), donor(2), words)
    assert np.isnan(found["emotion_z"]).all() and np.isnan(found["emotion_rank"]).all()
    assert found["emotion_z"].shape == found["emotion_rank"].shape == (3,)
    assert len(found["token"]) == 3


def test_equal_scores_have_no_z_and_share_a_rank():
    z, rank = standing(np.array([[2.0, 2.0]]))
    assert np.isnan(z).all() and rank.tolist() == [[1.0, 1.0]]
    z, rank = standing(np.array([[1.0, 3.0], [3.0, 1.0]]))
    assert z.tolist() == [[-1.0, 1.0], [1.0, -1.0]] and rank.tolist() == [[3.0, 1.0], [1.0, 3.0]]
