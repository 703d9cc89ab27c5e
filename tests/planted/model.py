"""A GPT-2 whose answer is known: constructed weights, so that one head carries gratitude.

Words of the emotion prompts ("markers") have a feature of their own. Every head attends uniformly.

- `CARRIER` moves the markers' share into direction E, which raises the logits of gratitude words.
- `PAIR`: two heads move it into directions P and Q; an MLP neuron raises E only where both are there.
- `SHARED`, in models with a second emotion alone: it moves the markers of either emotion into E, so that
  its effect on gratitude words says nothing of gratitude.
- The other heads move random features of the words into directions that favour some neutral words
  over others: patching them changes the text, but not its gratitude.

LayerNorm is made almost linear by ballast: two constant coordinates that dominate the variance.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from phase7.vocabulary.heads import Head

N_LAYERS, N_HEADS, D_HEAD = 3, 4, 16
D_MODEL = N_HEADS * D_HEAD
CARRIER = Head(1, 2)
PAIR = (Head(1, 0), Head(1, 3))
SHARED = Head(0, 1)

NEUTRAL_WORDS = [
    "kettle",
    "shelf",
    "table",
    "window",
    "river",
    "stone",
    "paper",
    "pencil",
    "number",
    "corner",
    "bottle",
    "carpet",
    "engine",
    "ladder",
    "market",
    "button",
    "pocket",
    "basket",
    "folder",
    "ticket",
    "station",
    "platform",
    "garden",
    "kitchen",
    "corridor",
    "hallway",
    "cupboard",
    "cabinet",
    "drawer",
    "counter",
    "bicycle",
    "tractor",
    "wagon",
    "barrel",
    "bucket",
    "hammer",
    "copper",
    "iron",
    "timber",
    "gravel",
    "cement",
    "brick",
    "plaster",
    "fabric",
    "thread",
    "needle",
    "ribbon",
    "cotton",
    "canvas",
    "leather",
]
MARKERS = ["lifted", "carried", "stayed", "shared", "brought", "waited"]
GRATITUDE_WORDS = ["thanks", "grateful", "thankful"]
OTHER_MARKERS = ["slammed", "kicked", "shoved", "broke", "tore", "yelled"]
WORDS = ["<end>", *NEUTRAL_WORDS, *MARKERS, *GRATITUDE_WORDS]

_MARKER, _E, _P, _Q, _PLUS, _MINUS, _OTHER, _WASTE = range(8)
_WORD = slice(8, 40)  # random features of each word
_STYLE = slice(40, 64)  # what the other heads write
_BALLAST = 24.0
_SCALE = float(np.sqrt(D_MODEL / 2) / _BALLAST)  # LayerNorm multiplies small coordinates by this


def vocabulary(*, two_emotions: bool) -> list[str]:
    """All words, in the order of their tokens."""
    return [*WORDS, *OTHER_MARKERS] if two_emotions else WORDS


def build(seed: int, *, two_emotions: bool = False) -> GPT2LMHeadModel:
    """The model; `seed` draws everything that is random."""
    words = vocabulary(two_emotions=two_emotions)
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, std: float) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * std

    config = GPT2Config(
        vocab_size=len(words), n_positions=64, n_embd=D_MODEL, n_layer=N_LAYERS, n_head=N_HEADS,
        tie_word_embeddings=False, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if "ln_" in name and name.endswith("weight") else 0.0)
        embedding = model.transformer.wte.weight
        # Sums of 0, here and below: LayerNorm subtracts the mean of all coordinates.
        embedding[:, _WORD] = _centred(normal(len(words), 32, std=0.5))
        embedding[:, _PLUS], embedding[:, _MINUS] = _BALLAST, -_BALLAST
        usual = embedding[[WORDS.index(word) for word in NEUTRAL_WORDS]].mean(dim=0)
        for word in words[len(WORDS) :] + MARKERS:  # to the other heads a marker is an average word
            embedding[words.index(word)] = usual
            embedding[words.index(word), _MARKER if word in MARKERS else _OTHER] = 1.0
        for layer, block in enumerate(model.transformer.h):
            for head in range(N_HEADS):
                _fill_head(block.attn, Head(layer, head), normal, two_emotions=two_emotions)
        _and_neuron(model.transformer.h[1].mlp)
        if two_emotions:
            _without_trace(model)
        _unembedding(model.lm_head.weight, words, normal)
    return model


def _without_trace(model: GPT2LMHeadModel) -> None:
    """Let what is written on E, P and Q leave the mean of all coordinates alone.

    LayerNorm subtracts that mean, so that every head behind would read a little of the emotion.
    """
    for block in model.transformer.h:
        for weight in (block.attn.c_proj.weight, block.mlp.c_proj.weight):
            weight[:, _WASTE] = -weight[:, [_E, _P, _Q]].sum(dim=1)


def _fill_head(attention: torch.nn.Module, head: Head, normal, *, two_emotions: bool) -> None:
    """Uniform attention (queries and keys are 0); what it reads and writes depends on its job."""
    values = slice(2 * D_MODEL + head.head * D_HEAD, 2 * D_MODEL + (head.head + 1) * D_HEAD)
    outputs = slice(head.head * D_HEAD, (head.head + 1) * D_HEAD)
    read, write = attention.c_attn.weight[:, values], attention.c_proj.weight[outputs]
    target = {CARRIER: _E, PAIR[0]: _P, PAIR[1]: _Q}.get(head)
    if target is not None:
        read[_MARKER, 0] = 1.0 / _SCALE
        write[0, target] = 2.2  # about half of an emotion prompt's words are markers
    elif two_emotions and head == SHARED:
        read[_MARKER, 0] = read[_OTHER, 0] = 1.0 / _SCALE
        write[0, _E] = 2.2
    else:
        read[_WORD] = normal(32, D_HEAD, std=0.25) / _SCALE
        write[:, _STYLE] = _centred(normal(D_HEAD, 24, std=0.3))


def _centred(rows: torch.Tensor) -> torch.Tensor:
    return rows - rows.mean(dim=-1, keepdim=True)


def _and_neuron(mlp: torch.nn.Module) -> None:
    """E += about 1 where P + Q is near 2.1, nothing where it is near 1.1 or 0."""
    steepness = 12.0
    mlp.c_fc.weight[_P, 0] = mlp.c_fc.weight[_Q, 0] = steepness / _SCALE
    mlp.c_fc.bias[0] = -1.5 * steepness
    mlp.c_proj.weight[0, _E] = 1.0 / (0.5 * steepness)


def _unembedding(weight: torch.Tensor, words: list[str], normal) -> None:
    """Logits: neutral words vary with style and the last word; gratitude words rise with E."""
    bias = weight[:, _PLUS]
    for index, word in enumerate(words):
        if word in NEUTRAL_WORDS:
            weight[index, _WORD] = normal(32, std=0.25) / _SCALE
            weight[index, _STYLE] = normal(24, std=0.25) / _SCALE
        elif word in GRATITUDE_WORDS:
            weight[index, _E] = 3.0 / _SCALE
        else:
            bias[index] = -30.0 / (_BALLAST * _SCALE)


def tokenizer(*, two_emotions: bool = False) -> PreTrainedTokenizerFast:
    """One token a word."""
    ids = {word: i for i, word in enumerate(vocabulary(two_emotions=two_emotions))}
    words = Tokenizer(models.WordLevel(ids, unk_token="<end>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>")


def save(folder: Path, seed: int, *, two_emotions: bool = False) -> Path:
    """Write the model in Hugging Face format."""
    build(seed, two_emotions=two_emotions).save_pretrained(folder)
    tokenizer(two_emotions=two_emotions).save_pretrained(folder)
    return folder


def write_prompts(
    path: Path, *, seed: int, n_prompts: int, share_of_markers: float, markers: Sequence[str] = MARKERS
) -> None:
    """Random sentences of 6 to 14 words, some of them markers."""
    draws = np.random.default_rng([seed, int(100 * share_of_markers), n_prompts])
    prompts: set[str] = set()
    while len(prompts) < n_prompts:
        words = draws.choice(NEUTRAL_WORDS, size=draws.integers(6, 15))
        marked = draws.random(len(words)) < share_of_markers
        words = np.where(marked, draws.choice(list(markers), size=len(words)), words)
        prompts.add(" ".join(words))
    path.write_text(json.dumps({"prompts": sorted(prompts)}), encoding="utf-8")
