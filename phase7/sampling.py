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
from jaxtyping import Bool, Float, Int
from torch import Tensor

#: Rows sampled at once: bounds memory, and keeps a piece's numbers in the processor's cache.
_ROWS_AT_ONCE = 8
#: Values whose largest is found together.
_BLOCK = 256
#: Far above the rounding of a sum of float32 probabilities.
_ROUNDING = 1e-3
#: Times -1, below every perturbed logit.
_RULED_OUT = 3e38


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
    logits: Float[Tensor, "rows n_vocab"],
    noise: Float[Tensor, "n_noise n_vocab"] | None,
    *,
    temperature: float,
    top_p: float,
    noise_rows: Int[Tensor, rows] | None = None,
) -> Int[Tensor, rows]:
    """One token a row: argmax of logits/T + noise inside the nucleus.

    The nucleus holds every token whose probability at temperature T has less than `top_p` of the mass
    strictly above it (Holtzman et al. 2020; ties stay together). At temperature 0 the most
    probable token is taken and the noise is not used.

    Parameters
    ----------
    logits : float [rows, n_vocab]
    noise : float [n_noise, n_vocab] or None
        None only at temperature 0.
    temperature : float
        0 or above.
    top_p : float
        In (0, 1]; 1 keeps every token.
    noise_rows : int [rows], optional
        The noise each row takes; without it, row r takes noise ``r % n_noise``.
    """
    if temperature == 0 or noise is None:
        return logits.argmax(dim=-1)
    if noise_rows is None:
        noise_rows = torch.arange(len(logits), device=logits.device) % len(noise)
    return torch.cat(
        [
            _sample_piece(
                piece.float(),
                noise if len(noise) == 1 else noise.index_select(0, its_noise),
                temperature,
                top_p,
            )
            for piece, its_noise in zip(
                logits.split(_ROWS_AT_ONCE), noise_rows.split(_ROWS_AT_ONCE), strict=True
            )
        ]
    )


def sample_changed(
    logits: Float[Tensor, n_vocab],
    changes: Float[Tensor, "rows n_vocab"],
    error: Float[Tensor, rows],
    noise: Float[Tensor, n_vocab] | None,
    *,
    temperature: float,
    top_p: float,
) -> tuple[Int[Tensor, rows], Bool[Tensor, rows]]:
    """One token a row from logits that are known up to an error, and whether the error matters.

    Parameters
    ----------
    logits : float [n_vocab]
        Of a row that all these rows lie close to.
    changes : float [rows, n_vocab]
        Added to it; a constant by row does not matter.
    error : float [rows]
        The largest error of any token's logit.
    noise : float [n_vocab] or None
    temperature, top_p : float
        As for :func:`sample`.

    Returns
    -------
    tokens : int [rows]
    certain : bool [rows]
        Where True, :func:`sample` gives this token for all logits within the error.
    """
    greedy = temperature == 0 or noise is None
    scale = 1.0 if greedy else 1 / max(temperature, 1e-30)
    reference = (logits.float() - logits.max()).mul_(scale)
    # Float32 arithmetic on the scaled logits is part of the error.
    error = error * scale + (1e-5 + 2.0**-20 * reference.amin().abs())
    pieces = [
        _sample_changed_piece(
            torch.add(reference, piece, alpha=scale),
            its_error,
            None if greedy else noise,
            1.0 if greedy else top_p,
        )
        for piece, its_error in zip(
            changes.split(_ROWS_AT_ONCE), error.split(_ROWS_AT_ONCE), strict=True
        )
    ]
    tokens, certain = zip(*pieces, strict=True)
    return torch.cat(tokens), torch.cat(certain)


def _sample_changed_piece(
    scaled: Float[Tensor, "rows n_vocab"],
    error: Float[Tensor, rows],
    noise: Float[Tensor, n_vocab] | None,
    top_p: float,
) -> tuple[Int[Tensor, rows], Bool[Tensor, rows]]:
    """The perturbed argmax; certain if its lead exceeds both errors and the nucleus surely holds it."""
    tokens, lead = _argmax_and_lead(scaled if noise is None else scaled + noise)
    certain = lead > 2 * error
    if top_p >= 1:
        return tokens, certain
    probability = torch.softmax(scaled, dim=-1)
    chosen = probability.gather(1, tokens[:, None])[:, 0]
    # Probabilities are off by a factor of at most exp(2 * error).
    inside = chosen * (-2 * error).exp() > 1 - top_p + _ROUNDING
    (rows,) = torch.nonzero(certain & ~inside, as_tuple=True)
    if len(rows):
        candidates, its_error = scaled.index_select(0, rows), error[rows, None]
        lowest = candidates.gather(1, tokens[rows, None]) - 2 * its_error
        above = candidates.sub_(lowest).clamp_(min=0).sign_()
        mass = (probability.index_select(0, rows) * above).sum(dim=-1) - chosen[rows]
        inside[rows] = mass * (2 * its_error[:, 0]).exp() < top_p - _ROUNDING
    return tokens, certain & inside


