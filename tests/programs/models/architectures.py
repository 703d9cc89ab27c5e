"""Tiny random models of many architectures: 3 layers of 4 heads, made from transformers' configurations.

A name with a comma is a variant: its configuration asks for something that the architecture computes in
another way.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers

from tests import tiny

N_LAYERS, N_HEADS = 3, 4
_PLAIN = {
    "vocab_size": tiny.N_VOCAB, "hidden_size": 32, "intermediate_size": 64,
    "num_hidden_layers": N_LAYERS, "num_attention_heads": N_HEADS, "max_position_embeddings": 96,
    "initializer_range": 0.25, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip
_OLD = {
    "vocab_size": tiny.N_VOCAB, "n_layer": N_LAYERS, "n_head": N_HEADS, "n_embd": 32, "n_positions": 96,
    "initializer_range": 0.25, "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
_GROUPED = _PLAIN | {"num_key_value_heads": 2}
_SIZED = _GROUPED | {"head_dim": 8}
_EXPERTS = {
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2,
    "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16,
}  # fmt: skip
_ROUTED = _EXPERTS | {"n_group": 1, "topk_group": 1, "first_k_dense_replace": 1}
_LATENT = _PLAIN | _ROUTED | {
    "num_key_value_heads": N_HEADS, "kv_lora_rank": 16, "q_lora_rank": 16, "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4, "v_head_dim": 8,
}  # fmt: skip
_GEMMA = _SIZED | {"query_pre_attn_scalar": 8, "sliding_window": 16}
_LINEAR = {
    "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}  # fmt: skip
_STATES = {
    "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_n_groups": 1, "mamba_d_state": 8, "mamba_chunk_size": 8,
}  # fmt: skip
_LONGROPE = {
    "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4,
    "long_factor": [2.0, 3.0, 4.0, 5.0], "original_max_position_embeddings": 16,
}  # fmt: skip

#: By name: the configuration's class without its ending, and its settings. The model's class is the same
#: with ForCausalLM, or stands behind a colon.
ARCHITECTURES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "GPT-2": ("GPT2:GPT2LMHeadModel", _OLD),
    "GPT-2, scores by layer": ("GPT2:GPT2LMHeadModel", _OLD | {"scale_attn_by_inverse_layer_idx": True}),
    "GPT-2, scores not scaled": ("GPT2:GPT2LMHeadModel", _OLD | {"scale_attn_weights": False}),
    "GPT-NeoX (Pythia)": ("GPTNeoX", _PLAIN),
    "GPT-Neo": (
        "GPTNeo",
        {
            "vocab_size": tiny.N_VOCAB, "hidden_size": 32, "num_layers": N_LAYERS, "num_heads": N_HEADS,
            "attention_types": [[["global", "local", "global"], 1]], "window_size": 8,
            "max_position_embeddings": 96, "initializer_range": 0.25, "bos_token_id": 0, "eos_token_id": 0,
        },
    ),
    "GPT-J": ("GPTJ", _OLD | {"rotary_dim": 4}),
    "GPT-J, stray key heads": ("GPTJ", _OLD | {"rotary_dim": 4, "num_key_value_heads": 2}),
    "GPTBigCode": ("GPTBigCode", _OLD),
    "GPTBigCode, multi-query off": ("GPTBigCode", _OLD | {"multi_query": False}),
    "GPT-1": ("OpenAIGPT:OpenAIGPTLMHeadModel", _OLD),
    "CodeGen": ("CodeGen", _OLD | {"rotary_dim": 4, "n_ctx": 96}),
    "OPT": ("OPT", _PLAIN | {"ffn_dim": 64, "word_embed_proj_dim": 32}),
    "XGLM": (
        "XGLM",
        {
            "vocab_size": tiny.N_VOCAB, "d_model": 32, "num_layers": N_LAYERS, "attention_heads": N_HEADS,
            "ffn_dim": 64, "max_position_embeddings": 96, "init_std": 0.25, "bos_token_id": 0,
            "eos_token_id": 0, "pad_token_id": 0,
        },
    ),
    "Bloom": ("Bloom", _PLAIN | {"n_layer": N_LAYERS, "n_head": N_HEADS}),
    "MPT": (
        "Mpt",
        {
            "vocab_size": tiny.N_VOCAB, "d_model": 32, "n_layers": N_LAYERS, "n_heads": N_HEADS,
            "max_seq_len": 96, "initializer_range": 0.25, "bos_token_id": 0, "eos_token_id": 0,
        },
    ),
    "Falcon": ("Falcon", _PLAIN),
    "Falcon, multi-query off": ("Falcon", _PLAIN | {"multi_query": False}),
    "Falcon, ALiBi": ("Falcon", _PLAIN | {"multi_query": False, "alibi": True, "parallel_attn": False}),
    "Falcon, new decoder": ("Falcon", _PLAIN | {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "Llama": ("Llama", _GROUPED),
    "Mistral, sliding window": ("Mistral", _GROUPED | {"sliding_window": 8}),
    "Ministral 3": ("Ministral3", _SIZED),
    "Mixtral": ("Mixtral", _GROUPED | _EXPERTS),
    "Qwen2": ("Qwen2", _GROUPED),
    "Qwen2, sliding window": (
        "Qwen2", _GROUPED | {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
    ),
    "Qwen2-MoE": ("Qwen2Moe", _GROUPED | _EXPERTS),
    "Qwen3": ("Qwen3", _SIZED),
    "Qwen3-MoE": ("Qwen3Moe", _SIZED | _EXPERTS),
    "Gemma": ("Gemma", _SIZED),
    "Gemma 2": ("Gemma2", _GEMMA),
    "Gemma 3": ("Gemma3Text:Gemma3ForCausalLM", _GEMMA),
    "Gemma 3, with vision": ("Gemma3:Gemma3ForConditionalGeneration", _GEMMA),
    "VaultGemma": ("VaultGemma", _GEMMA),
    "Phi": ("Phi", _GROUPED),
    "Phi-3": ("Phi3", _GROUPED),
    "Phi-3, longrope": (
        "Phi3", _GROUPED | {"original_max_position_embeddings": 16, "rope_parameters": _LONGROPE},
    ),
    "OLMo": ("Olmo", _GROUPED),
    "OLMo, clipped values": ("Olmo", _GROUPED | {"clip_qkv": 0.5}),
    "OLMo 2": ("Olmo2", _GROUPED),
    "OLMo 3": ("Olmo3", _GROUPED | {"sliding_window": 8}),
    "OLMoE": ("Olmoe", _GROUPED | _EXPERTS),
    "FlexOlmo": ("FlexOlmo", _GROUPED | _EXPERTS),
    "Granite": (
        "Granite", _GROUPED | {"residual_multiplier": 0.22, "attention_multiplier": 0.3},
    ),
    "Granite-MoE": ("GraniteMoe", _GROUPED | _EXPERTS | {"residual_multiplier": 0.22}),
    "Cohere": ("Cohere", _GROUPED | {"logit_scale": 1.0}),
    "Cohere 2": ("Cohere2", _GROUPED | {"sliding_window": 8, "logit_scale": 1.0}),
    "gpt-oss": ("GptOss", _SIZED | _EXPERTS | {"sliding_window": 8}),
    "StableLM": ("StableLm", _GROUPED),
    "StarCoder 2": ("Starcoder2", _GROUPED),
    "SmolLM3": ("SmolLM3", _GROUPED),
    "Nemotron": ("Nemotron", _GROUPED),
    "GLM": ("Glm", _SIZED),
    "GLM-4": ("Glm4", _SIZED),
    "GLM-4-MoE": ("Glm4Moe", _SIZED | _ROUTED),
    "EXAONE 4": ("Exaone4", _GROUPED | {"sliding_window": 8}),
    "ERNIE 4.5": ("Ernie4_5", _SIZED),
    "ERNIE 4.5-MoE": ("Ernie4_5_Moe", _GROUPED | _EXPERTS | {"moe_num_experts": 4, "moe_k": 2}),
    "Seed-OSS": ("SeedOss", _SIZED),
    "Apertus": ("Apertus", _GROUPED),
    "Arcee": ("Arcee", _GROUPED),
    "HunYuan, dense": ("HunYuanDenseV1", _SIZED),
    "MiniMax-M2": ("MiniMaxM2", _SIZED | _EXPERTS),
    "BitNet": ("BitNet", _GROUPED),
    "NanoChat": ("NanoChat", _GROUPED),
    "Jais 2": ("Jais2", _SIZED),
    "AFMoE": ("Afmoe", _SIZED | _EXPERTS | {"sliding_window": 8}),
    "ModernBERT decoder": ("ModernBertDecoder", _PLAIN | {"local_attention": 16}),
    "Llama 4": (
        "Llama4Text:Llama4ForCausalLM",
        _SIZED | _EXPERTS | {"intermediate_size_mlp": 64, "attention_chunk_size": 8},
    ),
    "DeepSeek-V2": ("DeepseekV2", _LATENT),
    "DeepSeek-V3": ("DeepseekV3", _LATENT),
    "Gemma 4, head sizes by layer": (
        "Gemma4Text:Gemma4ForCausalLM",
        _SIZED | {
            "global_head_dim": 16, "num_global_key_value_heads": 2, "sliding_window": 16,
            "hidden_size_per_layer_input": 0,
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        },
    ),
    "LFM2": ("Lfm2", _GROUPED | {"layer_types": ["conv", "full_attention", "conv"]}),
    "Falcon-H1": (
        "FalconH1", _SIZED | _STATES | {"mamba_d_ssm": 32, "mamba_d_head": 8},
    ),
    "Bamba": ("Bamba", _GROUPED | _STATES | {"attn_layer_indices": [1]}),
    "Qwen3-Next": (
        "Qwen3Next",
        _SIZED | _EXPERTS | _LINEAR
        | {"layer_types": ["linear_attention", "full_attention", "linear_attention"]},
    ),
    "RecurrentGemma": ("RecurrentGemma", _SIZED | {"lru_width": 32, "attention_window_size": 16}),
    "Mamba": ("Mamba", _PLAIN),
    "BERT as a decoder": ("Bert:BertLMHeadModel", _PLAIN | {"is_decoder": True}),
}  # fmt: skip


def save(name: str, folder: Path, seed: int = 0) -> Path:
    """Write a random model of an architecture, with weights wide enough that patches move its text."""
    torch.manual_seed(seed)
    kind, settings = ARCHITECTURES[name]
    config_name, _, model_name = kind.partition(":")
    if model_name == "Gemma3ForConditionalGeneration":
        config = _with_vision(settings)
    else:
        config = getattr(transformers, f"{config_name}Config")(**settings)
    model = getattr(transformers, model_name or f"{config_name}ForCausalLM")(config).eval()
    with torch.no_grad():
        for label, weight in model.named_parameters():
            if "sinks" in label:
                weight.normal_(0.0, 1.0)
            elif label.endswith("bias"):
                weight.normal_(0.0, 0.1)
            elif weight.ndim > 1 and float(weight.std()) < 0.2:
                weight.normal_(0.0, 0.25)
    model.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def _with_vision(text: Mapping[str, Any]) -> Any:
    vision = transformers.SiglipVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28,
        patch_size=14,
    )  # fmt: skip
    return transformers.Gemma3Config(
        text_config=transformers.Gemma3TextConfig(**text), vision_config=vision, mm_tokens_per_image=4,
        image_token_index=5, eos_token_id=0,
    )  # fmt: skip
