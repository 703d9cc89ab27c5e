"""Shared noise and exact nucleus sampling without a sort.

The noise is a function of the seed, the prompt's text, the sample and the step, never of the patch or
the row. So two arms that give the same logits draw the same token, and two that differ a little mostly
still do (the Gumbel-max coupling of Oberst & Sontag 2019).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

#: Rows sampled at once: bounds memory, and keeps a piece's numbers in the processor's cache.
_ROWS_AT_ONCE = 8
#: Draws turned into noise at once: fresh memory for many costs more than the arithmetic.
_DRAWN_AT_ONCE = 8192
#: Values whose largest is found together.
_BLOCK = 256
#: Far above the rounding of a sum of float32 probabilities.
_ROUNDING = 1e-3
#: Times -1, below every perturbed logit.
_RULED_OUT = 3e38
#: Tokens of a row, on average, that are worth comparing one by one.
_MOST_CANDIDATES = 32

ExactLogits = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


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
        for start in range(0, n_vocab, _DRAWN_AT_ONCE):
            place = noise[sample, start : start + _DRAWN_AT_ONCE]
            _gumbel(generator.random_raw(place.size), place)
    return torch.from_numpy(noise)


def _gumbel(raw: Any, into: Any) -> None:
    """-log(-log(u)) of raw uint64 draws, which are overwritten.

    u is (k + 1/2) / 2^52 for the upper 52 bits k, which never rounds to 0 or 1.
    """
    raw >>= np.uint64(12)
    raw |= np.uint64(0x3FF0000000000000)  # the bits of 1 + k / 2^52
    values = raw.view(np.float64)
    values -= 1 - 2.0**-53  # exactly u
    np.log(values, out=values)
    np.negative(values, out=values)
    np.log(values, out=values)
    into[:] = values
    np.negative(into, out=into)


def sample(
    logits: Float[Tensor, "rows n_vocab"],
    noise: Float[Tensor, "n_noise n_vocab"] | None,
    *,
    temperature: float,
    top_p: float,
    noise_rows: Int[Tensor, " rows"] | None = None,
) -> Int[Tensor, " rows"]:
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
            _sample_piece(piece.float(), _of_rows(noise, its_noise), temperature, top_p)
            for piece, its_noise in zip(
                logits.split(_ROWS_AT_ONCE), noise_rows.split(_ROWS_AT_ONCE), strict=True
            )
        ]
    )


def sample_changed(
    logits: Float[Tensor, "references n_vocab"],
    changes: Float[Tensor, "rows n_vocab"],
    error: Float[Tensor, " rows"],
    noise: Float[Tensor, "references n_vocab"] | None,
    *,
    of: Int[Tensor, " rows"],
    temperature: float,
    top_p: float,
    exact: ExactLogits,
) -> tuple[Int[Tensor, " rows"], Bool[Tensor, " rows"]]:
    """One token a row from logits that are known up to an error, and whether the error matters.

    Parameters
    ----------
    logits, noise : float [references, n_vocab]
        Of rows that these lie close to; no noise only at temperature 0.
    changes : float [rows, n_vocab]
        Added to them; a constant by row does not matter.
    error : float [rows]
        The largest error of any token's logit.
    of : int [rows]
        Which of these each row lies close to.
    temperature, top_p : float
        As for :func:`sample`.
    exact : callable
        From rows and tokens (int64 [pairs] each) to these tokens' logits and their largest errors.

    Returns
    -------
    tokens : int [rows]
    certain : bool [rows]
        Where True, :func:`sample` gives this token for all logits within the error.
    """
    if temperature == 0:
        noise = None
    scale = 1.0 if noise is None else 1 / max(temperature, 1e-30)
    reference = (logits.float() - logits.amax(dim=1, keepdim=True)).mul_(scale)
    # Float32 arithmetic on the scaled logits is part of the error.
    slack = (1e-5 + 2.0**-20 * reference.amin(dim=1).abs())[of]
    tokens = torch.zeros(len(changes), dtype=torch.int64, device=changes.device)
    certain = torch.zeros(len(changes), dtype=torch.bool, device=changes.device)
    error, whose = error * scale + slack, None if noise is None else (noise, of)
    for near in _pieces((reference, of), changes, error, whose, scale=scale, top_p=top_p):
        while len(near.rows):
            proposed, sure = _surely_first(near, whose, scale, slack, exact)
            inside, outside = _surely_in_nucleus(near, proposed, top_p)
            tokens[near.rows], certain[near.rows] = proposed, sure & inside
            near = near.without_less_probable(proposed, sure & outside)
    return tokens, certain


@dataclass(frozen=True, kw_only=True, eq=False)
class _Near:
    """Rows that are still to be drawn, and what is known of them."""

    rows: Int[Tensor, " rows"]
    perturbed: Float[Tensor, "rows n_vocab"]
    probability: Float[Tensor, "rows n_vocab"] | None  # None where every token may be drawn
    error: Float[Tensor, " rows"]  # of a scaled logit, up to a constant by row

    def without_less_probable(
        self, proposed: Int[Tensor, " rows"], among: Bool[Tensor, " rows"]
    ) -> _Near:
        """Some of the rows, each without the tokens that are no more probable than its proposal."""
        (some,) = torch.nonzero(among, as_tuple=True)
        if not len(some) or self.probability is None:
            return _Near(
                rows=self.rows[:0], perturbed=self.perturbed[:0], probability=None, error=self.error[:0]
            )
        probability = self.probability.index_select(0, some)
        above = (probability - probability.gather(1, proposed[some, None])).clamp_(min=0).sign_()
        return _Near(
            rows=self.rows[some],
            perturbed=self.perturbed.index_select(0, some).add_(above.sub_(1).mul_(_RULED_OUT)),
            probability=probability,
            error=self.error[some],
        )


#: Numbers that several rows share, [n, n_vocab], and which of them each row has, [rows].
_Shared = tuple[Tensor, Tensor]


def _of_rows(
    shared: Float[Tensor, "n n_vocab"], of: Int[Tensor, " rows"]
) -> Float[Tensor, "#rows n_vocab"]:
    """What each row has of some numbers that rows share, copied only where it must be."""
    if len(shared) == 1:
        return shared
    places = of.tolist()
    first = places[0] if places else 0
    if places == list(range(first, first + len(places))):
        return shared[first : first + len(places)]
    return shared.index_select(0, of)


def _pieces(
    reference: _Shared,
    changes: Float[Tensor, "rows n_vocab"],
    error: Float[Tensor, " rows"],
    noise: _Shared | None,
    *,
    scale: float,
    top_p: float,
) -> Iterator[_Near]:
    """A few rows at a time, with their scaled logits perturbed; `noise` is None at temperature 0."""
    for rows in torch.arange(len(changes), device=changes.device).split(_ROWS_AT_ONCE):
        piece = slice(int(rows[0]), int(rows[-1]) + 1)
        scaled = torch.add(_of_rows(reference[0], reference[1][piece]), changes[piece], alpha=scale)
        yield _Near(
            rows=rows,
            perturbed=scaled if noise is None else scaled + _of_rows(noise[0], noise[1][piece]),
            probability=None if noise is None or top_p >= 1 else torch.softmax(scaled, dim=-1),
            error=error[piece],
        )


def _surely_first(
    near: _Near,
    noise: _Shared | None,
    scale: float,
    slack: Float[Tensor, " all_rows"],
    exact: ExactLogits,
) -> tuple[Int[Tensor, " rows"], Bool[Tensor, " rows"]]:
    """The perturbed argmax, and whether it is surely that of the true logits.

    Where the lead is within the errors, the tokens that it may be are compared by their exact logits.
    """
    tokens, best, lead = _argmax_and_lead(near.perturbed)
    sure = lead > 2 * near.error
    (rows,) = torch.nonzero(~sure, as_tuple=True)
    if not len(rows):
        return tokens, sure
    least = (best - 2 * near.error)[rows, None]
    of_row, token = torch.nonzero(near.perturbed.index_select(0, rows) >= least, as_tuple=True)
    if len(token) > _MOST_CANDIDATES * len(rows):
        return tokens, sure
    whose = near.rows[rows[of_row]]
    logit, its_error = exact(whose, token)
    value = logit * scale if noise is None else logit * scale + noise[0][noise[1][whose], token]
    # A row's candidates side by side.
    counts = torch.bincount(of_row, minlength=len(rows))
    place = torch.arange(len(token), device=token.device) - (counts.cumsum(0) - counts)[of_row]
    width = max(2, int(counts.max()))
    values = torch.full((len(rows), width), -torch.inf, dtype=value.dtype, device=value.device)
    candidates = torch.zeros((len(rows), width), dtype=torch.int64, device=value.device)
    errors = torch.zeros_like(values)
    values[of_row, place], candidates[of_row, place] = value, token
    errors[of_row, place] = its_error * scale + slack[whose]
    two = values.topk(2, dim=1)
    tokens[rows] = candidates.gather(1, two.indices[:, :1])[:, 0]
    sure[rows] = two.values[:, 0] - two.values[:, 1] > 2 * errors.amax(dim=1)
    return tokens, sure


def _surely_in_nucleus(
    near: _Near, tokens: Int[Tensor, " rows"], top_p: float
) -> tuple[Bool[Tensor, " rows"], Bool[Tensor, " rows"]]:
    """Whether the nucleus surely holds each row's token, and whether it surely does not.

    A mass of m is at most a factor of exp(2 * error) off in m / (1 - m); which tokens lie above another
    is known where they differ by more than twice the error.
    """
    if near.probability is None:
        everything = torch.ones_like(tokens, dtype=torch.bool)
        return everything, ~everything
    chosen = near.probability.gather(1, tokens[:, None])[:, 0]
    factor = (2 * near.error).exp()
    most = 1 - chosen
    if bool((_with_odds(most, factor) >= top_p - _ROUNDING).any()):
        most = torch.minimum(most, _mass_above(near.probability, chosen / factor) - chosen)
    inside = _with_odds(most, factor) < top_p - _ROUNDING
    outside = torch.zeros_like(inside)
    (rows,) = torch.nonzero(~inside, as_tuple=True)
    if len(rows):
        least = _mass_above(near.probability.index_select(0, rows), (chosen * factor)[rows])
        outside[rows] = _with_odds(least, 1 / factor[rows]) > top_p + _ROUNDING
    return inside, outside


def _with_odds(mass: Float[Tensor, " rows"], factor: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
    """A mass m whose m / (1 - m) is multiplied by a factor."""
    return mass * factor / (mass * factor + (1 - mass))


def _mass_above(
    probability: Float[Tensor, "rows n_vocab"], least: Float[Tensor, " rows"]
) -> Float[Tensor, " rows"]:
    """The mass of each row's tokens whose probability is above a value."""
    least = least.clamp(min=1e-30)  # all tokens below hold nothing together
    relative = probability / least[:, None]
    mass: Tensor = torch.threshold_(relative, 1.0, 0.0).sum(dim=-1) * least
    return mass


