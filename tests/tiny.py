"""Tiny random models of the four architectures, made on the spot: the reference of the laws.

Wide initial weights make their logits uneven, so that a patch that acts does change the text.
"""

from __future__ import annotations

import atexit
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from phase7.engine.model.bridge import Model
from phase7.engine.model.loading import load_model
from phase7.models.files import find_model

ARCHITECTURES = ("gpt2", "gpt_neox", "gpt_neo", "llama")
N_LAYERS, N_HEADS, N_VOCAB, N_CONTEXT = 3, 4, 320, 96

_CORPUS = [
    "The kettle is on the second shelf, beside the blue cups and the sugar.",
    "Thank you so much for the lift, I am grateful; I am furious about the noise; I am sorry.",
    "Buses leave at ten past the hour and stop near the library, the bank and the old mill.",
    "She wrote the number on a card, folded it twice and put it under the lamp.",
]


def tokenizer(chat: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of N_VOCAB tokens; token 0 ends a text."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=N_VOCAB,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_CORPUS, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|endoftext|>")
    if chat:
        fast.chat_template = (
            "{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}\n"
            "{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
        )
    return fast


def hf_model(architecture: str, seed: int = 0) -> torch.nn.Module:
    """A random model of the architecture."""
    torch.manual_seed(seed)
    common = {
        "vocab_size": N_VOCAB,
        "initializer_range": 0.25,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    if architecture == "gpt2":
        config = GPT2Config(n_layer=N_LAYERS, n_head=N_HEADS, n_embd=32, n_positions=N_CONTEXT, **common)
        model = GPT2LMHeadModel(config)
    elif architecture == "gpt_neox":
        config = GPTNeoXConfig(
            num_hidden_layers=N_LAYERS, num_attention_heads=N_HEADS, hidden_size=32,
            intermediate_size=64, max_position_embeddings=N_CONTEXT, **common,
        )  # fmt: skip
        model = GPTNeoXForCausalLM(config)
    elif architecture == "gpt_neo":
        config = GPTNeoConfig(
            num_layers=N_LAYERS, num_heads=N_HEADS, hidden_size=32, window_size=8,
            attention_types=[[["global", "local", "global"], 1]],
            max_position_embeddings=N_CONTEXT, **common,
        )  # fmt: skip
        model = GPTNeoForCausalLM(config)
    else:
        config = LlamaConfig(
            num_hidden_layers=N_LAYERS, num_attention_heads=N_HEADS, num_key_value_heads=2,
            hidden_size=32, intermediate_size=64, max_position_embeddings=N_CONTEXT, **common,
        )  # fmt: skip
        model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.1)
    return model.eval()


def save(architecture: str, folder: Path, seed: int = 0, chat: bool = False) -> Path:
    """Write a tiny model in Hugging Face format."""
    hf_model(architecture, seed).save_pretrained(folder)
    tokenizer(chat).save_pretrained(folder)
    return folder


@cache
def load(architecture: str, seed: int = 0) -> Model:
    """A tiny model, saved and loaded by the package's own path; one a test run."""
    made = Path(mkdtemp(prefix="phase7-tiny-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    folder = made / f"tiny-{architecture}"
    files = find_model(str(save(architecture, folder, seed)), store_root=folder.parent)
    return load_model(files)
