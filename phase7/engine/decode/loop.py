"""Decode one prompt's baseline and all its patches together, as rows of one batch.

The prompt is prefilled once and fanned out; every step decodes all rows with the KV cache under the
patcher's hooks and draws with the shared noise (:mod:`phase7.engine.decode.drawing`). The first rows are
the baseline. At the end of the batch, for each mode used, one row per sample patches every head in the
plan with the baseline's own activations, and must reproduce it. Layers that a patch cannot change are
computed once for all rows that agree so far (:mod:`phase7.engine.decode.rows`).

A change here that gives other tokens for the same plan needs another
:data:`phase7.experiment.stages.ENGINE_VERSION`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from phase7.engine.decode.drawing import Drawing
from phase7.engine.decode.rows import Copies, Ints
from phase7.engine.decode.running import RunningBatch, attn_result, self_check_error
from phase7.engine.model.blocks import ROW_BLOCK
from phase7.engine.model.bridge import Model
from phase7.engine.model.faithful import check_lengths
from phase7.engine.model.kv_cache import copy_slots
from phase7.engine.patch.donors import Donor
from phase7.engine.patch.patching import Patch
from phase7.experiment.profile import Sampling


@dataclass(frozen=True, kw_only=True, eq=False)
class Continuations:
    """What one batch generated.

    Attributes
    ----------
    baseline_tokens : int32 array [n_samples, n_steps]
        Generated tokens without the end-of-text token; -1 after the end.
    patched_tokens : int32 array [n_patches, n_samples, n_steps]
    kl_first_token_nats : float64 array [n_patches]
        KL(baseline || patched) of the first generated token's distribution at temperature 1.
    n_self_rows : int
        Self-donor rows that were compared with the baseline (all equal, or the run had stopped).
    max_self_logit_gap : float
        Largest absolute difference of logits between a self-donor row and its baseline; 0.0 means
        equal to the bit.
    """

    baseline_tokens: np.ndarray[Any, np.dtype[np.int32]]
    patched_tokens: np.ndarray[Any, np.dtype[np.int32]]
    kl_first_token_nats: np.ndarray[Any, np.dtype[np.float64]]
    n_self_rows: int
    max_self_logit_gap: float


@torch.inference_mode()
def generate(
    model: Model,
    prompt: str,
    tokens: Sequence[int],
    patches: Sequence[Patch],
    *,
    donors: Mapping[str, Donor],
    sampling: Sampling,
    use_attn_result: bool = False,
    share_layers: bool = True,
    rough_logits: bool = True,
    each_step: Callable[[], object] = lambda: None,
) -> Continuations:
    """Generate the baseline and every patch of one prompt.

    Parameters
    ----------
    prompt : str
        The recipient's text: identifies the noise.
    tokens : sequence of int
        The recipient as the model reads it.
    patches : sequence of Patch
        At least one.
    donors : mapping of str to Donor
        Every donor the patches name, but for ``self`` and ``zero``.
    share_layers, rough_logits : bool
        Compute the layers below a patch once for all rows with the same tokens so far; draw from rough
        logits where their error cannot matter. False changes the time and not the tokens.
    each_step : callable
        Called before every generated token; what it raises ends the batch.

    Raises
    ------
    SelfCheckError
        If a self-donor row differs from its baseline in one token.
    UserError
        If the model runs otherwise than transformers at these lengths, or gives no numbers.
    """
    check_lengths(model, len(tokens), sampling.max_new_tokens)
    n_samples, literally = sampling.samples, use_attn_result
    batch = RunningBatch(model, tokens, patches, donors, n_samples=n_samples, use_attn_result=literally)
    rough, n_checks = model.rough if rough_logits else None, len(batch.checks) * n_samples
    with attn_result(model, literally), model.unembedding_apart() as unembed:
        sizes = {"n_rows": batch.n_rows, "n_checks": n_checks, "row_block": model.row_block}
        drawing = Drawing(unembed, rough, prompt=prompt, sampling=sampling, **sizes)
        generated = _DecodeLoop(model, batch, tokens, sampling).run(drawing, each_step, share_layers)
    return _continuations(generated, drawing, batch.checks, n_samples)


def _continuations(
    generated: np.ndarray[Any, np.dtype[np.int32]],
    drawing: Drawing,
    checks: Sequence[Patch],
    n_samples: int,
) -> Continuations:
    """Take the rows apart again, after the last ones have passed the self-check."""
    by_patch = generated.reshape(-1, n_samples, generated.shape[-1])
    n_patches = len(by_patch) - 1 - len(checks)
    _compare(by_patch[0], by_patch[1 + n_patches :], checks)
    return Continuations(
        baseline_tokens=by_patch[0],
        patched_tokens=by_patch[1 : 1 + n_patches],
        kl_first_token_nats=drawing.kl_first_token[1 : 1 + n_patches],
        n_self_rows=len(checks) * n_samples,
        max_self_logit_gap=drawing.max_self_logit_gap,
    )


class _DecodeLoop:
    """State of one batch's decoding."""

    def __init__(
        self, model: Model, batch: RunningBatch, tokens: Sequence[int], sampling: Sampling
    ) -> None:
        self._model, self._batch, self._sampling = model, batch, sampling
        self._eos, self._n_prompt = sorted(model.eos_ids), len(tokens)
        self._next = np.full(batch.n_rows, tokens[-1], dtype=np.int64)

    def run(
        self, drawing: Drawing, each_step: Callable[[], object], share_layers: bool
    ) -> np.ndarray[Any, np.dtype[np.int32]]:
        """Prefill and decode; int32 [n_rows, max_new_tokens], -1 from the end-of-text token on."""
        batch = self._batch
        if not batch.runs_prompt_by_row:
            batch.prefill_once(n_new=self._sampling.max_new_tokens, share_layers=share_layers)
        with batch.hooked():
            if batch.runs_prompt_by_row:
                batch.prefill_by_row()
            return self._decode(drawing, each_step)

    def _decode(
        self, drawing: Drawing, each_step: Callable[[], object]
    ) -> np.ndarray[Any, np.dtype[np.int32]]:
        batch = self._batch
        generated = np.full((batch.n_rows, self._sampling.max_new_tokens), -1, dtype=np.int32)
        alive, ended = np.arange(batch.n_rows), np.empty(0, dtype=np.int64)
        for step in range(self._sampling.max_new_tokens):
            each_step()
            states = self._step(self._n_prompt - 1 + step)
            slots = batch.layout.slots(self._model.n_layers - 1)
            drawn = drawing.draw(
                states, slots=slots, rows=alive, histories=batch.layout.histories, step=step
            )
            goes_on = ~np.isin(drawn, self._eos)
            self._next[alive] = drawn
            ended = np.append(ended, alive[~goes_on])
            alive = alive[goes_on]
            generated[alive, step] = drawn[goes_on]
            if not alive.size:
                break
            if batch.holds_slots and ended.size >= ROW_BLOCK:
                self._drop(ended)
                ended = ended[:0]
            self._copy(batch.layout.extend(self._next))
        return generated

    def _step(self, query: int) -> Float[Tensor, "slots d_model"]:
        ids = torch.from_numpy(self._next[self._batch.layout.entering(0)]).to(self._model.device)
        return self._batch.forward(ids[:, None], query)[:, -1]

    def _drop(self, ended: Ints) -> None:
        self._batch.patcher.drop(ended)
        self._copy(self._batch.layout.drop(ended))

    def _copy(self, copies: Sequence[Copies]) -> None:
        for one in copies:
            source, target = torch.from_numpy(one.source), torch.from_numpy(one.target)
            copy_slots(self._batch.cache.layers[one.layer], source, target)


def _compare(
    baseline: np.ndarray[Any, np.dtype[Any]],
    generated: np.ndarray[Any, np.dtype[Any]],
    checks: Sequence[Patch],
) -> None:
    for check, patch in zip(generated, checks, strict=True):
        if not np.array_equal(check, baseline):
            step = int(np.argwhere((check != baseline).any(axis=0))[0, 0])
            raise self_check_error(patch, f"the text at generated token {step}")
