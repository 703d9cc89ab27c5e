"""What the entries of read-outs hold, computed with a loaded model: a path, and readings along it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from phase7.engine.decode.fluency import mean_ln_p, repeated_4grams
from phase7.engine.decode.forced import forced_pass
from phase7.engine.decode.loop import Request, generate_together
from phase7.engine.model.bridge import Model
from phase7.engine.model.token_sets import form_token_set, word_token_set
from phase7.engine.model.tokens import encode
from phase7.engine.patch.donors import Donor
from phase7.engine.patch.patching import Patch
from phase7.experiment.contrasts import ContrastPlan
from phase7.experiment.readouts import ReadoutPlan
from phase7.experiment.stages import Batch, Stage
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.guards import MEAN_LN_P, REPEATED
from phase7.vocabulary.heads import Head

#: Tokens of each set by its name.
TokenSets = Mapping[str, tuple[int, ...]]


def nothing(model: Model) -> Patch:
    """What the engine, which wants a patch, is given where nothing is patched.

    In the last layer: rows are shared up to the layer that is patched.
    """
    return Patch(heads=(Head(model.n_layers - 1, 0),), mode="result", donor="self")


def continuations(
    model: Model, stage: Stage, prompts: Sequence[str], each_step: Callable[[int], object]
) -> list[dict[str, Any]]:
    """The unpatched continuation of each prompt: `tokens` int32 [T], without the end of the text."""
    n_new = stage.profile.readouts.max_new_tokens
    encoded = [encode(model, prompt, stage.framing, n_new_tokens=n_new) for prompt in prompts]
    found = generate_together(
        model,
        [
            Request(prompt=prompt, tokens=tokens, patches=[nothing(model)], donors={})
            for prompt, tokens in zip(prompts, encoded, strict=True)
        ],
        sampling=replace(stage.sampling, max_new_tokens=n_new, samples=1),
        each_step=lambda n_prompts: each_step(0),  # nobody counts these tokens
    )
    texts = [got.baseline_tokens[0] for got in found]
    return [{"tokens": tokens[tokens >= 0]} for tokens in texts]


def reading(
    model: Model,
    plan: ReadoutPlan,
    batch: Batch,
    path: Sequence[int],
    patches: Sequence[Patch],
    donors: Mapping[str, Donor],
    sets: TokenSets,
) -> dict[str, Any]:
    """Read a batch along a path: `baseline` [metric] and `patched` [patch, metric], float64, in nats."""
    way = followed(model, path)
    got = forced_pass(
        model,
        encode(model, batch.prompt, plan.stage.framing, n_new_tokens=len(way)),
        way,
        patches or [nothing(model)],
        donors=donors,
        token_sets=sets,
        use_attn_result=plan.stage.profile.patching.use_attn_result,
    )
    return {
        "baseline": got.baseline.summary(),
        "patched": got.patched.summary()[: len(patches)],
        "n_self_rows": got.n_self_rows,
        "max_self_logit_gap": got.max_self_gap,
    }


def guards(
    model: Model, stage: Stage, batch: Batch, entry: Mapping[str, Any], n_read: int
) -> dict[str, Any]:
    """What the texts of a batch are like, by guard (:mod:`phase7.vocabulary.guards`).

    Parameters
    ----------
    entry : mapping
        The batch's generations.
    n_read : int
        Samples whose likelihood is read; repetitions are counted in all.

    Returns
    -------
    dict of str to dict
        For each guard `baseline` [sample] and `patched` [patch, sample], float64; NaN for a text that is
        too short.
    """
    whole = np.concatenate([entry["baseline_tokens"][None], entry["patched_tokens"]])
    texts = [[tuple(int(t) for t in text if t >= 0) for text in samples] for samples in whole]
    read = [text for samples in texts for text in samples[:n_read]]
    prompt = encode(model, batch.prompt, stage.framing, n_new_tokens=whole.shape[-1])
    found = {
        MEAN_LN_P: mean_ln_p(model, prompt, read).reshape(len(texts), n_read),
        REPEATED: np.array([[repeated_4grams(text) for text in samples] for samples in texts]),
    }
    return {name: {"baseline": one[0], "patched": one[1:]} for name, one in found.items()}


#: Continuations of a contrast as they come to a worker: texts of one's own, or tokens of the model's.
Continuations = Sequence[str | tuple[int, ...]]


def contrasting(
    model: Model,
    plan: ContrastPlan,
    batch: Batch,
    continuations: Continuations,
    patches: Sequence[Patch],
    donors: Mapping[str, Donor],
) -> dict[str, Any]:
    """Read a batch along all continuations of a contrast, targets and then foils.

    Returns
    -------
    dict
        As of :func:`reading`: the contrast of whole continuations, and that of their first tokens.
    """
    n_rows = 1 + len(patches)
    total, n_self_rows, gap = np.zeros((n_rows, 2)), 0, 0.0
    for weight, one in zip(weights(plan), continuations, strict=True):
        way = followed(model, as_tokens(model, one))
        got = forced_pass(
            model,
            encode(model, batch.prompt, plan.stage.framing, n_new_tokens=len(way)),
            way,
            patches or [nothing(model)],
            donors=donors,
            token_sets={},
            use_attn_result=plan.stage.profile.patching.use_attn_result,
        )
        likelihood = np.concatenate([got.baseline.log_likelihood[None], got.patched.log_likelihood])
        whole = likelihood.mean(axis=1) if plan.contrast.by_token else likelihood.sum(axis=1)
        total += weight * np.stack([whole, likelihood[:, 0]], axis=1)[:n_rows]
        n_self_rows, gap = n_self_rows + got.n_self_rows, max(gap, got.max_self_gap)
    return {
        "baseline": total[0],
        "patched": total[1:],
        "n_self_rows": n_self_rows,
        "max_self_logit_gap": gap,
    }


def weights(plan: ContrastPlan) -> list[float]:
    """What each continuation counts in a contrast: 1 shared by the targets, -1 by the foils."""
    targets, foils = len(plan.contrast.targets), len(plan.contrast.foils)
    return [1 / targets] * targets + [-1 / foils] * foils


def as_tokens(model: Model, continuation: str | tuple[int, ...]) -> tuple[int, ...]:
    """The tokens of a continuation; a text is tokenized by itself, without special tokens.

    Raises
    ------
    UserError
        If a text has no token, or one that the model does not know.
    """
    if not isinstance(continuation, str):
        return continuation
    tokenizer = model.tokenizer
    ids = [int(i) for i in tokenizer(continuation, add_special_tokens=False)["input_ids"]]
    if not ids or tokenizer.unk_token_id in ids:
        raise UserError(
            expected="a continuation that this model has tokens for",
            got=f"{continuation!r}"[:80],
            where="readouts.pairs",
            remedy="write it in characters that the tokenizer knows",
        )
    return tuple(ids)


def followed(model: Model, path: Sequence[int]) -> tuple[int, ...]:
    """A path of at least one token.

    A text that ends at once leaves the first step, whose distribution no token precedes.
    """
    return tuple(path) or tuple(sorted(model.eos_ids))[:1]


def token_sets(model: Model, plan: ReadoutPlan) -> TokenSets:
    """The tokens of every set of a plan, for this model.

    Raises
    ------
    UserError
        If the model has no token for a set of the plan, or for a word of one's own.
    """
    tokenizer = model.tokenizer
    return {
        one.name: word_token_set(tokenizer, one.words, where="readouts.words")
        if one.is_strict
        else form_token_set(tokenizer, one.name, one.words, where="data/keywords.toml")
        for one in plan.sets
    }
