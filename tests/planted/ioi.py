"""Indirect-object identification: prompts with two names, and a GPT-2 with a planted circuit for it.

"After Anna and Paul had swept the barn, Paul lent a broom to": the last word is to be the name that came
once. In the corrupted prompt the repeated name is the other one, so that the answer is, too. The model:

- `DUPLICATE` looks from a name to an earlier place of the same name, and writes there which it was.
- `INHIBIT` (and `INHIBIT_WEAK`) bring that from the second name to the last word.
- `MOVER` (and `MOVER_WEAK`) look from the last word to names, but those that were brought, and raise
  the logit of the name they find; `NEGATIVE` looks where `MOVER` does, and lowers it.

All other heads and the MLPs have random weights. LayerNorm is made almost linear by ballast, as in :mod:`tests.planted.model`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from phase7.vocabulary.heads import Head

NAMES = (
    "Anna", "Paul", "Maria", "Peter", "Laura", "Simon", "Emma", "Jack",
    "Alice", "Martin", "Susan", "David", "Kate", "Mark", "Jane", "Tom",
)  # fmt: skip
TEMPLATES = (
    "After {0} and {1} had swept the barn, {2} lent a broom to",
    "While {0} and {1} waited at the ferry, {2} passed a ticket to",
    "When {0} and {1} met near the well, {2} threw a rope to",
    "Once {0} and {1} had closed the bakery, {2} sold a loaf to",
)
DUPLICATE = Head(0, 1)
INHIBIT, INHIBIT_WEAK = Head(1, 2), Head(1, 0)
MOVER, MOVER_WEAK, NEGATIVE = Head(2, 1), Head(2, 3), Head(2, 2)

N_LAYERS, N_HEADS, D_HEAD, N_POSITIONS = 3, 4, 48, 32
D_MODEL = N_HEADS * D_HEAD
_N = len(NAMES)
_NAME, _DUPLICATE, _BROUGHT, _ANSWER = (slice(k * _N, (k + 1) * _N) for k in range(4))
_IS_NAME, _IS_SECOND, _LAST = (slice(4 * _N + k, 4 * _N + k + 1) for k in range(3))
_PLUS, _MINUS = 4 * _N + 3, 4 * _N + 4
_PLACE = slice(4 * _N + 5, 4 * _N + 5 + N_POSITIONS)
_WORD = slice(_PLACE.stop, D_MODEL)  # random features of each token
_BALLAST = 24.0
_SCALE = (D_MODEL / 2) ** 0.5 / _BALLAST  # LayerNorm multiplies small coordinates by this
_SCORE = D_HEAD**0.5  # attention divides by this
#: Of the random weights: what attention reads and writes, what MLPs read and write.
_STD = (0.06, 0.06, 0.1, 0.015)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """An original and a corrupted prompt of equal length, as tokens, and the two names' tokens.

    `name` is the original's answer (the indirect object), `repeated` the corrupted one's (the subject).
    """

    original: tuple[int, ...]
    corrupted: tuple[int, ...]
    name: int
    repeated: int


def pairs(tokenizer: Any, n: int) -> list[Pair]:
    """The first n pairs: templates in turn, with names that are one token; either name comes first.

    Raises
    ------
    ValueError
        If fewer than two names are one token.
    """
    ids = {name: _ids(tokenizer, f" {name}") for name in NAMES}
    known = [name for name in NAMES if len(ids[name]) == 1]
    if len(known) < 2:
        raise ValueError(f"expected a tokenizer with one token for two of the names, got {len(known)}")
    made = []
    for number in range(n):
        template = TEMPLATES[number % len(TEMPLATES)]
        first = known[number % len(known)]
        step = 1 + number // len(known) % (len(known) - 1)
        second = known[(number + step) % len(known)]
        once, twice = (first, second) if number // len(TEMPLATES) % 2 == 0 else (second, first)
        original, corrupted = (
            tuple(_ids(tokenizer, template.format(first, second, name))) for name in (twice, once)
        )
        assert len(original) == len(corrupted)
        made.append(
            Pair(original=original, corrupted=corrupted, name=ids[once][0], repeated=ids[twice][0])
        )
    return made


def _ids(tokenizer: Any, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


def vocabulary() -> list[str]:
    """The end of a text, names, and the templates' words."""
    words = re.findall(r"\w+|[^\w\s]", " ".join(TEMPLATES).replace("{", "").replace("}", ""))
    return ["<end>", *NAMES, *dict.fromkeys(word for word in words if not word.isdigit())]


