"""Decode a prompt's baseline and all its patches together, as rows of one batch.

The prompt is prefilled once and fanned out; every step decodes all rows with the KV cache under the
patcher's hooks and draws with the shared noise (:mod:`phase7.engine.decode.drawing`). The first rows are
the baseline. At the end of the batch, for each mode used, one row per sample patches every head in the
plan with the baseline's own activations, and must reproduce it. Layers that a patch cannot change are
computed once for all rows that agree so far (:mod:`phase7.engine.decode.rows`). Several prompts' batches
can pass the model side by side (:mod:`phase7.engine.decode.together`).

A change here that gives other tokens for the same plan needs another
:data:`phase7.experiment.stages.ENGINE_VERSION`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from phase7.engine.decode.drawing import Draw, Drawing, Unembedding, draw_together
from phase7.engine.decode.rows import Copies, Ints
from phase7.engine.decode.running import RunningBatch, attn_result, self_check_error
from phase7.engine.decode.together import Together, can_run_together, prefill_once
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """One prompt's batch: a baseline with some patches.

    Attributes
    ----------
    prompt : str
        The recipient's text: identifies the noise.
    tokens : sequence of int
        The recipient as the model reads it.
    patches : sequence of Patch
        At least one.
    donors : mapping of str to Donor
        Every donor the patches name, but for ``self`` and ``zero``.
    """

    prompt: str
    tokens: Sequence[int]
    patches: Sequence[Patch]
    donors: Mapping[str, Donor]


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
    each_step: Callable[[int], object] = lambda n_prompts: None,
) -> Continuations:
    """Generate the baseline and every patch of one prompt.

    Parameters
    ----------
    prompt, tokens, patches, donors
        As of :class:`Request`.
    share_layers, rough_logits : bool
        Compute the layers below a patch once for all rows with the same tokens so far; draw from rough
        logits where their error cannot matter. False changes the time and not the tokens.
    each_step : callable
        Called before every pass with the number of prompts in it; what it raises ends the batch.

    Raises
    ------
    SelfCheckError
        If a self-donor row differs from its baseline in one token.
    UserError
        If the model runs otherwise than transformers at these lengths, or gives no numbers.
    """
    (found,) = generate_together(
        model,
        [Request(prompt=prompt, tokens=tokens, patches=patches, donors=donors)],
        sampling=sampling,
        use_attn_result=use_attn_result,
        share_layers=share_layers,
        rough_logits=rough_logits,
        each_step=each_step,
    )
    return found


@torch.inference_mode()
def generate_together(
    model: Model,
    requests: Sequence[Request],
    *,
    sampling: Sampling,
    use_attn_result: bool = False,
    share_layers: bool = True,
    rough_logits: bool = True,
    each_step: Callable[[int], object] = lambda n_prompts: None,
) -> list[Continuations]:
    """Generate what :func:`generate` does for several prompts, to the bit.

    All their rows pass the model together where :func:`phase7.engine.decode.together.can_run_together`
    says that this changes no bit; elsewhere one prompt runs after the other.

    Parameters
    ----------
    requests : sequence of Request
        At least one.
    sampling : Sampling
        Of all of them; the other parameters and errors are those of :func:`generate`.

    Returns
    -------
    list of Continuations
        In the order of the requests.
    """
    for one in requests:
        check_lengths(model, len(one.tokens), sampling.max_new_tokens)
    side_by_side = len(requests) > 1 and can_run_together(model)
    literally, loops = use_attn_result, []
    with attn_result(model, literally), model.unembedding_apart() as unembed:
        rough = model.rough if rough_logits else None
        unembedding = Unembedding(exact=unembed, rough=rough, row_block=model.row_block)
        for one in requests:
            n_samples, arms = sampling.samples, (one.patches, one.donors)
            batch = RunningBatch(
                model, one.tokens, *arms, n_samples=n_samples, use_attn_result=literally
            )
            drawing = Drawing(
                rough,
                prompt=one.prompt,
                sampling=sampling,
                n_rows=batch.n_rows,
                n_checks=len(batch.checks) * n_samples,
            )
            loops.append(_DecodeLoop(model, batch, drawing, one.tokens, sampling))
        for group in [loops] if side_by_side else [[loop] for loop in loops]:
            _run(model, group, unembedding, each_step, share_layers, n_new=sampling.max_new_tokens)
    return [loop.continuations() for loop in loops]


def _run(
    model: Model,
    loops: Sequence[_DecodeLoop],
    unembedding: Unembedding,
    each_step: Callable[[int], object],
    share_layers: bool,
    *,
    n_new: int,
) -> None:
    """Prefill every prompt, and decode all together until each has ended."""
    batches = [loop.batch for loop in loops]
    once = [batch for batch in batches if not batch.runs_prompt_by_row]
    prefill_once(model, once, n_new=n_new, share_layers=share_layers)
    for batch in batches:
        if batch.runs_prompt_by_row:
            with batch.hooked():
                batch.prefill_by_row()
    # A cache without slots, as where all of the prompt is patched, is not told apart by Together.
    apart = len(loops) > 1 and not all(loop.batch.holds_slots for loop in loops)
    for group in [[loop] for loop in loops] if apart else [loops]:
        together = Together(model, [loop.batch for loop in group])
        with together.hooked():
            while running := [loop for loop in group if loop.goes_on]:
                each_step(len(running))
                states = together.forward(
                    [loop.batch for loop in running],
                    [loop.ids() for loop in running],
                    [loop.query for loop in running],
                )
                draws = [loop.draw(its) for loop, its in zip(running, states, strict=True)]
                drawn = draw_together(draws, unembedding)
                for loop, tokens in zip(running, drawn, strict=True):
                    loop.take(tokens)


class _DecodeLoop:
    """State of one prompt's decoding."""

    def __init__(
        self,
        model: Model,
        batch: RunningBatch,
        drawing: Drawing,
        tokens: Sequence[int],
        sampling: Sampling,
    ) -> None:
        self.batch, self._model, self._drawing, self._sampling = batch, model, drawing, sampling
        self._eos, self._n_prompt = sorted(model.eos_ids), len(tokens)
        self._next = np.full(batch.n_rows, tokens[-1], dtype=np.int64)
        # -1 from the end-of-text token on
        self._generated = np.full((batch.n_rows, sampling.max_new_tokens), -1, dtype=np.int32)
        self._alive, self._ended = np.arange(batch.n_rows), np.empty(0, dtype=np.int64)
        self._step = 0

    @property
    def goes_on(self) -> bool:
        """Whether a text has not ended."""
        return self._step < self._sampling.max_new_tokens and bool(self._alive.size)

    @property
    def query(self) -> int:
        """The absolute position of the next pass."""
        return self._n_prompt - 1 + self._step

    def ids(self) -> Int[Tensor, " slots"]:
        """The next pass's token in every slot of the first layer."""
        return torch.from_numpy(self._next[self.batch.layout.entering(0)]).to(self._model.device)

    def draw(self, states: Float[Tensor, "slots d_model"]) -> Draw:
        """Draw every row's next token from its final state."""
        return self._drawing.begin(
            states,
            slots=self.batch.layout.slots(self._model.n_layers - 1),
            rows=self._alive,
            histories=self.batch.layout.histories,
            step=self._step,
        )

    def take(self, drawn: Ints) -> None:
        """Go on with the tokens that were drawn, int64 [rows]."""
        batch, alive = self.batch, self._alive
        goes_on = ~np.isin(drawn, self._eos)
        self._next[alive] = drawn
        self._ended = np.append(self._ended, alive[~goes_on])
        self._alive = alive[goes_on]
        self._generated[self._alive, self._step] = drawn[goes_on]
        self._step += 1
        if not self._alive.size:
            return
        if batch.holds_slots and self._ended.size >= ROW_BLOCK:
            self._drop()
        self._copy(batch.layout.extend(self._next))

    def _drop(self) -> None:
        self.batch.patcher.drop(self._ended)
        self._copy(self.batch.layout.drop(self._ended))
        self._ended = self._ended[:0]

    def _copy(self, copies: Sequence[Copies]) -> None:
        for one in copies:
            source, target = torch.from_numpy(one.source), torch.from_numpy(one.target)
            copy_slots(self.batch.cache.layers[one.layer], source, target)

    def continuations(self) -> Continuations:
        """Take the rows apart again, after the last ones have passed the self-check."""
        checks, n_samples = self.batch.checks, self._sampling.samples
        by_patch = self._generated.reshape(-1, n_samples, self._generated.shape[-1])
        n_patches = len(by_patch) - 1 - len(checks)
        _compare(by_patch[0], by_patch[1 + n_patches :], checks)
        return Continuations(
            baseline_tokens=by_patch[0],
            patched_tokens=by_patch[1 : 1 + n_patches],
            kl_first_token_nats=self._drawing.kl_first_token[1 : 1 + n_patches],
            n_self_rows=len(checks) * n_samples,
            max_self_logit_gap=self._drawing.max_self_logit_gap,
        )


def _compare(
    baseline: np.ndarray[Any, np.dtype[Any]],
    generated: np.ndarray[Any, np.dtype[Any]],
    checks: Sequence[Patch],
) -> None:
    for check, patch in zip(generated, checks, strict=True):
        if not np.array_equal(check, baseline):
            step = int(np.argwhere((check != baseline).any(axis=0))[0, 0])
            raise self_check_error(patch, f"the text at generated token {step}")
