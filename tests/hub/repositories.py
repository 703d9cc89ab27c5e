"""Repositories made on the spot: the named models and the hub scorers, with random weights.

`width` chooses reduced models (the real configurations with fewer dimensions) or the full size.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Tokenizer,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    GPTNeoXTokenizer,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from phase7.models.registry import REGISTRY
from phase7.scoring.hub import DEFAULT_REPOSITORIES
from phase7.vocabulary.metrics import GOEMOTIONS_LABELS
from tests import tiny
from tests.hub.server import Hub, Repository

Width = Literal["reduced", "full"]
#: More embeddings than tokens, as Pythia has.
EMBEDDINGS = tiny.N_VOCAB + 64
UNPINNED_COMMIT = "c" * 40


def config(name: str, width: Width) -> object:
    """The real configuration of a named model; `reduced` keeps layers and heads, with 8 dims a head."""
    full = width == "full"
    if name == "gpt2":
        return GPT2Config() if full else GPT2Config(n_embd=96, vocab_size=EMBEDDINGS, n_positions=512)
    if name == "pythia-160m":
        size = {} if full else {"hidden_size": 96, "intermediate_size": 192, "vocab_size": EMBEDDINGS}
        defaults = {
            "hidden_size": 768, "intermediate_size": 3072, "vocab_size": 50304,
            "num_hidden_layers": 12, "num_attention_heads": 12, "max_position_embeddings": 2048,
            "rotary_pct": 0.25, "use_parallel_residual": True, "tie_word_embeddings": False,
        }  # fmt: skip
        return GPTNeoXConfig(**(defaults | size), bos_token_id=0, eos_token_id=0)
    size = {} if full else {"hidden_size": 96, "vocab_size": EMBEDDINGS, "max_position_embeddings": 512}
    defaults = {
        "hidden_size": 768, "num_layers": 12, "num_heads": 12, "window_size": 256,
        "attention_types": [[["global", "local"], 6]],
    }  # fmt: skip
    return GPTNeoConfig(**(defaults | size))


def language_model(name: str, width: Width, seed: int = 0) -> torch.nn.Module:
    """A named model's architecture with seeded random weights."""
    torch.manual_seed(seed)
    kinds = {
        "gpt2": GPT2LMHeadModel,
        "pythia-160m": GPTNeoXForCausalLM,
        "gpt-neo-125M": GPTNeoForCausalLM,
    }
    settings = config(name, width)
    settings.initializer_range = 0.08 if width == "full" else 0.2
    settings.eos_token_id = settings.bos_token_id = 0
    return kinds[name](settings).eval()


def tokenizer(name: str) -> PreTrainedTokenizerFast:
    """The class the real model uses, with a small vocabulary."""
    kind = GPTNeoXTokenizer if name == "pythia-160m" else GPT2Tokenizer
    whole = json.loads(tiny.tokenizer().backend_tokenizer.to_str())["model"]
    special = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    return kind(vocab=whole["vocab"], merges=[tuple(pair) for pair in whole["merges"]], **special)


def serve_models(hub: Hub, folder: Path, width: Width = "reduced") -> None:
    """Add the three named models at their pinned revisions."""
    for name, spec in REGISTRY.items():
        if spec.source != "hub":
            continue
        place = folder / name
        language_model(name, width).save_pretrained(place)
        tokenizer(name).save_pretrained(place)
        (place / "pytorch_model.bin").write_bytes(b"never to be fetched")
        (place / "modeling_custom.py").write_text("raise SystemExit('never to be run')\n")
        hub.repositories[spec.location] = Repository(place, spec.revision)


def serve_scorers(hub: Hub, folder: Path) -> None:
    """Add small classifiers with the labels of the three hub scorers."""
    small = {"vocab_size": tiny.N_VOCAB, "pad_token_id": 0}
    bert = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    made = {
        "sentiment": DistilBertForSequenceClassification(
            DistilBertConfig(dim=16, n_layers=1, n_heads=2, hidden_dim=32, **small,
                             **_labels(["positive", "neutral", "negative"]))
        ),
        "goemotions": RobertaForSequenceClassification(
            RobertaConfig(max_position_embeddings=514, **bert, **small, **_labels(GOEMOTIONS_LABELS))
        ),
        "politeness": BertForSequenceClassification(
            BertConfig(**bert, **small, **_labels(["polite", "somewhat polite", "neutral", "impolite"]))
        ),
    }  # fmt: skip
    for task, model in made.items():
        place = folder / f"scorer-{task}"
        model.save_pretrained(place)
        fast = tiny.tokenizer()
        fast.pad_token = "<|endoftext|>"
        fast.model_max_length = 512
        fast.save_pretrained(place)
        location, _, commit = DEFAULT_REPOSITORIES[task].partition("@")
        hub.repositories[location] = Repository(place, commit or UNPINNED_COMMIT)


def _labels(labels: list[str] | tuple[str, ...]) -> dict[str, object]:
    return {"num_labels": len(labels), "id2label": dict(enumerate(labels))}
