"""Several prompts run at once, before their rows part.

A prompt takes a pass of its own, and what a pass costs whatever is in it is a good part of that. The
prompts that are decoded together are therefore run together too, where they have the bits that each has
alone (:mod:`phase7.engine.model.whole_prompts`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from phase7.engine.decode.running import RunningBatch
from phase7.engine.model.attention_runs import runs_as
from phase7.engine.model.bridge import Model
from phase7.engine.model.faithful import require_finite
from phase7.engine.model.kv_cache import keeps_every_token
from phase7.engine.model.packed import PACKED_ROWS
from phase7.engine.model.whole_prompts import causal_masks, tokens_in_vectors, whole_prompts

#: Tokens of a pass: bounds memory.
_MOST_TOKENS = 1024


def run_prompts(model: Model, batches: Sequence[RunningBatch]) -> None:
    """Run all of every prompt but its last token, in one row each; of all batches' prompts together.

    Each must have at least two tokens and be patched in none of those that are run. A prompt runs alone
    that has other bits by itself: with products of one row, with numbers that fill no whole vectors, or
    beyond a length from which on the model may compute otherwise.
    """
    unit, longest = tokens_in_vectors(model), min(model.switch_lengths, default=model.n_context)

    def suits(batch: RunningBatch) -> bool:
        n = len(batch.before_last)
        fits = PACKED_ROWS <= n <= longest and n % unit == 0
        # Without a plain head a pass makes logits of every token.
        return fits and model.has_plain_head and keeps_every_token(batch.cache)

    waiting = [batch for batch in batches if suits(batch)]
    for batch in batches:
        if batch not in waiting:
            batch.run_prompt()
    while waiting:
        some = [waiting.pop(0)]
        while waiting and _n_tokens([*some, waiting[0]]) <= _MOST_TOKENS:
            some.append(waiting.pop(0))
        if len(some) > 1:
            _run(model, some)
        else:
            some[0].run_prompt()


def _n_tokens(batches: Sequence[RunningBatch]) -> int:
    return sum(len(batch.before_last) for batch in batches)


def _run(model: Model, batches: Sequence[RunningBatch]) -> None:
    n_tokens = [len(batch.before_last) for batch in batches]
    ids = torch.tensor([token for batch in batches for token in batch.before_last], device=model.device)
    positions = torch.cat([torch.arange(n, device=model.device) for n in n_tokens])
    with contextlib.ExitStack() as stack:
        for block in model.bridge.blocks:
            stack.enter_context(_with_own_masks(block.attn, n_tokens))
        states: Tensor = model.bridge(
            ids[:, None],
            past_key_values=whole_prompts([batch.cache for batch in batches], n_tokens),
            use_cache=True,
            position_ids=positions[:, None],
        )
    for its, n in zip(states.split(n_tokens), n_tokens, strict=True):
        require_finite(model, its, n - 1)


def _with_own_masks(attention: Any, n_tokens: Sequence[int]) -> contextlib.AbstractContextManager[None]:
    """Let an attention see of every prompt the tokens before."""
    forward = attention.forward

    def own(value: Any) -> Any:
        return causal_masks(value, n_tokens) if isinstance(value, Tensor) and value.ndim == 4 else value

    def for_all(*args: Any, **kwargs: Any) -> Any:
        return forward(*map(own, args), **{name: own(value) for name, value in kwargs.items()})

    return runs_as(attention, for_all)
