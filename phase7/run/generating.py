"""What generation entries hold, made from what the engine generates.

Batches of one prompt run as one: they have the baseline in common, and the model's weights are read for
all their rows at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from phase7.engine.decode.loop import Continuations, Request, generate_together
from phase7.engine.decode.running import self_checks
from phase7.engine.model.bridge import Model
from phase7.engine.model.tokens import decode, encode
from phase7.engine.patch.donors import Donor
from phase7.engine.patch.patching import Patch
from phase7.experiment.stages import Batch, Stage
from phase7.run.reading import nothing

#: A batch's patches and the donors that they name, as the engine takes them.
Arms = tuple[Sequence[Patch], Mapping[str, Donor]]


def generations(
    model: Model,
    asked: Sequence[tuple[Stage, Batch]],
    arms: Sequence[Arms],
    each_step: Callable[[int], object],
) -> list[dict[str, Any]]:
    """The entries of some batches, generated together.

    Parameters
    ----------
    model : Model
    asked : sequence of (Stage, Batch)
        Of stages that generate alike (:attr:`phase7.experiment.stages.Stage.way_of_generating`).
    arms : sequence of (patches, donors)
        Of each batch.
    each_step : callable
        Called before every pass with the number of tokens that it generates, as :attr:`Batch.n_tokens`
        counts them.

    Returns
    -------
    list of dict
        By batch: tokens, texts by length, divergence at the first token, and what the self-check found.
    """
    stage = asked[0][0]
    n_new = stage.sampling.max_new_tokens
    n_by_step = sum(batch.n_tokens for _, batch in asked) // n_new
    by_prompt: dict[str, list[int]] = {}
    for place, (_, batch) in enumerate(asked):
        by_prompt.setdefault(batch.prompt, []).append(place)
    tokens = {one: encode(model, one, stage.framing, n_new_tokens=n_new) for one in by_prompt}
    requests = [
        _request(model, prompt, tokens[prompt], [arms[place] for place in places])
        for prompt, places in by_prompt.items()
    ]
    found = generate_together(
        model,
        requests,
        sampling=stage.sampling,
        use_attn_result=stage.profile.patching.use_attn_result,
        each_step=lambda n_prompts: each_step(n_by_step * n_prompts // len(requests)),
    )
    entries: dict[int, dict[str, Any]] = {}
    for (prompt, places), got in zip(by_prompt.items(), found, strict=True):
        first = 0
        for place in places:
            part = _part(got, first, arms[place][0])
            entries[place] = _entry(model, asked[place][0], tokens[prompt], part)
            first += len(arms[place][0])
    return [entries[place] for place in range(len(asked))]


def _request(model: Model, prompt: str, tokens: Sequence[int], arms: Sequence[Arms]) -> Request:
    """What is generated for some batches of one prompt."""
    patches, donors = in_one(arms)
    return Request(prompt=prompt, tokens=tokens, patches=patches or [nothing(model)], donors=donors)


def in_one(arms: Sequence[Arms]) -> tuple[list[Patch], dict[str, Donor]]:
    """The patches of several batches of one prompt as those of one batch, in order.

    A donor whose name another one has already is given a name of its own.
    """
    every: list[Patch] = []
    donors: dict[str, Donor] = {}
    for number, (patches, its) in enumerate(arms):
        named = {
            name: name if donors.get(name, donor) is donor else f"{name} of {number}"
            for name, donor in its.items()
        }
        donors |= {named[name]: donor for name, donor in its.items()}
        every += [
            replace(
                patch,
                donor=named.get(patch.donor, patch.donor),
                reference=named.get(patch.reference, patch.reference),
            )
            for patch in patches
        ]
    return every, donors


def _part(got: Continuations, first: int, patches: Sequence[Patch]) -> Continuations:
    """What one of several batches that ran as one would have given alone.

    The self-checks are over the heads of all of them; those of its own kinds of write are counted.
    """
    mine = slice(first, first + len(patches))
    n_samples = len(got.baseline_tokens)
    n_checks = len(self_checks(patches)) if patches else got.n_self_rows // n_samples
    return replace(
        got,
        patched_tokens=got.patched_tokens[mine],
        kl_first_token_nats=got.kl_first_token_nats[mine],
        n_self_rows=n_checks * n_samples,
    )


def _entry(model: Model, stage: Stage, prompt: Sequence[int], got: Continuations) -> dict[str, Any]:
    """One batch's entry."""

    def texts(tokens: Any, length: int) -> list[str]:
        cut = ([t for t in row[:length].tolist() if t >= 0] for row in tokens)
        return [decode(model, one, after=prompt) for one in cut]

    return {
        "baseline_tokens": got.baseline_tokens,
        "patched_tokens": got.patched_tokens,
        "texts": {
            length: {
                "baseline": texts(got.baseline_tokens, length),
                "patched": [texts(one, length) for one in got.patched_tokens],
            }
            for length in (*stage.lengths, stage.sampling.max_new_tokens)
        },
        "kl_first_token_nats": got.kl_first_token_nats,
        "n_self_rows": got.n_self_rows,
        "max_self_logit_gap": got.max_self_logit_gap,
    }
