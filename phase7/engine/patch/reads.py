"""What heads read: where their queries look, and what queries and keys ask for.

**Attention.** How much of a head's attention goes to each token of a prompt, from its last query, whose
output is transplanted; the same tokens of one prompt are added up, and prompts are averaged. What it
reads of emotion prompts beyond neutral ones is the difference of the two.

**Asked for.** The mean query of emotion prompts less that of neutral ones is a direction in the space of
keys. Its product with the key that the layer makes of a token's embedding alone, divided by the square
root of d_head as most models do, says which tokens the queries of the emotion ask for more.

**Answered.** The same of keys: the mean key, weighted with the attention, of emotion prompts less that
of neutral ones, against the queries that the layer makes of embeddings: as queries, which tokens find
what the head reads more of. Both are taken before rotation by position and without what lower layers
add, so they are leads and no measurements.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from phase7.engine.model.bridge import Model
from phase7.engine.model.faithful import check_lengths
from phase7.engine.model.frozen import by_head, linear_change
from phase7.engine.model.gates import Hook
from phase7.vocabulary.heads import Head

Doubles = np.ndarray[Any, np.dtype[np.float64]]

#: Tokens that are kept of each list.
N_TOKENS = 8


@torch.inference_mode()
def what_heads_read(
    model: Model,
    heads: Sequence[Head],
    emotion: Sequence[Sequence[int]],
    neutral: Sequence[Sequence[int]],
    *,
    n_tokens: int = N_TOKENS,
) -> dict[str, Any]:
    """Read the attention, queries and keys of some heads on prompts of two kinds.

    Parameters
    ----------
    model : Model
        With projections of queries and keys in every layer.
    heads : sequence of Head
        At least one.
    emotion, neutral : sequence of sequence of int
        Prompts as the model reads them, at least one of each kind.
    n_tokens : int

    Returns
    -------
    dict
        Nested lists [head][rank]: ``read_token``, with ``read_emotion`` and ``read_neutral``, the shares
        of attention, by the largest difference first; ``asked_token`` with ``asked_score``, and
        ``answered_token`` with ``answered_score``, highest first. ``""`` and NaN fill what is not there,
        such as attention that cannot be read.

    Raises
    ------
    UserError
        If the model runs otherwise than transformers at some length.
    """
    seen = [[_seen(model, heads, tokens) for tokens in prompts] for prompts in (emotion, neutral)]
    found: dict[str, list[Any]] = {}
    for number, head in enumerate(heads):
        of_head = _attention([[one[number] for one in some] for some in seen], n_tokens, model)
        by_kind = [[one[number] for one in some] for some in seen]
        query, key = (_difference(by_kind, name) for name in ("query", "key"))
        of_head |= _alike(model, head, query, "asked", n_tokens)
        of_head |= _alike(model, head, key, "answered", n_tokens)
        for name, values in of_head.items():
            found.setdefault(name, []).append(values)
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class _Seen:
    """One head on one prompt: its last query, the mean key it reads, and its attention by token."""

    query: Tensor
    key: Tensor | None
    attention: Mapping[int, float] | None


def _seen(model: Model, heads: Sequence[Head], tokens: Sequence[int]) -> list[_Seen]:
    check_lengths(model, len(tokens) + 1, 0)
    layers = sorted({head.layer for head in heads})
    projected: dict[tuple[int, str], Tensor] = {}
    patterns: dict[int, Tensor] = {}

    def keep(place: tuple[int, str]) -> Any:
        def hook(module: Any, args: Any, output: Tensor) -> None:
            projected[place] = by_head(model, output)[0].float()

        return hook

    def keep_pattern(layer: int) -> Hook:
        def hook(pattern: Tensor, hook: Any) -> None:
            patterns[layer] = pattern[0, :, -1].float()

        return hook

    with contextlib.ExitStack() as stack:
        for layer in layers:
            for name in ("q", "k"):
                module = getattr(model.bridge.blocks[layer].attn, name)
                stack.callback(module.register_forward_hook(keep((layer, name))).remove)
        stack.enter_context(model.hooked({"pattern": {layer: keep_pattern(layer) for layer in layers}}))
        stack.enter_context(model.unembedding_apart())
        ids = torch.tensor([list(tokens)], dtype=torch.long, device=model.device)
        model.bridge(ids, past_key_values=model.new_cache(), use_cache=True)
    group, found = model.n_heads // model.n_kv_heads, []
    for layer, head in heads:
        query, keys = projected[layer, "q"][-1, head], projected[layer, "k"][:, head // group]
        if layer not in patterns:
            found.append(_Seen(query=query, key=None, attention=None))
            continue
        weights = patterns[layer][head]
        n_dropped = len(tokens) - len(weights)  # by a layer that forgets
        by_token: defaultdict[int, float] = defaultdict(float)
        for token, weight in zip(tokens[n_dropped:], weights.tolist(), strict=True):
            by_token[token] += weight
        found.append(_Seen(query=query, key=weights @ keys[n_dropped:], attention=by_token))
    return found


def _attention(by_kind: Sequence[Sequence[_Seen]], n_tokens: int, model: Model) -> dict[str, list[Any]]:
    """The tokens read more of emotion prompts, and the shares of attention they get in both kinds."""
    shares: list[defaultdict[int, float]] = []
    for some in by_kind:
        total: defaultdict[int, float] = defaultdict(float)
        for one in some:
            for token, weight in (one.attention or {}).items():
                total[token] += weight / len(some)
        shares.append(total)
    emotion, neutral = shares
    every = sorted(
        set(emotion) | set(neutral), key=lambda token: (neutral[token] - emotion[token], token)
    )
    chosen = every[:n_tokens]
    missing = n_tokens - len(chosen)
    return {
        "read_token": [model.tokenizer.decode([token]) for token in chosen] + [""] * missing,
        "read_emotion": [emotion[token] for token in chosen] + [float("nan")] * missing,
        "read_neutral": [neutral[token] for token in chosen] + [float("nan")] * missing,
    }


def _difference(by_kind: Sequence[Sequence[_Seen]], name: str) -> Tensor | None:
    """The mean of emotion prompts less that of neutral ones; None where it was not seen."""
    tensors = [[getattr(one, name) for one in some] for some in by_kind]
    if any(one is None for some in tensors for one in some):
        return None
    emotion, neutral = (torch.stack(some).mean(dim=0) for some in tensors)
    return emotion - neutral


def _alike(
    model: Model, head: Head, direction: Tensor | None, name: str, n_tokens: int
) -> dict[str, list[Any]]:
    """The tokens whose embeddings, as keys (asked) or queries (answered), fit a direction best."""
    if direction is None:
        return {f"{name}_token": [""] * n_tokens, f"{name}_score": [float("nan")] * n_tokens}
    scores = embedding_scores(model, head, direction, as_keys=name == "asked")
    top = scores.topk(min(n_tokens, len(scores)))
    missing = n_tokens - len(top.indices)
    tokens = [model.tokenizer.decode([int(token)]) for token in top.indices]
    return {
        f"{name}_token": tokens + [""] * missing,
        f"{name}_score": top.values.tolist() + [float("nan")] * missing,
    }


@torch.inference_mode()
def embedding_scores(
    model: Model, head: Head, direction: Float[Tensor, " d_head"], *, as_keys: bool
) -> Float[Tensor, " n_vocab"]:
    """How well every token's embedding fits a direction, as a key or a query of a head.

    Parameters
    ----------
    direction : float tensor [d_head]
        Of queries where embeddings are keys, of keys where they are queries.

    Returns
    -------
    float tensor [n_vocab]
        Scores of attention before the softmax, less their mean over the vocabulary.
    """
    block = model.bridge.blocks[head.layer]
    group = model.n_heads // model.n_kv_heads
    projection, at = (block.attn.k, head.head // group) if as_keys else (block.attn.q, head.head)
    weight = model.bridge.original_model.get_input_embeddings().weight
    n_words = min(len(model.tokenizer), weight.shape[0])
    given = block.ln1.original_component(weight.detach()[:n_words]).float()
    unit = torch.eye(given.shape[1], device=given.device)[None]
    into_head = by_head(model, linear_change(projection, unit))[0, :, at]
    scores: Tensor = given @ (into_head @ direction) / model.d_head**0.5
    return scores - scores.mean()
