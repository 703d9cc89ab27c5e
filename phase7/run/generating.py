"""What an entry of generated texts holds, computed with a loaded model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from phase7.engine.decode.loop import generate
from phase7.engine.model.bridge import Model
from phase7.engine.model.tokens import decode, encode
from phase7.engine.patch.donors import Donor
from phase7.engine.patch.patching import Patch
from phase7.experiment.stages import Batch, Stage
from phase7.run.reading import NOTHING


def generation(
    model: Model,
    stage: Stage,
    batch: Batch,
    patches: Sequence[Patch],
    donors: Mapping[str, Donor],
    each_step: Callable[[], object],
) -> dict[str, Any]:
    """Generate a batch's baseline and patched texts.

    Returns
    -------
    dict
        `baseline_tokens` int32 [sample, T] and `patched_tokens` [patch, sample, T], -1 after the end;
        `texts` by length; `kl_first_token_nats` [patch]; and what the self-check found.
    """
    n_new, n_patches = stage.sampling.max_new_tokens, len(patches)
    prompt = encode(model, batch.prompt, stage.framing, n_new_tokens=n_new)
    got = generate(
        model,
        batch.prompt,
        prompt,
        patches or [NOTHING],
        donors=donors,
        sampling=stage.sampling,
        use_attn_result=stage.profile.patching.use_attn_result,
        each_step=each_step,
    )

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
            for length in (*stage.lengths, n_new)
        },
        "kl_first_token_nats": got.kl_first_token_nats[:n_patches],
        "n_self_rows": got.n_self_rows,
        "max_self_logit_gap": got.max_self_logit_gap,
    }
