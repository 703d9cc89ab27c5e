"""A bridge that computes otherwise than transformers is refused, at the lengths that a run reads."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from phase7.engine.decode.attribution import slopes
from phase7.engine.decode.forced import forced_pass
from phase7.engine.decode.loop import generate
from phase7.engine.model import faithful, loading
from phase7.engine.model.loading import load_model
from phase7.engine.model.probes import switch_lengths
from phase7.engine.patch.capture import capture
from phase7.engine.patch.donors import DonorSum, single
from phase7.engine.patch.patching import Patch
from phase7.experiment.profile import Sampling
from phase7.models.files import find_model
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.heads import parse_heads
from tests import tiny
from tests.programs.models.architectures import save

TOKENS = [41, 300, 7, 262, 262, 88, 12, 100, 9]
OTHER = [5, 77, 301, 18, 240, 33]


def files_of(name, folder):
    return find_model(str(save(name, folder / "model")), store_root=folder)


def made(name, folder):
    return load_model(files_of(name, folder))


def greedy(model, tokens, n_new):
    sampling = Sampling(max_new_tokens=n_new, temperature=0.0)
    ran = generate(model, "x", tokens, [Patch(heads=())], donors={}, sampling=sampling)
    return [int(token) for token in ran.baseline_tokens[0] if token >= 0]


def reference(model, tokens, n_new):
    """What transformers itself generates, up to the end-of-text token."""
    with torch.inference_mode():
        whole = model.pristine.generate(
            torch.tensor([tokens]), max_new_tokens=n_new, do_sample=False, pad_token_id=0
        )
    new = whole[0, len(tokens) :].tolist()
    return new[: new.index(0)] if 0 in new else new


# --- at loading ------------------------------------------------------------------------------------


def test_a_setting_that_the_bridge_leaves_out_refuses_the_model(tmp_path):
    files = files_of("GPT-2, scores not scaled", tmp_path)
    with pytest.raises(
        UserError, match=r"logits .* away .* in one pass, from position 1 on, first in layer 0;"
    ):
        load_model(files)


def changed_bridge(monkeypatch, change):
    """Let attention outputs of layer 1 be `change` of themselves."""
    bridged = loading.bridged

    def changed(*args):
        bridge = bridged(*args)
        attention = bridge.blocks[1].attn.o
        attention.register_forward_hook(lambda module, args, output: change(output))
        return bridge

    monkeypatch.setattr(loading, "bridged", changed)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_the_layer_where_it_starts_is_told(monkeypatch, architecture):
    changed_bridge(monkeypatch, lambda output: output * 1.02)
    with pytest.raises(UserError, match=r"in one pass, from position 0 on, first in layer 1;"):
        load_model(tiny.load(architecture).files)


def test_a_difference_that_only_a_cache_shows_is_found(monkeypatch):
    changed_bridge(monkeypatch, lambda output: output * (1.02 if output.shape[1] < 3 else 1.0))
    with pytest.raises(UserError, match=r"with a cache, from position 8 on, first in layer 1;"):
        load_model(tiny.load("llama").files)


def test_a_difference_between_rows_is_found(monkeypatch):
    def mix(output):
        return output.flip(0) if output.shape[0] == 2 and output.shape[1] < 3 else output

    changed_bridge(monkeypatch, mix)
    with pytest.raises(UserError, match="with a cache"):
        load_model(tiny.load("gpt2").files)


def test_rounding_is_none(monkeypatch):
    changed_bridge(monkeypatch, lambda output: output * (1 + 1e-6))
    assert load_model(tiny.load("llama").files).n_layers == tiny.N_LAYERS


def test_a_model_that_magnifies_rounding_is_not_refused_for_it(tmp_path, monkeypatch):
    """As GPT-Neo's unscaled attention does; what is wrong by more than that still refuses it.

    Three layers magnify little, so the rounding that any model may have is set lower here; the matrix has
    a model of full size.
    """
    monkeypatch.setattr(faithful, "_ROUNDING", 2e-6)
    sharp = tiny.hf_model("gpt_neo")
    with torch.no_grad():
        for layer in sharp.transformer.h:
            layer.attn.attention.q_proj.weight *= 20
    sharp.save_pretrained(tmp_path / "sharp")
    tiny.tokenizer().save_pretrained(tmp_path / "sharp")
    files = find_model(str(tmp_path / "sharp"), store_root=tmp_path)
    changed_bridge(monkeypatch, lambda output: output * (1 + 3e-7))
    assert load_model(files).n_layers == tiny.N_LAYERS
    with monkeypatch.context() as unaware:
        unaware.setattr(faithful, "_magnified_rounding", lambda *args: 0.0)
        with pytest.raises(UserError, match=r"logits .* away"):
            load_model(files)
    changed_bridge(monkeypatch, lambda output: output * 1.02)
    with pytest.raises(UserError, match=r"logits .* away"):
        load_model(files)


def test_what_only_one_probe_shows_is_rounding(monkeypatch):
    """As where two experts are all but equally good."""
    model, found = tiny.load("llama"), []
    monkeypatch.setattr(faithful, "_difference", lambda model, probe: found.pop())
    found += [None, "a difference"]
    faithful.check_logits(model)
    assert not found


# --- at the lengths of a run -----------------------------------------------------------------------


def test_lengths_are_found_wherever_the_configuration_names_them(tmp_path):
    of = {
        "Mistral, sliding window": (8,),
        "Phi-3, longrope": (16,),
        "ModernBERT decoder": (8, 16),
        "GPT-2": (),
    }
    for name, lengths in of.items():
        config = AutoModelForCausalLM.from_pretrained(save(name, tmp_path / name)).config
        assert switch_lengths(config) == lengths, name


def test_a_text_that_grows_past_a_length_is_refused_where_a_cache_changes_it(tmp_path):
    model = made("Phi-3, longrope", tmp_path)
    assert greedy(model, TOKENS, 8) == reference(model, TOKENS, 8)  # 16 tokens are read
    refused = pytest.raises(
        UserError, match=r"with a cache, growing past 16 tokens, .* begin beyond it$"
    )
    with refused:
        greedy(model, TOKENS, 9)
    path = [3, 99, 4, 8, 200, 17, 20, 31, 54]
    with refused:
        forced_pass(model, TOKENS, path, [Patch(heads=())], donors={}, token_sets={})
    with refused:
        slopes(model, TOKENS, path, token_sets={"some": [7]}, positions="generated")
    longer = [*TOKENS, *path]  # the first pass reads 17
    assert greedy(model, longer, 9) == reference(model, longer, 9)
    assert capture(model, longer, all_queries=False).value.shape[1] == len(longer)


def test_windows_are_compared_once_and_threads_share_what_was_found(tmp_path, monkeypatch):
    model, compared = made("Mistral, sliding window", tmp_path), []
    require = faithful._require_equal
    monkeypatch.setattr(
        faithful, "_require_equal", lambda *args: (compared.append(args[2]), require(*args))
    )
    assert greedy(model, TOKENS[:4], 4) == reference(model, TOKENS[:4], 4)
    assert compared == []
    for one in (model, model, model.for_another_thread()):
        assert greedy(one, TOKENS, 6) == reference(one, TOKENS, 6)
        assert greedy(one, [*TOKENS, 3], 6) == reference(one, [*TOKENS, 3], 6)
    assert compared == [", growing past 8 tokens", ", beyond 8 tokens"]


# --- no numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_refused_by_its_name(tmp_path, value):
    folder = tiny.save("llama", tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"][300, 5] = value  # a token that no probe need hold
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        UserError, match=r"got NaN or infinity in the weight model\.embed_tokens\.weight;"
    ):
        load_model(find_model(str(folder), store_root=tmp_path))


def test_numbers_that_overflow_on_the_way_are_refused(tmp_path):
    folder = tiny.save("llama", tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"] *= 1e38
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"got NaN or infinity in the logits"):
        load_model(find_model(str(folder), store_root=tmp_path))


def test_a_patch_that_makes_no_numbers_stops_the_run():
    model = tiny.load("gpt2")
    heads = parse_heads("all", n_layers=model.n_layers, n_heads=model.n_heads)
    donors = {"d": single(capture(model, OTHER, all_queries=False))}
    patch = Patch(heads=heads, donor="d", strength=1e38)
    with pytest.raises(UserError, match=r"got NaN or infinity in the states of position 8; .*strength"):
        generate(model, "x", TOKENS, [patch], donors=donors, sampling=Sampling(max_new_tokens=2))
    with pytest.raises(UserError, match="NaN or infinity"):
        forced_pass(model, TOKENS, [1, 2], [patch], donors=donors, token_sets={})


# --- what is captured ------------------------------------------------------------------------------


def composed_and_output(donor):
    return donor.composed[:, 0], donor.z[:, 0]


def test_captured_values_are_those_that_attention_reads(tmp_path):
    model = made("OLMo, clipped values", tmp_path)
    got = capture(model, TOKENS, all_queries=True)
    assert np.abs(got.value).max() == np.float32(0.5)
    np.testing.assert_allclose(*composed_and_output(single(got)), atol=1e-6)
    run = slopes(model, TOKENS, OTHER, token_sets={"some": [7]}, positions="generated")
    assert np.abs(run.value).max() == np.float32(0.5)
    np.testing.assert_allclose(run.value[:, : len(TOKENS)], got.value, atol=1e-5)


@pytest.mark.parametrize("name", ["OLMo, clipped values", "gpt-oss"])
def test_pattern_v_is_result_for_one_donor(tmp_path, name):
    model = made(name, tmp_path)
    donor = single(capture(model, OTHER, all_queries=False))
    np.testing.assert_allclose(*composed_and_output(donor), atol=1e-6)
    heads = parse_heads("all", n_layers=model.n_layers, n_heads=model.n_heads)
    patches = [Patch(heads=heads, mode=mode, donor="d") for mode in ("result", "pattern_v", "v_only")]
    sampling = Sampling(max_new_tokens=2, temperature=0.0)
    ran = generate(model, "x", TOKENS, patches, donors={"d": donor}, sampling=sampling)
    result, composed, values = ran.kl_first_token_nats
    assert composed == pytest.approx(result, rel=1e-4)
    assert abs(values - result) > 1e-3


def test_attention_that_goes_to_sinks_stays_away(tmp_path):
    model = made("gpt-oss", tmp_path)
    captures = [capture(model, ids, all_queries=True) for ids in (TOKENS, OTHER)]
    sums = [one.pattern.sum(axis=-1)[:, :, ::-1] for one in captures]  # by offset
    assert sums[0].min() < 0.9
    mean = DonorSum(captures).mean().pattern.sum(axis=-1)
    both = len(OTHER)
    np.testing.assert_allclose(mean[:, :, :both], (sums[0][:, :, :both] + sums[1]) / 2, rtol=1e-5)
    np.testing.assert_allclose(mean[:, :, both:], sums[0][:, :, both:], rtol=1e-5)
    left = DonorSum(captures).mean(without=captures[0]).pattern.sum(axis=-1)
    np.testing.assert_allclose(left, sums[1], rtol=1e-5)


@pytest.mark.parametrize("is_half", [False, True])
def test_rows_that_sum_to_1_up_to_rounding_sum_to_1(is_half):
    model = tiny.load("llama")
    one = capture(model, TOKENS, all_queries=True)
    if is_half:
        one.pattern[...] = torch.from_numpy(one.pattern).bfloat16().float().numpy()
    np.testing.assert_allclose(single(one).pattern.sum(axis=-1), 1.0, rtol=3e-7)


# --- --use-attn-result -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Granite", "CodeGen"])
def test_a_hook_result_that_is_no_head_output_is_refused(tmp_path, name):
    """Granite scales what passes there; CodeGen's is never reached."""
    model = made(name, tmp_path)
    patch, sampling = Patch(heads=parse_heads("0:1", n_layers=3, n_heads=4), donor="zero"), Sampling()
    for _ in range(2):
        with pytest.raises(UserError, match=r"^--use-attn-result: .* another patch; leave the flag out"):
            generate(model, "x", TOKENS, [patch], donors={}, sampling=sampling, use_attn_result=True)
    assert not model.bridge.cfg.use_attn_result


