"""Which tokens a head's emotional output promotes directly.

For each head, the tokens that W_U · W_O (z̄_emotion - z̄_neutral) raises and lowers most at the last
token. This is the direct path only (a logit lens without the final normalisation): a lead for an OV
analysis, not a measurement of the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from phase7.engine.model.bridge import Model, output_weight, unembedding_weight
from phase7.engine.patch.donors import Donor
from phase7.vocabulary.heads import Head


@torch.inference_mode()
def promoted_tokens(
    model: Model, heads: Sequence[Head], emotion: Donor, neutral: Donor, *, n_tokens: int = 8
) -> dict[str, Any]:
    """The most raised and lowered tokens of each head.

    Returns
    -------
    dict
        ``heads`` (labels), ``token`` (nested lists [head][direction][rank]) and ``score`` (the same
        shape, float): direction 0 is promoted, highest first; 1 suppressed, lowest first.
    """
    unembedding = unembedding_weight(model).float()
    n_words = min(len(model.tokenizer), unembedding.shape[0])
    tokens: list[list[list[str]]] = []
    scores: list[list[list[float]]] = []
    for head in heads:
        change = torch.from_numpy(
            emotion.z[head.layer, 0, head.head] - neutral.z[head.layer, 0, head.head]
        ).to(model.device)
        written = change @ output_weight(model, head.layer)[head.head].float()
        logits = (unembedding @ written)[:n_words]
        top, bottom = logits.topk(n_tokens), (-logits).topk(n_tokens)
        tokens.append(
            [[model.tokenizer.decode([int(i)]) for i in ids] for ids in (top.indices, bottom.indices)]
        )
        scores.append([top.values.tolist(), (-bottom.values).tolist()])
    return {"heads": [str(head) for head in heads], "token": tokens, "score": scores}
