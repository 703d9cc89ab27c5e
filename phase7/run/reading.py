"""What the entries of read-outs hold, computed with a loaded model: a path, and readings along it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from phase7.engine.decode.forced import forced_pass
from phase7.engine.decode.loop import generate
from phase7.engine.model.bridge import Model
from phase7.engine.model.token_sets import form_token_set, word_token_set
from phase7.engine.model.tokens import encode
from phase7.engine.patch.donors import Donor
from phase7.engine.patch.patching import Patch
from phase7.experiment.readouts import ReadoutPlan
from phase7.experiment.stages import Batch
from phase7.vocabulary.heads import Head

#: Tokens of each set by its name.
TokenSets = Mapping[str, tuple[int, ...]]

#: What the engine, which wants a patch, is given where nothing is patched.
NOTHING = Patch(heads=(Head(0, 0),), mode="result", donor="self")


def continuation(
    model: Model, plan: ReadoutPlan, index: int, each_step: Callable[[], object]
) -> dict[str, Any]:
    """The unpatched continuation of one recipient: `tokens` int32 [T], without the end of the text."""
    stage, prompt = plan.stage, plan.path_prompt(index)
    n_new = stage.profile.readouts.max_new_tokens
    got = generate(
        model,
        prompt,
        encode(model, prompt, stage.prompt_format, n_new_tokens=n_new),
        [NOTHING],
        donors={},
        sampling=replace(stage.sampling, max_new_tokens=n_new, samples=1),
        each_step=each_step,
    )
    (tokens,) = got.baseline_tokens
    return {"tokens": tokens[tokens >= 0]}


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
        encode(model, batch.prompt, plan.stage.prompt_format, n_new_tokens=len(way)),
        way,
        patches or [NOTHING],
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
