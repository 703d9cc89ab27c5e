"""The circuit of the heads found as a Dataset: each head's effect by reader, and what it reads.

Readers are the logits, the MLPs, and the later heads by their queries, keys and values together; a
second array tells these three apart. Effects over all readers of a head sum to its effect, but for what
the quadrature leaves (`path_gap`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from phase7.effects.families import can_reject
from phase7.effects.scores import Floats, on_prompts, without_nul
from phase7.experiment.circuits import CircuitPlan
from phase7.experiment.statistics import Statistics
from phase7.statistics.multiplicity import benjamini_hochberg
from phase7.statistics.paired import paired_summary
from phase7.statistics.ratio import ratio_of_means
from phase7.vocabulary.circuits import LETTERS, readers
from phase7.vocabulary.heads import Head

#: Shares of a head's paths that are rounding: gradients are computed in single precision.
_ROUNDING = 1e-6

#: The parts of the unpatched read-out, with the axes of each.
_OWN = {
    "own_heads": ("layer", "head"),
    "own_mlps": ("layer",),
    "own_biases": ("layer",),
    "own_embedding": (),
    "own_constant": (),
    "own_total": (),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class StageCircuit:
    """What was measured of S heads on P recipients, in nats (logits).

    Attributes
    ----------
    heads : tuple of Head
    recipients : tuple of int
    effect, direct : float64 array [S, P]
    mlps : float64 array [S, layer, P]
    through : float64 array [S, layer, head, letter, P]
    own : mapping of str to float64 array [..., P]
        Parts of the unpatched read-out.
    reads : mapping of str to list
        What the heads read, [S][rank].
    words : str
        The set of words that the read-out is made of.
    n_steps : int
        Tokens of each path, at most.
    """

    heads: tuple[Head, ...]
    recipients: tuple[int, ...]
    effect: Floats
    direct: Floats
    mlps: Floats
    through: Floats
    own: Mapping[str, Floats]
    reads: Mapping[str, list[Any]]
    words: str
    n_steps: int

    @property
    def readers(self) -> tuple[str, ...]:
        """Names of the readers: the logits, MLPs by layer, heads by place."""
        n_layers, n_heads = self.through.shape[1:3]
        return tuple(dict.fromkeys(one.unit for one in readers(n_layers, n_heads)))

    @property
    def paths(self) -> Floats:
        """Effects by reader, [S, reader, P]; NaN for what does not read the head.

        What is no more than rounding is 0: no test shall find it.
        """
        heads = self.through.sum(axis=3)
        flat = heads.reshape(len(heads), -1, heads.shape[-1])
        paths = np.concatenate([self.direct[:, None], self.mlps, flat], axis=1)
        size = np.abs(paths).sum(axis=1, keepdims=True)
        paths = np.where(np.abs(paths) <= _ROUNDING * size, 0.0, paths)
        return np.where(self._reads_nothing[..., None], np.nan, paths)

    @property
    def _reads_nothing(self) -> Any:
        """Which readers do not come behind a head, [S, reader]."""
        n_layers, n_heads = self.through.shape[1:3]
        layers = np.array([head.layer for head in self.heads])[:, None]
        mlps = ~(self.mlps != 0).any(axis=-1) & (np.arange(n_layers) <= layers)
        heads = np.repeat(np.arange(n_layers), n_heads) <= layers
        logits = np.zeros((len(layers), 1), dtype=bool)
        return np.concatenate([logits, mlps, heads], axis=1)


def gather_circuit(
    plan: CircuitPlan, entries: Iterable[tuple[int, dict[str, Any]]], reads: Mapping[str, list[Any]]
) -> StageCircuit | None:
    """Put the entries of a circuit in their places; None where the model's parts are not known."""
    found = dict(entries)
    some = [found[index] for index in plan.recipients]
    if not all(some):
        return None

    def on_last(name: str) -> Floats:
        return np.stack([np.asarray(one[name], dtype=np.float64) for one in some], axis=-1)

    return StageCircuit(
        heads=plan.heads,
        recipients=plan.recipients,
        effect=on_last("effect"),
        direct=on_last("direct"),
        mlps=on_last("mlps"),
        through=on_last("heads"),
        own={name: on_last(name) for name in _OWN},
        reads=reads,
        words=plan.words.name,
        n_steps=plan.n_steps,
    )