# --- composites ------------------------------------------------------------------------------------


def test_the_text_model_in_a_composite_runs_and_nothing_is_installed(tmp_path, monkeypatch):
    def call(*args, **kwargs):
        pytest.fail(f"called {args}")

    for name in ("check_call", "run", "Popen"):
        monkeypatch.setattr(subprocess, name, call)
    files = files_of("Gemma 3, with vision", tmp_path)
    assert (files.n_layers, files.n_heads) == (3, 4)
    model = load_model(files)
    whole = AutoModelForCausalLM.from_pretrained(files.folder, attn_implementation="eager").eval()
    assert type(whole).__name__ == "Gemma3ForConditionalGeneration"
    ids = torch.tensor([TOKENS])
    with torch.inference_mode():
        np.testing.assert_allclose(model.bridge(ids), whole(ids).logits, atol=1e-5)
    assert model.for_another_thread().n_heads == 4


def test_what_a_bridge_calls_to_install_something_is_refused(monkeypatch):
    from transformer_lens.model_bridge import TransformerBridge

    boot = TransformerBridge.boot_transformers

    def installing(*args, **kwargs):
        with pytest.raises(PermissionError, match="installs nothing"):
            subprocess.check_call(["pip", "install", "no-such-package"])
        return boot(*args, **kwargs)

    before = subprocess.check_call
    monkeypatch.setattr(TransformerBridge, "boot_transformers", installing)
    load_model(tiny.load("gpt2").files)
    assert subprocess.check_call is before
