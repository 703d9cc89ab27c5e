"""From a batch's final states to one token a row.

What enters: the final states of one step, and which row each belongs to. What leaves: the tokens drawn
with the shared noise; beside them the divergence of the first token's distribution, and how far the
self-donor rows' logits lie from their baselines'. Logits are made for a piece of the rows at a time, so
those of a whole batch never lie in memory together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from phase7.config import Sampling
from phase7.sampling import gumbel_noise, sample
from phase7.sharing import Ints, whole_blocks

#: Rows whose logits are in memory together; whole blocks of any size of block.
_ROWS_AT_ONCE = 96

Unembed = Callable[[Tensor], Tensor]


class Drawing:
    """Draws the tokens of one batch, step after step.

    Parameters
    ----------
    unembed : callable
        From final states [rows, d_model] to logits [rows, n_vocab].
    prompt : str
        Identifies the noise.
    sampling : Sampling
    n_rows, n_checks : int
        Rows of the batch, patch-major, then sample: the baseline's first, the self-checks' last.
    row_block : int
        As of :class:`phase7.models.loading.Model`.

    Attributes
    ----------
    kl_first_token : float64 array [n_patches]
        KL(baseline || patch) of the first token's distribution in nats, of the first sample.
    max_self_logit_gap : float
        Largest absolute difference of logits between a self-check row and its baseline so far.
    """

    def __init__(
        self,
        unembed: Unembed,
        *,
        prompt: str,
        sampling: Sampling,
        n_rows: int,
        n_checks: int,
        row_block: int,
    ) -> None:
        self._unembed, self._prompt, self._sampling = unembed, prompt, sampling
        self._row_block, self._first_check = row_block, n_rows - n_checks
        self.kl_first_token = np.zeros(n_rows // sampling.samples)
        self.max_self_logit_gap = 0.0

    def draw(self, states: Float[Tensor, "slots d_model"], slots: Ints, rows: Ints, step: int) -> Ints:
        """The next token of each of the ascending `rows`, whose states lie in `slots` (by row)."""
        noise: Tensor | None = None
        base: dict[int, Tensor] = {}
        drawn = np.empty(rows.size, dtype=np.int64)
        for piece in _pieces(rows.size):
            own = rows[piece]
            logits = self._logits(states, slots[own])
            if noise is None and self._sampling.temperature > 0:
                noise = self._noise(step, logits)
            base |= {int(row): logits[i] for i, row in enumerate(own) if row < self._sampling.samples}
            if step == 0:
                self._note_kl(logits, own, base[0])
            self._note_gap(logits, own, base)
            drawn[piece] = self._sample(logits, noise, own)
        return drawn

    def _logits(self, states: Tensor, slots: Ints) -> Float[Tensor, "rows n_vocab"]:
        fill = whole_blocks(slots.size, self._row_block) - slots.size
        padded = np.append(slots, np.full(fill, slots[0]))
        logits = self._unembed(states.index_select(0, torch.from_numpy(padded).to(states.device)))
        return logits[: slots.size]

    def _noise(self, step: int, logits: Tensor) -> Float[Tensor, "n_samples n_vocab"]:
        sampling = self._sampling
        return gumbel_noise(
            seed=sampling.seed,
            prompt=self._prompt,
            n_samples=sampling.samples,
            step=step,
            n_vocab=logits.shape[-1],
        ).to(logits.device)

    def _sample(self, logits: Tensor, noise: Tensor | None, rows: Ints) -> Ints:
        drawn = sample(
            logits,
            noise,
            temperature=self._sampling.temperature,
            top_p=self._sampling.top_p,
            noise_rows=torch.from_numpy(rows % self._sampling.samples).to(logits.device),
        )
        tokens: Ints = drawn.cpu().numpy()
        return tokens

    def _note_kl(self, logits: Tensor, rows: Ints, base: Float[Tensor, n_vocab]) -> None:
        """KL(base || each) in nats for the rows of the first sample, in float64."""
        reference = torch.log_softmax(base.double(), dim=-1)
        weights = reference.exp()
        for place in np.flatnonzero(rows % self._sampling.samples == 0):
            log_p = torch.log_softmax(logits[place].double(), dim=-1)
            kl = float((weights * (reference - log_p)).sum().clamp(min=0))
            self.kl_first_token[rows[place] // self._sampling.samples] = kl

    def _note_gap(self, logits: Tensor, rows: Ints, base: dict[int, Tensor]) -> None:
        for place in np.flatnonzero(rows >= self._first_check):
            own_base = base.get(int(rows[place]) % self._sampling.samples)
            if own_base is not None:  # None once the baseline has ended
                gap = float((logits[place] - own_base).abs().max())
                self.max_self_logit_gap = max(self.max_self_logit_gap, gap)


def _pieces(n_rows: int) -> Iterator[slice]:
    return (slice(i, min(i + _ROWS_AT_ONCE, n_rows)) for i in range(0, n_rows, _ROWS_AT_ONCE))
