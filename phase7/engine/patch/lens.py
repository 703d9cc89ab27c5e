"""Which tokens a head's emotional output promotes directly, and how far the emotion's words among them.

For each head, what W_U · diag(g) · W_O (z̄_emotion - z̄_neutral) at the last token says: g is the gain of
the final normalisation, and where that is a LayerNorm, the change is centred first. Its scale 1/σ, which
depends on the whole residual stream and is common to all tokens and heads, is left out. Where a layer
normalises its attention's output before it joins the stream (Gemma 2 and 3, OLMo 2), the change is that
of the normalised output, when one head of the mean neutral run is given the emotion's z̄. This is the
direct path only, past all later layers: a lead for an OV analysis, not a measurement of the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from phase7.engine.model.bridge import (
    FinalNorm,
    Model,
    final_norm,
    has_norm_behind,
    joins_stream,
    output_bias,
    output_weight,
    unembedding_weight,
)
from phase7.engine.model.token_sets import known_forms
from phase7.engine.patch.donors import Donor
from phase7.vocabulary.heads import Head


@torch.inference_mode()
def promoted_tokens(
    model: Model,
    heads: Sequence[Head],
    emotion: Donor,
    neutral: Donor,
    words: Sequence[str] = (),
    *,
    n_tokens: int = 8,
) -> dict[str, Any]:
    """The most raised and lowered tokens of each head, and its place in raising the emotion's words.

    Parameters
    ----------
    model : Model
    heads : sequence of Head
    emotion, neutral : Donor
        Means over the prompts of each kind.
    words : sequence of str
        Every form of the emotion's words; those that are one token count.
    n_tokens : int
        Tokens in each direction.

    Returns
    -------
    dict
        ``heads`` (labels), ``token`` (nested lists [head][direction][rank]) and ``score`` (the same
        shape, float, logits but for 1/σ): direction 0 is promoted, highest first; 1 suppressed, lowest
        first. ``emotion_z`` and ``emotion_rank`` (float64 arrays [head], :func:`standing`): NaN where no
        word is one token.
    """
    n_words = min(len(model.tokenizer), unembedding_weight(model).shape[0])
    unembedding = unembedding_weight(model)[:n_words].float()
    norm = final_norm(model)
    written = [_written(model, norm, layer, emotion, neutral) for layer in range(model.n_layers)]
    moved = [_moved(model, unembedding @ written[h.layer][h.head], n_tokens) for h in heads]
    ids = [token for token in known_forms(model.tokenizer, words) if token < n_words]
    z, rank = standing(_word_scores(unembedding, torch.stack(written), ids))
    places = tuple(np.array([(head.layer, head.head) for head in heads], dtype=int).reshape(-1, 2).T)
    return {
        "heads": [str(head) for head in heads],
        "token": [tokens for tokens, _ in moved],
        "score": [scores for _, scores in moved],
        "emotion_z": z[places],
        "emotion_rank": rank[places],
    }


def standing(
    scores: np.ndarray[Any, np.dtype[np.float64]],
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.float64]]]:
    """Each score's z-score and rank among all of them.

    Returns
    -------
    z : float64 array, shape of `scores`
        (score - mean) / standard deviation, over all scores (with their number in the denominator); NaN
        where they are all equal.
    rank : float64 array, shape of `scores`
        1 for the highest; equal scores share the best of their ranks. NaN where the score is.
    """
    spread = scores.std()
    z = (scores - scores.mean()) / spread if spread > 0 else np.full(scores.shape, np.nan)
    higher = (scores.ravel()[None, :] > scores.ravel()[:, None]).sum(axis=1).reshape(scores.shape)
    return z, np.where(np.isnan(scores), np.nan, 1.0 + higher)


def _moved(
    model: Model, logits: Float[Tensor, " n_vocab"], n_tokens: int
) -> tuple[list[list[str]], list[list[float]]]:
    """The tokens moved most, [direction][rank], and how far."""
    top, bottom = logits.topk(n_tokens), (-logits).topk(n_tokens)
    found = (top.indices, bottom.indices)
    tokens = [[model.tokenizer.decode([int(i)]) for i in ids] for ids in found]
    return tokens, [top.values.tolist(), (-bottom.values).tolist()]


def _written(
    model: Model, norm: FinalNorm, layer: int, emotion: Donor, neutral: Donor
) -> Float[Tensor, "n_heads d_model"]:
    """What each head of a layer writes more for the emotion, as it reaches the unembedding."""
    weight = output_weight(model, layer).float()
    change = torch.from_numpy(emotion.z[layer, 0] - neutral.z[layer, 0]).to(model.device)
    written = torch.einsum("hd,hdm->hm", change, weight)
    joins = joins_stream(model, layer)
    if has_norm_behind(model, layer):
        plain = torch.from_numpy(neutral.z[layer, 0]).to(model.device)
        neutral_output = torch.einsum("hd,hdm->m", plain, weight) + output_bias(model, layer)
        return norm.folded(joins(neutral_output + written) - joins(neutral_output[None]))
    return norm.folded(joins(written))


def _word_scores(
    unembedding: Float[Tensor, "n_vocab d_model"],
    written: Float[Tensor, "n_layers n_heads d_model"],
    ids: Sequence[int],
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Mean logit of some tokens less that of all, by layer and head; NaN without tokens."""
    if not ids:
        return np.full(written.shape[:2], np.nan)
    direction = unembedding[list(ids)].mean(dim=0) - unembedding.mean(dim=0)
    scores: np.ndarray[Any, np.dtype[np.float64]] = (written @ direction).double().cpu().numpy()
    return scores
