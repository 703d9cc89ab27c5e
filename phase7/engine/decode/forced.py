"""Let every arm follow one path of tokens, and read its distributions at every step.

Sampling compares texts; here no token is drawn. The baseline, every patch and the self-checks follow the
same tokens y_1 … y_T after the recipient's prompt, under the same hooks at the same queries as in
generation, so that their distributions differ through the patch alone. All T steps are one forward pass:
the prompt is prefilled once (by row, and in the same pass, where its own queries are patched), and
layers that a patch cannot change are computed once for all rows, whose tokens never part.

A batch's logits would be [rows, T, vocabulary]; they are made for a piece of the (step, row) pairs at a
time, and only what the read-outs need of them is kept (:mod:`phase7.engine.decode.readouts`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from phase7.engine.decode.logits import Unembed, logits_of, pieces
from phase7.engine.decode.readouts import Reading, Readouts
from phase7.engine.decode.running import RunningBatch, attn_result, self_check_error
from phase7.engine.model.bridge import Model
from phase7.engine.model.faithful import check_lengths
from phase7.engine.patch.donors import Donor
from phase7.engine.patch.patching import Patch


@dataclass(frozen=True, kw_only=True, eq=False)
class ForcedPass:
    """What the arms of one batch say along one path.

    Attributes
    ----------
    baseline : Readouts
        Of the unpatched model, [T].
    patched : Readouts
        [n_patches, T], in the order of the patches.
    n_self_rows : int
        Self-donor rows that were compared with the baseline: all were equal, or the pass had failed.
    max_self_gap : float
        Largest absolute difference between a self-donor row and the baseline, in logits and in every
        read-out: 0.0, equal to the bit.
    """

    baseline: Readouts
    patched: Readouts
    n_self_rows: int
    max_self_gap: float


@torch.inference_mode()
def forced_pass(
    model: Model,
    tokens: Sequence[int],
    path: Sequence[int],
    patches: Sequence[Patch],
    *,
    donors: Mapping[str, Donor],
    token_sets: Mapping[str, Sequence[int]],
    use_attn_result: bool = False,
    share_layers: bool = True,
) -> ForcedPass:
    """Read the distributions of the baseline and of every patch along one path.

    Parameters
    ----------
    tokens : sequence of int
        The recipient prompt as the model reads it.
    path : sequence of int
        The T tokens that follow it, at least one. The first step's distribution does not depend on them.
    patches : sequence of Patch
        At least one.
    donors : mapping of str to Donor
        Every donor the patches name, but for ``self`` and ``zero``.
    token_sets : mapping of str to sequence of int
        Sets by name, none empty (:mod:`phase7.engine.model.token_sets`). May be an empty mapping.
    use_attn_result : bool
        As of :class:`phase7.engine.patch.patching.Patcher`.
    share_layers : bool
        Compute the layers below a patch once for all rows. False changes the time and not the values.

    Raises
    ------
    SelfCheckError
        If a self-donor row differs from the baseline in one bit of one value.
    ValueError
        If the path is empty or holds the id of no token (such as the -1 after the end of a generated
        text), or a set does, or a set is empty.
    UserError
        If the model runs otherwise than transformers at these lengths, or gives what is no number.
    """
    check_ids("path", path, model)
    for name, ids in token_sets.items():
        check_ids(f"token set {name!r}", ids, model)
    check_lengths(model, len(tokens), len(path))
    batch = RunningBatch(model, tokens, patches, donors, n_samples=1, use_attn_result=use_attn_result)
    reading = Reading(batch.n_rows, path, {name: sorted({*ids}) for name, ids in token_sets.items()})
    with attn_result(model, use_attn_result), model.unembedding_apart() as unembed:
        states = _final_states(model, batch, tokens, path, share_layers=share_layers)
        gap = _read(model, batch, states, unembed, reading)
    return _checked(reading.readouts, batch.checks, gap)


def check_ids(what: str, ids: Sequence[int], model: Model) -> None:
    """Refuse an empty sequence of tokens, and ids that are no token, with a ValueError."""
    n_vocab = int(model.bridge.cfg.d_vocab)
    if not ids or min(ids) < 0 or max(ids) >= n_vocab:
        raise ValueError(f"{what}: expected at least one token id from 0 to {n_vocab - 1}, got {ids}")


def _final_states(
    model: Model, batch: RunningBatch, tokens: Sequence[int], path: Sequence[int], *, share_layers: bool
) -> Float[Tensor, "slots steps width"]:
    """Run prompt and path; the final states of the last layer's slots at the T queries of the path."""
    first = 0 if batch.runs_prompt_by_row else len(tokens) - 1
    if first:
        batch.prefill_once(n_new=len(path), share_layers=share_layers)
    elif share_layers and model.shortcuts.shared_cache:
        batch.share_layers()
    followed = torch.tensor([*tokens[first:], *path[:-1]], dtype=torch.long, device=model.device)
    with batch.hooked():
        states = batch.forward(followed.expand(batch.layout.n_slots(0), -1), first)
    return states[:, -len(path) :]


def _read(
    model: Model,
    batch: RunningBatch,
    states: Float[Tensor, "slots steps width"],
    unembed: Unembed,
    reading: Reading,
) -> float:
    """Note the distributions of all rows, step by step; the largest gap of self-check logits."""
    n_steps, n_rows, gap = states.shape[1], batch.n_rows, 0.0
    slots = batch.layout.slots(model.n_layers - 1)
    by_pair = states.flatten(0, 1)
    # Step by step, and row 0 of each first: the others are compared with the baseline of their step.
    for pairs in pieces(np.arange(n_steps * n_rows)):
        steps, rows = np.divmod(pairs, n_rows)
        logits = logits_of(unembed, by_pair, slots[rows] * n_steps + steps, model.row_block)
        one_by_one = logits.float().cpu().numpy()
        for row, step, one in zip(rows.tolist(), steps.tolist(), one_by_one, strict=True):
            wide = one.astype(np.float64)
            reading.note(row, step, wide)
            if row >= n_rows - len(batch.checks):
                gap = float(np.maximum(gap, reading.gap(wide)))
    return gap


def _checked(readouts: Readouts, checks: Sequence[Patch], largest_gap: float) -> ForcedPass:
    """Take the rows apart, after the last ones have passed the self-check."""
    baseline, n_others = readouts.of(0), len(readouts.kl) - len(checks)
    for row, check in enumerate(checks, start=n_others):
        own = readouts.of(row).by_name()
        for name, values in baseline.by_name().items():
            is_equal = own[name] == values
            if not is_equal.all():
                raise self_check_error(check, f"{name} at step {int(np.argmin(is_equal))} of the path")
    if not largest_gap == 0.0:  # NaN as well
        raise self_check_error(checks[0], "logits along the path")
    return ForcedPass(
        baseline=baseline,
        patched=readouts.of(slice(1, n_others)),
        n_self_rows=len(checks),
        max_self_gap=largest_gap,
    )
