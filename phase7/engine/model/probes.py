"""What a model's configuration says of its lengths, and what only running it shows."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from phase7.models.quiet import quiet

#: Settings that hold a length beyond which something is computed otherwise.
_SWITCH = re.compile(r".*window(_size)?|.*chunk_size|local_attention|original_max.*|floor_scale")


def switch_lengths(config: Any) -> tuple[int, ...]:
    """Lengths in tokens beyond which a model may compute otherwise, ascending."""
    found = _switches(config.get_text_config().to_dict())
    return tuple(sorted({length for length in found if length > 0}))


def _switches(settings: dict[Any, Any]) -> Iterator[int]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _switches(value)
        elif _SWITCH.fullmatch(str(name)) and isinstance(value, int | float):
            yield int(value)
            if name == "local_attention":  # to both sides together
                yield int(value) // 2


@torch.inference_mode()
def is_parallel(bridge: Any) -> bool:
    """Whether the input of a layer's MLP stays as it is when the heads' outputs change."""
    mlp = getattr(bridge.blocks[0], "mlp", None)
    if mlp is None:
        return False
    tokens = torch.zeros((1, 2), dtype=torch.long, device=bridge.cfg.device)
    inputs: list[Tensor] = []
    handle = mlp.register_forward_pre_hook(lambda module, args: inputs.extend(args[:1]))
    try:
        with quiet():
            bridge(tokens)
            with bridge.hooks(fwd_hooks=[("blocks.0.attn.hook_z", lambda z, hook: z + 1)]):
                bridge(tokens)
    finally:
        handle.remove()
    return len(inputs) == 2 and torch.equal(*inputs)


@contextlib.contextmanager
def without_head(bridge: Any) -> Iterator[Any]:
    """Take the unembedding off during the enclosed calls; yields it."""
    hf_model = bridge.original_model
    head = hf_model.get_output_embeddings()
    hf_model.set_output_embeddings(torch.nn.Identity())
    try:
        yield head
    finally:
        hf_model.set_output_embeddings(head)


@torch.inference_mode()
def has_plain_head(bridge: Any) -> bool:
    """Whether the unembedding can be taken off and gives the same logits on its own."""
    tokens = torch.tensor([[0, 1]], device=bridge.cfg.device)
    with quiet():
        logits = bridge(tokens)
        try:
            with without_head(bridge) as head:
                states = bridge(tokens)
                alone = head(states)
        except (AttributeError, NotImplementedError, RuntimeError):
            return False
    return states.shape != logits.shape and torch.equal(alone, logits)