def _sample_piece(
    logits: Float[Tensor, "rows n_vocab"],
    noise: Float[Tensor, "rows n_vocab"],
    temperature: float,
    top_p: float,
) -> Int[Tensor, rows]:
    """Propose the perturbed argmax; where it lies outside the nucleus, rule out all that is no
    more probable, and propose again for those rows."""
    # Differences from the largest logit, so that no temperature overflows them.
    scaled = (logits - logits.amax(dim=-1, keepdim=True)).mul_(1 / max(temperature, 1e-30))
    perturbed = scaled + noise
    tokens = _argmax(perturbed)
    if top_p >= 1:
        return tokens
    probability = torch.softmax(scaled, dim=-1)
    chosen = probability.gather(1, tokens[:, None])[:, 0]
    # A token that holds more than 1 - p of the mass cannot have p of it above itself.
    (rows,) = torch.nonzero(~(chosen > 1 - top_p + _ROUNDING), as_tuple=True)
    while len(rows):
        # Comparisons by arithmetic (1 above, 0 elsewhere): masks are several times slower here.
        candidates = scaled.index_select(0, rows)
        above = (candidates - candidates.gather(1, tokens[rows, None])).clamp_(min=0).sign_()
        mass = (probability.index_select(0, rows) * above).sum(dim=-1)
        # Nothing above means the most probable token, which the nucleus holds even where p underflows.
        outside = (mass >= top_p) & (mass > 0)
        rows, above = rows[outside], above[outside]
        remaining = perturbed.index_select(0, rows).add_(above.sub_(1).mul_(_RULED_OUT))
        perturbed[rows] = remaining
        tokens[rows] = _argmax(remaining)
    return tokens


def _argmax(values: Float[Tensor, "rows n"]) -> Int[Tensor, rows]:
    """The first largest value of each row: first the block that holds it, by a fast reduction."""
    if values.shape[0] == 0 or values.shape[1] < _BLOCK:
        return values.argmax(dim=-1)
    places = _places_of_block(values, _block_maxima(values).argmax(dim=-1, keepdim=True))
    within = values.gather(1, places).argmax(dim=-1, keepdim=True)
    found: Tensor = places.gather(1, within)[:, 0]
    return found


def _argmax_and_lead(
    values: Float[Tensor, "rows n"],
) -> tuple[Int[Tensor, rows], Float[Tensor, rows]]:
    """A largest value of each row, and by how much it leads the next, or less."""
    if values.shape[1] < 2 * _BLOCK:
        two = values.topk(2, dim=-1)
        return two.indices[:, 0], two.values[:, 0] - two.values[:, 1]
    blocks = _block_maxima(values).topk(2, dim=-1)
    places = _places_of_block(values, blocks.indices[:, :1])
    # Where the last block repeats the row's last value, a lead of it is not seen.
    within = values.gather(1, places).topk(2, dim=-1)
    second = torch.maximum(blocks.values[:, 1], within.values[:, 1])
    found: Tensor = places.gather(1, within.indices[:, :1])[:, 0]
    return found, within.values[:, 0] - second


def _block_maxima(values: Float[Tensor, "rows n"]) -> Float[Tensor, "rows blocks"]:
    n = values.shape[1]
    n_whole = n // _BLOCK * _BLOCK
    best = values[:, :n_whole].unflatten(1, (-1, _BLOCK)).amax(dim=-1)
    if n_whole < n:
        best = torch.cat([best, values[:, n_whole:].amax(dim=-1, keepdim=True)], dim=1)
    maxima: Tensor = best
    return maxima


def _places_of_block(
    values: Float[Tensor, "rows n"], block: Int[Tensor, "rows 1"]
) -> Int[Tensor, "rows in_block"]:
    """Where the values of each row's block lie; the row's end is repeated beyond it."""
    places = block * _BLOCK + torch.arange(_BLOCK, device=values.device)
    clamped: Tensor = places.clamp_(max=values.shape[1] - 1)
    return clamped
