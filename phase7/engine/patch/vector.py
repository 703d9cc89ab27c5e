"""What a set of heads writes more for the emotion than for neutral prompts: a direction by layer.

Added to the output of a layer's attention, times α, it does what a patch of the set with
``write = "add"`` and strength α does, so a plain transformers model can be steered with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from phase7.engine.model.bridge import Model, output_weight
from phase7.engine.patch.donors import Donor
from phase7.vocabulary.heads import Head


@torch.inference_mode()
def head_vectors(
    model: Model, heads: Sequence[Head], emotion: Donor, neutral: Donor
) -> dict[int, Float[Tensor, " d_model"]]:
    """Sum over the heads of each layer of W_O (z̄_emotion - z̄_neutral), float32, by layer.

    Parameters
    ----------
    heads : sequence of Head
        Each counts once.
    emotion, neutral : Donor
        Means over the prompts of each kind; their last query is read.
    """
    found: dict[int, Tensor] = {}
    for head in sorted(set(heads)):
        change = torch.from_numpy(emotion.z[head.layer, 0] - neutral.z[head.layer, 0])[head.head]
        written = change.to(model.device).float() @ output_weight(model, head.layer)[head.head].float()
        found[head.layer] = found[head.layer] + written if head.layer in found else written
    return {layer: one.cpu() for layer, one in found.items()}


def attention_output(model: Model, layer: int) -> str:
    """The transformers module whose output a layer's vector is added to.

    For example ``model.layers.3.self_attn.o_proj``.
    """
    blocks = model.bridge.adapter.component_mapping["blocks"]
    attention = blocks.submodules["attn"]
    return f"{blocks.name}.{layer}.{attention.name}.{attention.submodules['o'].name}"


def vectors_by_layer(
    model: Model, heads: Sequence[Head], emotion: Donor, neutral: Donor
) -> dict[str, dict[int, Any]]:
    """As a memo entry: `layers`, the vectors as arrays, and `modules`, what each is added to."""
    found = head_vectors(model, heads, emotion, neutral)
    return {
        "layers": {layer: one.numpy() for layer, one in found.items()},
        "modules": {layer: attention_output(model, layer) for layer in found},
    }
