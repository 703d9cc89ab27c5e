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

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from phase7.engine.decode.drawing import Drawing
from phase7.engine.decode.rows import Copies, Ints, SharedLayers
from phase7.engine.model.blocks import ROW_BLOCK, whole_blocks
from phase7.engine.model.bridge import Model
from phase7.engine.model.gates import Gate
from phase7.engine.model.kv_cache import copy_slots, fan_out, shares_layers, values_of
from phase7.engine.patch.donors import Donor
from phase7.engine.patch.patching import BASELINE, Patch, Patcher
from phase7.engine.patch.step import Rows, Step
from phase7.experiment.profile import Sampling
from phase7.vocabulary.errors import SelfCheckError, UserError
from phase7.vocabulary.modes import POSITION_RECORDS


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


def self_checks(patches: Sequence[Patch]) -> list[Patch]:
    """Self-donor patches: one for each (mode, positions) used, over the union of the patched heads."""
    heads = tuple(sorted({head for patch in patches for head in patch.heads}))
    recipes = sorted({(patch.mode, patch.positions) for patch in patches})
    return [Patch(heads=heads, mode=m, donor="self", positions=p) for m, p in recipes]


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
    """
    checks = self_checks(patches)
    loop = _DecodeLoop(model, tokens, [BASELINE, *patches, *checks], donors, sampling, use_attn_result)
    with _attn_result(model, use_attn_result), model.unembedding_apart() as unembed:
        drawing = Drawing(
            unembed,
            model.rough if rough_logits else None,
            prompt=prompt,
            sampling=sampling,
            n_rows=loop.n_rows,
            n_checks=len(checks) * sampling.samples,
            row_block=model.row_block,
        )
        generated = loop.run(drawing, each_step, share_layers=share_layers)
    return _continuations(generated, drawing, checks, sampling.samples)


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


def step_of(cache: Any, *, first_query: int, rows: Rows) -> Step:
    """A forward pass that continues a cache, as writes read it."""
    return Step(
        first_query=first_query,
        rows=rows,
        values=lambda layer, slots, kv_heads: values_of(cache.layers[layer], slots, kv_heads),
    )


class _DecodeLoop:
    """State of one batch's decoding. Rows: patch-major, then sample.

    Attributes
    ----------
    n_rows : int
    running : Step
        The forward pass that is running, or ran last.
    """

    running: Step

    def __init__(
        self,
        model: Model,
        tokens: Sequence[int],
        patches: Sequence[Patch],
        donors: Mapping[str, Donor],
        sampling: Sampling,
        use_attn_result: bool,
    ) -> None:
        self._model, self._tokens, self._sampling = model, tokens, sampling
        self._patches, self._n_prompt = patches, len(tokens)
        self._use_attn_result = use_attn_result
        self._patcher = Patcher(
            model,
            patches,
            n_samples=sampling.samples,
            donors=donors,
            n_prompt=len(tokens),
            use_attn_result=use_attn_result,
        )
        self.n_rows = len(patches) * sampling.samples
        self._eos = sorted(model.eos_ids)
        self._cache = model.new_cache()
        self._n_slots = whole_blocks(self.n_rows, model.row_block)
        self._layout = SharedLayers([-1] * self.n_rows, model.n_layers, model.row_block)
        self._can_drop = False
        self._next = np.full(self.n_rows, tokens[-1], dtype=np.int64)

    def run(
        self, drawing: Drawing, each_step: Callable[[], object], *, share_layers: bool
    ) -> np.ndarray[Any, np.dtype[np.int32]]:
        """Prefill and decode; int32 [n_rows, max_new_tokens], -1 from the end-of-text token on."""
        by_row = any(p.heads and POSITION_RECORDS[p.positions].from_start for p in self._patches)
        if not by_row:
            self._prefill_once(share_layers)
        with self._model.hooked(self._patcher.hooks(lambda: self.running), rows=self._rows_at):
            if by_row:
                self._prefill_by_row()
            return self._decode(drawing, each_step)

    def _decode(
        self, drawing: Drawing, each_step: Callable[[], object]
    ) -> np.ndarray[Any, np.dtype[np.int32]]:
        generated = np.full((self.n_rows, self._sampling.max_new_tokens), -1, dtype=np.int32)
        alive, ended = np.arange(self.n_rows), np.empty(0, dtype=np.int64)
        for step in range(self._sampling.max_new_tokens):
            each_step()
            states = self._step(step)
            slots = self._layout.slots(self._model.n_layers - 1)
            drawn = drawing.draw(
                states, slots=slots, rows=alive, histories=self._layout.histories, step=step
            )
            goes_on = ~np.isin(drawn, self._eos)
            self._next[alive] = drawn
            ended = np.append(ended, alive[~goes_on])
            alive = alive[goes_on]
            generated[alive, step] = drawn[goes_on]
            if not alive.size:
                break
            if self._can_drop and ended.size >= ROW_BLOCK:
                self._drop(ended)
                ended = ended[:0]
            self._copy(self._layout.extend(self._next))
        return generated

    def _prefill_once(self, share_layers: bool) -> None:
        """Run all tokens but the last once, without hooks; all rows then share their cache."""
        if self._n_prompt == 1:
            return
        self._forward(self._ids(self._tokens[:-1]), 0)
        shared_cache = self._model.shortcuts.shared_cache
        self._can_drop = shared_cache and shares_layers(self._cache)
        if share_layers and self._can_drop:
            n_layers = self._model.n_layers
            first = [min((h.layer for h in p.heads), default=n_layers) for p in self._patches]
            self._layout = SharedLayers(
                np.repeat(first, self._sampling.samples),
                n_layers,
                self._model.row_block,
                # A head's result is computed inside its attention, whose outputs must have a row each.
                share_attention=not self._use_attn_result,
            )
        n_new = self._sampling.max_new_tokens
        fan_out(
            self._cache,
            n_slots=self._n_slots,
            n_new=n_new,
            buffers=self._model.buffers,
            share=shared_cache,
        )

    def _prefill_by_row(self) -> None:
        """Run all tokens but the last in every row, under the hooks, which patch them too."""
        if self._n_prompt > 1:
            self._forward(self._ids(self._tokens[:-1]).expand(self._n_slots, -1), 0)

    def _rows_at(self, gate: Gate, layer: int) -> Tensor | None:
        """For `Model.hooked`: which rows pass a gate of a layer; None for all as they are."""
        layout = self._layout
        if gate == "layer":
            rows, n_before = layout.entering(layer), layout.n_slots(layer - 1)
        elif gate == "attention":
            rows, n_before = layout.attending(layer), layout.n_slots(layer)
        else:
            rows, n_before = layout.leaving(layer), layout.n_attention_slots(layer)
        if np.array_equal(rows, np.arange(n_before)):
            return None
        return torch.from_numpy(rows).to(self._model.device)

    def _ids(self, tokens: Sequence[int]) -> Tensor:
        return torch.tensor([list(tokens)], dtype=torch.long, device=self._model.device)

    def _step(self, step: int) -> Float[Tensor, "slots d_model"]:
        first = self._n_prompt - 1 + step
        ids = torch.from_numpy(self._next[self._layout.entering(0)]).to(self._model.device)
        return self._forward(ids[:, None], first)[:, -1]

    def _forward(self, ids: Tensor, first: int) -> Tensor:
        self.running = step_of(self._cache, first_query=first, rows=self._layout)
        positions = torch.arange(first, first + ids.shape[1], device=ids.device)[None]
        states: Tensor = self._model.bridge(
            ids, past_key_values=self._cache, use_cache=True, position_ids=positions
        )
        return states

    def _drop(self, ended: Ints) -> None:
        self._patcher.drop(ended)
        self._copy(self._layout.drop(ended))

    def _copy(self, copies: Sequence[Copies]) -> None:
        for one in copies:
            source, target = torch.from_numpy(one.source), torch.from_numpy(one.target)
            copy_slots(self._cache.layers[one.layer], source, target)


def _compare(
    baseline: np.ndarray[Any, np.dtype[Any]],
    generated: np.ndarray[Any, np.dtype[Any]],
    checks: Sequence[Patch],
) -> None:
    for check, patch in zip(generated, checks, strict=True):
        if not np.array_equal(check, baseline):
            step = int(np.argwhere((check != baseline).any(axis=0))[0, 0])
            raise SelfCheckError(
                f"self-check failed: patching {len(patch.heads)} heads with their own activations"
                f" (mode {patch.mode}, positions {patch.positions}) changed the text at generated"
                f" token {step}; the run's numbers would mean nothing, so it stops"
            )


@contextlib.contextmanager
def _attn_result(model: Model, wanted: bool) -> Iterator[None]:
    """Make the bridge compute each head's result on its own (`hook_result`) for a while."""
    if not wanted:
        yield
        return
    try:
        model.bridge.set_use_attn_result(True)
    except NotImplementedError as error:
        raise UserError(
            expected="an architecture with hook_result",
            got=f"{model.name}, whose bridge has none",
            where="--use-attn-result",
            remedy="leave the flag out: mode result at hook_z is the same patch up to rounding",
        ) from error
    try:
        yield
    finally:
        model.bridge.set_use_attn_result(False)