def _sample_piece(
    logits: Float[Tensor, "rows n_vocab"],
    noise: Float[Tensor, "#rows n_vocab"],
    temperature: float,
    top_p: float,
) -> Int[Tensor, " rows"]:
    """Propose the perturbed argmax; where it lies outside the nucleus, rule out all that is no
    more probable, and propose again for those rows."""
    # Differences from the largest logit, so that no temperature overflows them.
    scaled = (logits - logits.amax(dim=-1, keepdim=True)).mul_(1 / max(temperature, 1e-30))
    perturbed = scaled + noise
    tokens = _argmax(perturbed)
    if top_p >= 1:
        return tokens
    # The most probable token has nothing above itself.
    (rows,) = torch.nonzero(scaled.gather(1, tokens[:, None])[:, 0] < 0, as_tuple=True)
    if len(rows):
        probability = torch.softmax(scaled.index_select(0, rows), dim=-1)
        chosen = probability.gather(1, tokens[rows, None])[:, 0]
        # A token that holds more than 1 - p of the mass cannot have p of it above itself.
        unsure = ~(chosen > 1 - top_p + _ROUNDING)
        rows, probability = rows[unsure], probability[unsure]
    while len(rows):
        # Comparisons by arithmetic (1 above, 0 elsewhere): masks are several times slower here.
        candidates = scaled.index_select(0, rows)
        above = (candidates - candidates.gather(1, tokens[rows, None])).clamp_(min=0).sign_()
        mass = (probability * above).sum(dim=-1)
        # Nothing above means the most probable token, which the nucleus holds even where p underflows.
        outside = (mass >= top_p) & (mass > 0)
        rows, above, probability = rows[outside], above[outside], probability[outside]
        remaining = perturbed.index_select(0, rows).add_(above.sub_(1).mul_(_RULED_OUT))
        perturbed[rows] = remaining
        tokens[rows] = _argmax(remaining)
    return tokens


