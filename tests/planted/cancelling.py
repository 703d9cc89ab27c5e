"""The planted model with a head that a gradient does not see.

`CANCELLING` moves the markers' share into direction E, like the carrier, and as much into a direction C of
its own. A ramp in the last layer's MLP takes C away from E again, with the same slope where C is 0, but
no more than `LIMIT`. So the head's direct effect and the one through the MLP cancel to first order; a donor
with markers goes past the ramp, and the rest of the direct effect stays.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import GPT2LMHeadModel

from phase7.vocabulary.heads import Head
from tests.planted import model

CANCELLING = Head(0, 2)
#: Layer whose MLP takes the effect away.
CANCELLER = 2
#: What the head writes at a marker, and how much of it the ramp takes away.
WRITTEN, LIMIT = 2.2, 0.25
_STEEPNESS = 12.0
_C = model._OTHER


def build(seed: int) -> GPT2LMHeadModel:
    """The model; `seed` draws everything that is random."""
    made = model.build(seed)
    with torch.no_grad():
        attention = made.transformer.h[CANCELLING.layer].attn
        values = slice(
            2 * model.D_MODEL + CANCELLING.head * model.D_HEAD,
            2 * model.D_MODEL + (CANCELLING.head + 1) * model.D_HEAD,
        )
        outputs = slice(CANCELLING.head * model.D_HEAD, (CANCELLING.head + 1) * model.D_HEAD)
        attention.c_attn.weight[:, values] = 0.0
        attention.c_proj.weight[outputs] = 0.0
        attention.c_attn.weight[model._MARKER, values.start] = 1.0 / model._SCALE
        attention.c_proj.weight[outputs.start, [model._E, _C]] = WRITTEN
        _ramp(made.transformer.h[CANCELLER].mlp)
    return made


def _ramp(mlp: torch.nn.Module) -> None:
    """E -= min(C, LIMIT), from well below 0 on: two GELUs of one slope."""
    for neuron, (start, sign) in enumerate([(-1.0, -1.0), (LIMIT, 1.0)]):
        mlp.c_fc.weight[_C, neuron] = _STEEPNESS / model._SCALE
        mlp.c_fc.bias[neuron] = -start * _STEEPNESS
        mlp.c_proj.weight[neuron, model._E] = sign / _STEEPNESS


def save(folder: Path, seed: int) -> Path:
    """Write the model in Hugging Face format."""
    build(seed).save_pretrained(folder)
    model.tokenizer().save_pretrained(folder)
    return folder
