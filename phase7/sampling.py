"""Shared noise and exact nucleus sampling without a sort.

What enters: logits, and the noise's identity (seed, prompt text, sample, step). What leaves: one
token a row. The noise never depends on the patch or the row, so two arms that give the same logits
draw the same token, and two that differ a little mostly still do (the Gumbel-max coupling of
Oberst & Sontag 2019).
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

#: Rows sampled at once: bounds memory, and keeps a piece's numbers in the processor's cache.
_ROWS_AT_ONCE = 8


def gumbel_noise(
    *, seed: int, prompt: str, n_samples: int, step: int, n_vocab: int
) -> Float[Tensor, "n_samples n_vocab"]:
    """Standard Gumbel noise, a pure function of (seed, prompt, sample, step).

    Each (prompt, sample, step) has a Philox generator of its own, keyed by a SHA-256. Only raw 64-bit
    draws of the generator are used, whose stream NumPy keeps fixed; the transformation
    -log(-log(u)) is done here in float64 and rounded to float32.
    """
    noise = np.empty((n_samples, n_vocab), dtype=np.float32)
    for sample in range(n_samples):
        identity = json.dumps(["phase7 noise", seed, prompt, sample, step], ensure_ascii=True)
        digest = hashlib.sha256(identity.encode()).digest()
        generator = np.random.Philox(key=int.from_bytes(digest[:16], "little"))
        raw = generator.random_raw(n_vocab)
        # 52 bits and a half are exact in float64, so u never rounds to 0 or 1.
        uniform = ((raw >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
        noise[sample] = -np.log(-np.log(uniform))
    return torch.from_numpy(noise)


def sample(
    logits: Float[Tensor, "slots n_vocab"],
    noise: Float[Tensor, "n_noise n_vocab"] | None,
    *,
    temperature: float,
    top_p: float,
    rows: Int[Tensor, n] | None = None,
    noise_rows: Int[Tensor, n] | None = None,
) -> Int[Tensor, n]:
    """One token a row: argmax of logits/T + noise inside the nucleus.

    The nucleus holds every token whose probability at temperature T has less than `top_p` of the mass
    strictly above it (Holtzman et al. 2020; ties stay together). At temperature 0 the most
    probable token is taken and the noise is not used.

    Parameters
    ----------
    logits : float [slots, n_vocab]
    noise : float [n_noise, n_vocab] or None
        None only at temperature 0.
    temperature : float
        0 or above.
    top_p : float
        In (0, 1]; 1 keeps every token.
    rows : int [n], optional
        The logits each drawn token comes from; without it, each in turn.
    noise_rows : int [n], optional
        The noise each drawn token takes; without it, row r takes noise ``r % n_noise``.
    """
    if rows is None:
        rows = torch.arange(len(logits), device=logits.device)
    if temperature == 0 or noise is None:
        return logits.argmax(dim=-1)[rows]
    if noise_rows is None:
        noise_rows = torch.arange(len(rows), device=rows.device) % len(noise)
    return torch.cat(
        [
            _sample_piece(
                logits[piece], noise if len(noise) == 1 else noise[its_noise], temperature, top_p
            )
            for piece, its_noise in zip(
                rows.split(_ROWS_AT_ONCE), noise_rows.split(_ROWS_AT_ONCE), strict=True
            )
        ]
    )


def _sample_piece(
    logits: Float[Tensor, "rows n_vocab"],
    noise: Float[Tensor, "rows n_vocab"],
    temperature: float,
    top_p: float,
) -> Int[Tensor, rows]:
    """Propose the perturbed argmax; where it lies outside the nucleus, rule out all that is no
    more probable, and propose again for those rows."""
    scaled = logits.float()
    # Differences from the largest logit, so that no temperature overflows them.
    scaled = (scaled - scaled.amax(dim=-1, keepdim=True)) / max(temperature, 1e-30)
    perturbed = scaled + noise
    tokens = perturbed.argmax(dim=-1)
    if top_p >= 1:
        return tokens
    weights = scaled.exp()
    limit = weights.sum(dim=-1) * top_p
    rows, outside, above = _outside(weights, limit, tokens)
    while bool(outside.any()):
        rows, above = rows[outside], above[outside]
        remaining = perturbed[rows].masked_fill_(~above, -torch.inf)
        perturbed[rows] = remaining
        tokens[rows] = remaining.argmax(dim=-1)
        _, outside, above = _outside(weights[rows], limit[rows], tokens[rows])
    return tokens


def _outside(
    weights: Float[Tensor, "rows n_vocab"],
    limit: Float[Tensor, rows],
    tokens: Int[Tensor, rows],
) -> tuple[Tensor, Tensor, Tensor]:
    """Which rows' tokens lie outside the nucleus, and what is strictly more probable than they."""
    above = weights > weights.gather(1, tokens[:, None])
    mass = (weights * above).sum(dim=-1)
    rows = torch.arange(len(weights), device=weights.device)
    # Nothing above means the most probable token, which the nucleus holds even where p underflows.
    return rows, (mass >= limit) & (mass > 0), above
