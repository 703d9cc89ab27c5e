"""The planted model with a path of two heads: one writes in layer 0 what another reads in layer 1.

- `WRITER` moves the markers' share into direction P, which no logit reads.
- `READER` moves P into direction E, which raises the logits of gratitude words.
- The other heads behind the writer attend more to a token with more P. What that brings them from the
  last word changes the read-out of each prompt. Neutral words come in pairs of opposite features, so
  that it is as likely as its negative: of these edges the null of the test is true, and not just that
  their mean is 0.

Everything else of :mod:`tests.planted.model` that reads or writes the emotion is taken out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from phase7.effects.circuit import StageCircuit, circuit_dataset
from phase7.engine.decode.circuit import HeadPaths, head_paths
from phase7.engine.decode.written import set_weights
from phase7.engine.model.bridge import Model
from phase7.engine.model.loading import load_model
from phase7.engine.model.tokens import encode
from phase7.engine.patch.capture import capture
from phase7.engine.patch.donors import Donor, DonorSum
from phase7.experiment.statistics import Statistics
from phase7.models.files import find_model
from phase7.vocabulary.heads import Head
from tests.planted import model as planted
from tests.planted.model import (
    CARRIER,
    D_HEAD,
    D_MODEL,
    GRATITUDE_WORDS,
    N_HEADS,
    NEUTRAL_WORDS,
    PAIR,
    WORDS,
)

WRITER, READER = Head(0, 2), Head(1, 1)
N_PROMPTS = 16


def build(seed: int, *, is_read: bool = True) -> torch.nn.Module:
    """The model; without `is_read` the reader reads nothing."""
    model = planted.build(seed)
    blocks = model.transformer.h
    _pair_words(model.transformer.wte.weight)
    marker, e, p, waste = planted._MARKER, planted._E, planted._P, planted._WASTE
    with torch.no_grad():
        for head in (CARRIER, *PAIR, WRITER, READER):
            read, write = _weights(blocks[head.layer].attn, head)
            read.zero_()
            write.zero_()
        blocks[1].mlp.c_fc.weight.zero_()
        blocks[1].mlp.c_proj.weight.zero_()
        read, write = _weights(blocks[0].attn, WRITER)
        read[marker, 0] = 1.0 / planted._SCALE
        write[0, p], write[0, waste] = 2.2, -2.2
        read, write = _weights(blocks[1].attn, READER)
        read[p, 0] = is_read / planted._SCALE
        write[0, e], write[0, waste] = 2.2, -2.2
        for layer in (1, 2):
            attention = blocks[layer].attn
            for head in range(N_HEADS):
                if (layer, head) != READER:
                    attention.c_attn.bias[head * D_HEAD] = 4.0
                    attention.c_attn.weight[p, D_MODEL + head * D_HEAD] = 1.0 / planted._SCALE
    return model


@torch.no_grad()
def _pair_words(embedding: torch.Tensor) -> None:
    """Give every second neutral word the opposite features of the one before, and all others none."""
    features = embedding[:, planted._WORD]
    neutral = [WORDS.index(word) for word in NEUTRAL_WORDS]
    first = features[neutral[::2]].clone()
    features.zero_()
    features[neutral[::2]], features[neutral[1::2]] = first, -first


def _weights(attention: torch.nn.Module, head: Head) -> tuple[torch.Tensor, torch.Tensor]:
    values = slice(2 * D_MODEL + head.head * D_HEAD, 2 * D_MODEL + (head.head + 1) * D_HEAD)
    outputs = slice(head.head * D_HEAD, (head.head + 1) * D_HEAD)
    return attention.c_attn.weight[:, values], attention.c_proj.weight[outputs]


@dataclass(frozen=True, kw_only=True)
class Found:
    """The edges of the writer, the largest first: names, p and q (NaN without a test)."""

    names: tuple[str, ...]
    p: tuple[float, ...]
    q: tuple[float, ...]
    n_tested: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Planted:
    """The model with its prompts, and what the writer is moved between."""

    model: Model
    neutral: list[str]
    donor: Donor
    reference: Donor

    def paths(self, text: str) -> HeadPaths:
        """The writer's paths in one prompt."""
        weights = set_weights(len(WORDS), [WORDS.index(word) for word in GRATITUDE_WORDS])
        tokens = encode(self.model, text, "raw")
        return head_paths(
            self.model,
            tokens,
            (),
            (WRITER,),
            donor=self.donor,
            reference=self.reference,
            weights=weights,
        )


def plant(folder: Path, seed: int, *, is_read: bool = True) -> Planted:
    """Build the model, draw its prompts, and take its donors."""
    build(seed, is_read=is_read).save_pretrained(folder / "model")
    planted.tokenizer().save_pretrained(folder / "model")
    model = load_model(find_model(str(folder / "model"), store_root=folder))
    neutral, emotion = (_prompts(folder, seed, share) for share in (0.0, 0.5))
    return Planted(
        model=model, neutral=neutral, donor=_mean(model, emotion), reference=_mean(model, neutral)
    )


def find(folder: Path, seed: int, *, is_read: bool = True) -> Found:
    """Measure the writer's paths on random prompts."""
    made = plant(folder, seed, is_read=is_read)
    found = [made.paths(text) for text in made.neutral]
    stage = StageCircuit(
        heads=(WRITER,), recipients=tuple(range(N_PROMPTS)),
        effect=np.stack([one.effect for one in found], axis=-1),
        direct=np.stack([one.direct for one in found], axis=-1),
        mlps=np.stack([one.mlps for one in found], axis=-1),
        through=np.stack([one.heads for one in found], axis=-1),
        own={}, reads={}, words="gratitude", n_steps=1,
    )  # fmt: skip
    data = circuit_dataset(stage, Statistics(resamples=200), seed, range(N_PROMPTS)).isel(head_set=0)
    order = np.argsort(-np.abs(np.nan_to_num(data.path_delta.values)), kind="stable")
    return Found(
        names=tuple(str(data.reader.values[i]) for i in order),
        p=tuple(float(data.path_p_value.values[i]) for i in order),
        q=tuple(float(data.path_q_value.values[i]) for i in order),
        n_tested=int(np.isfinite(data.path_q_value.values).sum()),
    )


def _prompts(folder: Path, seed: int, share: float) -> list[str]:
    path = folder / f"{share}_prompts.json"
    planted.write_prompts(path, seed=seed, n_prompts=N_PROMPTS, share_of_markers=share)
    prompts: list[str] = json.loads(path.read_text(encoding="utf-8"))["prompts"]
    return prompts


def _mean(model: Model, texts: list[str]) -> Donor:
    return DonorSum(
        capture(model, encode(model, text, "raw"), all_queries=False) for text in texts
    ).mean()
