"""Decode one prompt's baseline and all its patches together, as rows of one batch.

What enters: a prompt, patches, donors, sampling. What leaves: :class:`Continuations`. The prompt is
prefilled once and fanned out; every step decodes all rows with the KV cache under the patcher's hooks
and samples with the shared noise. The first rows are the baseline; at the end of the batch, for each
mode used, one row per sample patches every head in the plan with the baseline's own activations, and
must reproduce it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phase7.config import Sampling
from phase7.donors import Donor
from phase7.errors import SelfCheckError, UserError
from phase7.models.loading import Model
from phase7.patching import BASELINE, Patch, Patcher
from phase7.rows import n_slots
from phase7.sampling import gumbel_noise, sample
from phase7.shared_prefix import fan_out

#: Raise it when the same plan would give other tokens: older entries are then computed again.
ENGINE_VERSION = 1


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
    n_rows: int = 0,
    use_attn_result: bool = False,
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
    n_rows : int
        Fill the batch up to this many rows with copies of the baseline: batches of one shape have
        bit-identical baselines. Whole blocks of rows are filled in any case (:mod:`phase7.rows`).

    Raises
    ------
    SelfCheckError
        If a self-donor row differs from its baseline in one token.
    """
    checks, n_samples = self_checks(patches), sampling.samples
    used = 1 + len(patches) + len(checks)
    spare = n_slots(max(used, n_rows // n_samples), n_samples) - used
    whole = [BASELINE, *patches, *[BASELINE] * spare, *checks]
    patcher = Patcher(
        model,
        whole,
        n_samples=n_samples,
        donors=donors,
        n_prompt=len(tokens),
        use_attn_result=use_attn_result,
    )
    loop = _DecodeLoop(model, prompt, tokens, whole, sampling, patcher)
    by_row = any(patch.heads and patch.positions == "all" for patch in whole)
    with _attn_result(model, use_attn_result):
        if not by_row:
            loop.prefill_once(tokens)
        with model.hooked(**patcher.hooks()):
            if by_row:
                loop.prefill_by_row(tokens)
            generated = loop.run(len(checks)).reshape(len(whole), n_samples, -1)
    _compare(generated[0], generated[-len(checks) :], checks)
    return Continuations(
        baseline_tokens=generated[0],
        patched_tokens=generated[1 : 1 + len(patches)],
        kl_first_token_nats=loop.kl_first_token[1 : 1 + len(patches)],
        n_self_rows=len(checks) * n_samples,
        max_self_logit_gap=loop.max_self_logit_gap,
    )


class _DecodeLoop:
    """State of one batch's decoding. Rows: patch-major, then sample."""

    def __init__(
        self,
        model: Model,
        prompt: str,
        tokens: Sequence[int],
        patches: Sequence[Patch],
        sampling: Sampling,
        patcher: Patcher,
    ) -> None:
        self._model, self._prompt, self._sampling, self._patcher = model, prompt, sampling, patcher
        self._n_prompt = len(tokens)
        self._n_rows = len(patches) * sampling.samples
        device = model.device
        self._eos = torch.tensor(sorted(model.eos_ids), dtype=torch.long, device=device)
        self._cache = model.new_cache()
        self._next = torch.full((self._n_rows,), tokens[-1], dtype=torch.long, device=device)
        self.kl_first_token: np.ndarray[Any, np.dtype[np.float64]] = np.empty(0)
        self.max_self_logit_gap = 0.0

    def run(self, n_checks: int) -> np.ndarray[Any, np.dtype[np.int32]]:
        """Decode to the end; int32 [n_rows, n_steps], -1 from the end-of-text token on."""
        done = torch.zeros(self._n_rows, dtype=torch.bool, device=self._model.device)
        steps: list[Tensor] = []
        for step in range(self._sampling.max_new_tokens):
            logits = self._step(step)
            if step == 0:
                self.kl_first_token = _kl_from_first(logits[:: self._sampling.samples])
            self._watch(logits, n_checks)
            drawn = self._draw(logits, step)
            done |= torch.isin(drawn, self._eos)
            steps.append(torch.where(done, -1, drawn))
            if bool(done.all()):
                break
            self._next = drawn
        n_missing = self._sampling.max_new_tokens - len(steps)
        generated = torch.stack(steps, dim=1).to(torch.int32).cpu().numpy()
        return np.pad(generated, ((0, 0), (0, n_missing)), constant_values=-1)

    def prefill_once(self, tokens: Sequence[int]) -> None:
        """Run all tokens but the last once, without hooks; all rows then share their cache."""
        if len(tokens) > 1:
            self._forward(self._ids(tokens[:-1]), 0)
            fan_out(self._cache, n_rows=self._n_rows, n_new=self._sampling.max_new_tokens)

    def prefill_by_row(self, tokens: Sequence[int]) -> None:
        """Run all tokens but the last in every row, under the hooks, which patch them too."""
        if len(tokens) > 1:
            self._patcher.at(0, self._cache)
            self._forward(self._ids(tokens[:-1]).expand(self._n_rows, -1), 0)

    def _ids(self, tokens: Sequence[int]) -> Tensor:
        return torch.tensor([list(tokens)], dtype=torch.long, device=self._model.device)

    def _step(self, step: int) -> Tensor:
        first = self._n_prompt - 1 + step
        self._patcher.at(first, self._cache)
        return self._forward(self._next[:, None], first)[:, -1]

    def _forward(self, ids: Tensor, first: int) -> Tensor:
        positions = torch.arange(first, first + ids.shape[1], device=ids.device)[None]
        logits: Tensor = self._model.bridge(
            ids, past_key_values=self._cache, use_cache=True, position_ids=positions
        )
        return logits

    def _draw(self, logits: Tensor, step: int) -> Tensor:
        sampling, noise = self._sampling, None
        if sampling.temperature > 0:
            noise = gumbel_noise(
                seed=sampling.seed,
                prompt=self._prompt,
                n_samples=sampling.samples,
                step=step,
                n_vocab=logits.shape[-1],
            ).to(logits.device)
        return sample(logits, noise, temperature=sampling.temperature, top_p=sampling.top_p)

    def _watch(self, logits: Tensor, n_checks: int) -> None:
        by_patch = logits.unflatten(0, (-1, self._sampling.samples))
        gap = (by_patch[-n_checks:] - by_patch[0]).abs().max()
        self.max_self_logit_gap = max(self.max_self_logit_gap, float(gap))


def _kl_from_first(logits: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
    """KL(row 0 || row) in nats for every row of logits [rows, n_vocab], in float64."""
    reference = torch.log_softmax(logits[0].double(), dim=-1)
    weights = reference.exp()
    kls = [(weights * (reference - torch.log_softmax(row.double(), dim=-1))).sum() for row in logits]
    kl: np.ndarray[Any, np.dtype[np.float64]] = torch.stack(kls).clamp(min=0).cpu().numpy()
    return kl


def _compare(
    baseline: np.ndarray[Any, Any], generated: np.ndarray[Any, Any], checks: Sequence[Patch]
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