def _argmax(values: Float[Tensor, "rows n"]) -> Int[Tensor, " rows"]:
    """The first largest value of each row: first the block that holds it, by a fast reduction."""
    if values.shape[0] == 0 or values.shape[1] < _BLOCK:
        return values.argmax(dim=-1)
    places = _places_of_block(values, _block_maxima(values).argmax(dim=-1, keepdim=True))
    within = values.gather(1, places).argmax(dim=-1, keepdim=True)
    found: Tensor = places.gather(1, within)[:, 0]
    return found


def _argmax_and_lead(
    values: Float[Tensor, "rows n"],
) -> tuple[Int[Tensor, " rows"], Float[Tensor, " rows"], Float[Tensor, " rows"]]:
    """A largest value of each row: where, what, and by how much it leads the next, or less."""
    if values.shape[1] < 2 * _BLOCK:
        two = values.topk(2, dim=-1)
        return two.indices[:, 0], two.values[:, 0], two.values[:, 0] - two.values[:, 1]
    blocks = _block_maxima(values).topk(2, dim=-1)
    places = _places_of_block(values, blocks.indices[:, :1])
    # Where the last block repeats the row's last value, a lead of it is not seen.
    within = values.gather(1, places).topk(2, dim=-1)
    best, second = within.values[:, 0], torch.maximum(blocks.values[:, 1], within.values[:, 1])
    found: Tensor = places.gather(1, within.indices[:, :1])[:, 0]
    return found, best, best - second


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