def save(folder: Path, seed: int) -> Path:
    """Write model and tokenizer in Hugging Face format."""
    words = vocabulary()
    known = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<end>"))
    known.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=known, eos_token="<end>").save_pretrained(folder)
    build(seed).save_pretrained(folder)
    return folder


@torch.no_grad()
def build(seed: int) -> GPT2LMHeadModel:
    """The model; `seed` draws everything that is random."""
    words = vocabulary()
    generator = torch.Generator().manual_seed(seed)
    config = GPT2Config(
        vocab_size=len(words), n_positions=N_POSITIONS, n_embd=D_MODEL, n_layer=N_LAYERS, n_head=N_HEADS,
        tie_word_embeddings=False, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    for name, parameter in model.named_parameters():
        parameter.fill_(1.0 if "ln_" in name and name.endswith("weight") else 0.0)
    for block in model.transformer.h:
        for layer, std in zip(
            (block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj), _STD, strict=True
        ):
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * std)
        for reading in (block.attn.c_attn, block.mlp.c_fc):
            reading.weight[[_PLUS, _MINUS]] = 0.0
        for writing in (block.attn.c_proj, block.mlp.c_proj):
            writing.weight[:, [_PLUS, _MINUS]] = 0.0
    embedding = model.transformer.wte.weight
    embedding[:, _WORD] = torch.randn(embedding[:, _WORD].shape, generator=generator) * 0.5
    embedding[:, _PLUS], embedding[:, _MINUS] = _BALLAST, -_BALLAST
    embedding[1 : _N + 1, _NAME] = torch.eye(_N)
    embedding[1 : _N + 1, _IS_NAME] = 1.0
    embedding[words.index("to"), _LAST] = 1.0
    model.transformer.wpe.weight[:, _PLACE] = torch.eye(N_POSITIONS)
    _plant(model)
    model.lm_head.weight[1 : _N + 1, _ANSWER] = 5.0 * torch.eye(_N) / _SCALE
    return model


def _plant(model: GPT2LMHeadModel) -> None:
    """Give the heads of the circuit their weights instead of random ones."""
    each = torch.eye(_N)
    head = _Weights(model, DUPLICATE)
    head.match(_NAME, _NAME, 12 * each, at=0)
    # Never to itself, and to the first word where no name is found.
    head.match(_PLACE, _PLACE, -24 * torch.eye(N_POSITIONS), at=_N)
    head.query_bias[_N] += 6 * _SCORE
    head.moves(_NAME, _DUPLICATE, 1.0, at=0)
    head.moves(_IS_NAME, _IS_SECOND, 1.0, at=_N)
    for one, sharpness, size in ((INHIBIT, 7.0, 1.0), (INHIBIT_WEAK, 5.0, 0.4)):
        head = _Weights(model, one)
        head.match(_LAST, _IS_SECOND, sharpness * torch.ones(1, 1), at=_N)
        head.moves(_DUPLICATE, _BROUGHT, size, at=0)
    for one, sharpness, size in ((MOVER, 5.0, 1.0), (MOVER_WEAK, 4.0, 0.5), (NEGATIVE, 5.0, -0.4)):
        head = _Weights(model, one)
        head.match(_LAST, _IS_NAME, sharpness * torch.ones(1, 1), at=_N)
        head.match(_BROUGHT, _NAME, -0.6 * sharpness * each, at=0)
        head.moves(_NAME, _ANSWER, size, at=0)


class _Weights:
    """Views of one head's weights, 0 at first."""

    def __init__(self, model: GPT2LMHeadModel, head: Head) -> None:
        attention = model.transformer.h[head.layer].attn
        own = slice(head.head * D_HEAD, (head.head + 1) * D_HEAD)
        self.queries, self.keys, self.values = (
            attention.c_attn.weight[:, k * D_MODEL : (k + 1) * D_MODEL][:, own] for k in range(3)
        )
        self.query_bias = attention.c_attn.bias[own]
        self.outputs = attention.c_proj.weight[own]
        for one in (self.queries, self.keys, self.values, self.outputs):
            one.zero_()

    def match(self, query: slice, key: slice, scores: torch.Tensor, *, at: int) -> None:
        """Add `scores` [query, key] to the attention of such queries to such keys, by dimensions from `at`."""
        n = scores.shape[1]
        self.queries[query, at : at + n] += scores * _SCORE / _SCALE
        self.keys[key, at : at + n] += torch.eye(n) / _SCALE

    def moves(self, source: slice, target: slice, size: float, *, at: int) -> None:
        """Let the head write what it finds at one place of the stream to another."""
        each = torch.eye(source.stop - source.start)
        self.values[source, at : at + len(each)] += each / _SCALE
        self.outputs[at : at + len(each), target] += size * each