def circuit_dataset(
    found: StageCircuit, stats: Statistics, seed: int, prompts: Sequence[int]
) -> xr.Dataset:
    """The Dataset ``circuit``.

    Parameters
    ----------
    prompts : sequence of int
        The group's prompts.
    """
    paths = found.paths
    edge, total = (
        paired_summary(one, seed=seed, n_resamples=stats.resamples) for one in (paths, found.effect)
    )
    share = _direct_share(found, total.ci_low, total.ci_high, stats, seed)
    sums = np.nansum(paths, axis=1)
    by_letter = found.through.mean(axis=-1).reshape(len(paths), -1, len(LETTERS))
    letters = np.full((*paths.shape[:2], len(LETTERS)), np.nan)
    letters[:, -by_letter.shape[1] :] = by_letter
    letters[np.isnan(paths).all(axis=-1)] = np.nan
    variables: dict[str, Any] = {
        "path": (("head_set", "reader", "prompt"), on_prompts(paths, found.recipients, prompts)),
        "path_delta": (("head_set", "reader"), edge.mean),
        "path_ci_low": (("head_set", "reader"), edge.ci_low),
        "path_ci_high": (("head_set", "reader"), edge.ci_high),
        "path_p_value": (("head_set", "reader"), edge.p_value),
        "path_n_nonzero": (("head_set", "reader"), edge.n_nonzero),
        "path_q_value": (("head_set", "reader"), path_q_values(edge.p_value, edge.n_nonzero, stats)),
        "path_by_letter": (("head_set", "reader", "letter"), letters),
        "total": (("head_set", "prompt"), on_prompts(found.effect, found.recipients, prompts)),
        "total_delta": ("head_set", total.mean),
        "total_ci_low": ("head_set", total.ci_low),
        "total_ci_high": ("head_set", total.ci_high),
        "total_p_value": ("head_set", total.p_value),
        "path_gap": ("head_set", np.abs(found.effect - sums).max(axis=-1)),
        **{name: ("head_set", values) for name, values in share.items()},
        **{name: (_OWN[name], values.mean(axis=-1)) for name, values in found.own.items()},
        **{name: (("head_set", "place"), _listed(name, some)) for name, some in found.reads.items()},
    }
    coords = {
        "head_set": [str(head) for head in found.heads],
        "reader": list(found.readers),
        "letter": list(LETTERS),
    }
    dataset = xr.Dataset(variables, coords=coords)
    if "place" in dataset.sizes:
        dataset = dataset.assign_coords(place=np.arange(1, dataset.sizes["place"] + 1))
    return dataset.assign_attrs(words=found.words, n_steps=found.n_steps)


def path_q_values(p_value: Floats, n_nonzero: Floats, stats: Statistics) -> Floats:
    """q of all paths of all heads as one family of Benjamini and Yekutieli (2001).

    Paths of a head sum to its effect, so their tests may depend on each other in any way; then q is that
    of Benjamini and Hochberg times the sum of 1/i up to the number of tests. Paths whose effects are
    other than 0 on so few prompts that no signs would bring p below the level are left out (NaN).
    """
    q = benjamini_hochberg(p_value, where=can_reject(n_nonzero, stats))
    n_tests = int(np.isfinite(q).sum())
    adjusted: Floats = np.minimum(1.0, q * (1 / np.arange(1, n_tests + 1)).sum())
    return adjusted


def _direct_share(
    found: StageCircuit, low: Floats, high: Floats, stats: Statistics, seed: int
) -> dict[str, Floats]:
    """The direct part of each head's effect, [S]; NaN where the interval of the effect holds 0."""
    ratio = ratio_of_means(found.direct, found.effect, seed=seed, n_resamples=stats.resamples)
    is_clear = (low > 0) | (high < 0)
    ends = {"": ratio.value, "_low": ratio.low, "_high": ratio.high}
    return {f"direct_share{end}": np.where(is_clear, values, np.nan) for end, values in ends.items()}


def _listed(name: str, by_head: Sequence[Sequence[Any]]) -> Any:
    if name.endswith("_token"):
        return np.array([without_nul(tokens) for tokens in by_head], dtype=object)
    return np.array(by_head, dtype=np.float64)
