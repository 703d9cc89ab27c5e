"""Where a head's attention pattern can be read before its output is used.

Most bridges fire `hook_pattern` in time. GPT-Neo's fires it after the output, so there the pattern
is read where it enters the attention dropout, which does nothing at inference.
"""

from __future__ import annotations

import contextlib
from typing import Any, Literal

import torch
from torch import Tensor

from phase7.engine.model.gates import Hook
from phase7.models.quiet import quiet

PatternSite = Literal["hook_pattern", "attn_dropout"]


def hook_order(bridge: Any) -> list[str]:
    """The sites of the first layer's attention in the order in which a forward pass reaches them.

    Of ``hook_z``, ``hook_pattern`` and ``attn_dropout``, those that it reaches.
    """
    reached: list[str] = []

    def note(site: str) -> Hook:
        def hook(tensor: Tensor, hook: Any) -> None:
            reached.append(site)

        return hook

    tokens = torch.zeros((1, 2), dtype=torch.long, device=bridge.cfg.device)
    sites = [(f"blocks.0.attn.{site}", note(site)) for site in ("hook_z", "hook_pattern")]
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        stack.enter_context(quiet())
        stack.enter_context(bridge.hooks(fwd_hooks=sites))
        if _attention_dropout(bridge, 0) is not None:
            stack.callback(read_at_dropout(bridge, 0, note("attn_dropout")).remove)
        bridge(tokens)
    return reached


def read_at_dropout(bridge: Any, layer: int, hook: Hook) -> Any:
    """Call `hook` with what enters the layer's attention dropout; returns the handle that removes it."""
    dropout: Any = _attention_dropout(bridge, layer)

    def read(module: Any, args: tuple[Tensor, ...]) -> None:
        hook(args[0], module)

    return dropout.register_forward_pre_hook(read)


def _attention_dropout(bridge: Any, layer: int) -> torch.nn.Module | None:
    attention = bridge.blocks[layer].attn.original_component
    found = [m for name, m in attention.named_modules() if name.split(".")[-1] == "attn_dropout"]
    return found[0] if len(found) == 1 else None
