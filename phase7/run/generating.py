"""What generation entries hold, made from what the engine generates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from phase7.engine.decode.loop import Continuations, Request, generate_together
from phase7.engine.model.bridge import Model
from phase7.engine.model.tokens import decode, encode
from phase7.engine.patch.donors import Donor
from phase7.engine.patch.patching import Patch
from phase7.experiment.stages import Batch, Stage
from phase7.run.reading import nothing


def generations(
    model: Model,
    stage: Stage,
    batches: Sequence[Batch],
    patches: Sequence[tuple[Sequence[Patch], Mapping[str, Donor]]],
    each_step: Callable[[int], object],
) -> list[dict[str, Any]]:
    """The entries of some batches of one stage, generated together.

    Parameters
    ----------
    model : Model
    stage : Stage
    batches : sequence of Batch
        Of different prompts.
    patches : sequence of (patches, donors)
        Of each batch, as the engine takes them.
    each_step : callable
        Called before every pass with the number of tokens that it generates, as :attr:`Batch.n_tokens`
        counts them.

    Returns
    -------
    list of dict
        By batch: tokens, texts by length, divergence at the first token, and what the self-check found.
    """
    n_new = stage.sampling.max_new_tokens
    n_by_step = sum(batch.n_tokens for batch in batches) // n_new
    prompts = [encode(model, batch.prompt, stage.framing, n_new_tokens=n_new) for batch in batches]
    requests = [
        Request(prompt=batch.prompt, tokens=tokens, patches=of_batch or [nothing(model)], donors=donors)
        for batch, tokens, (of_batch, donors) in zip(batches, prompts, patches, strict=True)
    ]
    found = generate_together(
        model,
        requests,
        sampling=stage.sampling,
        use_attn_result=stage.profile.patching.use_attn_result,
        each_step=lambda n_prompts: each_step(n_by_step * n_prompts // len(batches)),
    )
    return [
        _entry(model, stage, prompt, got, len(of_batch))
        for prompt, got, (of_batch, _) in zip(prompts, found, patches, strict=True)
    ]


def _entry(
    model: Model, stage: Stage, prompt: Sequence[int], got: Continuations, n_patches: int
) -> dict[str, Any]:
    """One batch's entry; what was generated for want of a patch is left out."""

    def texts(tokens: Any, length: int) -> list[str]:
        cut = ([t for t in row[:length].tolist() if t >= 0] for row in tokens)
        return [decode(model, one, after=prompt) for one in cut]

    return {
        "baseline_tokens": got.baseline_tokens,
        "patched_tokens": got.patched_tokens[:n_patches],
        "texts": {
            length: {
                "baseline": texts(got.baseline_tokens, length),
                "patched": [texts(one, length) for one in got.patched_tokens[:n_patches]],
            }
            for length in (*stage.lengths, stage.sampling.max_new_tokens)
        },
        "kl_first_token_nats": got.kl_first_token_nats[:n_patches],
        "n_self_rows": got.n_self_rows,
        "max_self_logit_gap": got.max_self_logit_gap,
    }
