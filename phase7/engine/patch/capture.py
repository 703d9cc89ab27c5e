"""Record what every head did on one prompt, or what a unit beside them gave.

A prompt runs alone, in a batch of one, so that its numbers do not depend on other prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phase7.engine.model.bridge import Model
from phase7.engine.model.faithful import check_lengths, not_finite
from phase7.engine.model.gates import Hook
from phase7.engine.model.outputs import check_site
from phase7.vocabulary.sites import SITES, SiteName
from phase7.vocabulary.units import Unit


@dataclass(frozen=True, kw_only=True, eq=False)
class Capture:
    """Every head's activations on one prompt of S tokens, at its last Q queries.

    Attributes
    ----------
    value : float32 array [n_layers, S, n_kv_heads, d_head]
        Values v of all tokens, as attention reads them.
    z : float32 array [n_layers, Q, n_heads, d_head]
        Head outputs before W_O at the last Q positions; Q is 1 or S.
    pattern : float32 array [n_layers, n_heads, Q, S] or None
        Attention of those queries over all tokens; None where the model's pattern cannot be read.
    """

    value: np.ndarray[Any, np.dtype[np.float32]]
    z: np.ndarray[Any, np.dtype[np.float32]]
    pattern: np.ndarray[Any, np.dtype[np.float32]] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class UnitCapture:
    """One unit's output on one prompt of S tokens, at its last Q queries.

    Attributes
    ----------
    output : float32 array [Q, d_model]
        Q is 1 or S.
    """

    output: np.ndarray[Any, np.dtype[np.float32]]


def capture(model: Model, tokens: Sequence[int], *, all_queries: bool) -> Capture:
    """Run the prompt once and record v, z and the pattern of every head.

    Parameters
    ----------
    tokens : sequence of int
        The prompt, at least one token.
    all_queries : bool
        Record z and pattern at every query, not only at the last: needed to patch all positions.

    Raises
    ------
    UserError
        If the model runs otherwise than transformers at this length, or gives what is no number.
    """
    check_lengths(model, len(tokens) + 1, 0)  # the last one is read in the first pass, too
    n_queries = len(tokens) if all_queries else 1
    seen: dict[SiteName, dict[int, Tensor]] = {"z": {}, "pattern": {}}

    def keep(site: SiteName, layer: int) -> Hook:
        def hook(tensor: Tensor, hook: Any) -> None:
            axis = SITES[site].axis("query")
            tensor = tensor.narrow(axis, tensor.shape[axis] - n_queries, n_queries)
            seen[site][layer] = tensor[0].float().cpu().clone()

        return hook

    layers, cache = range(model.n_layers), model.new_cache()
    hooks = {site: {i: keep(site, i) for i in layers} for site in seen}
    with torch.inference_mode(), model.hooked(hooks):
        ids = torch.tensor([list(tokens)], device=model.device)
        model.bridge(ids, past_key_values=cache, use_cache=True)
        # What attention reads, which need not be what the projection gives.
        values = {i: model.values_in(cache, i)[0].transpose(0, 1).float().cpu() for i in layers}
    outputs, patterns = _stack(seen["z"], layers), seen["pattern"]
    if not np.isfinite(outputs).all():
        raise not_finite(model, "the heads' outputs")
    return Capture(
        value=_stack(values, layers),
        z=outputs,
        pattern=_stack(patterns, layers) if len(patterns) == len(layers) else None,
    )


def capture_unit(model: Model, tokens: Sequence[int], unit: Unit, *, all_queries: bool) -> UnitCapture:
    """Run the prompt once and record what one MLP or one residual stream gives.

    Parameters and errors are those of :func:`capture`.

    Raises
    ------
    UserError
        If the model's output of that kind cannot be read and written, too.
    """
    if unit.site is None:
        raise ValueError(f"{unit} has no output of its own")
    check_lengths(model, len(tokens) + 1, 0)
    check_site(model, unit.site)
    seen: list[Tensor] = []

    def keep(tensor: Tensor, hook: Any) -> None:
        seen.append(tensor[0, 0 if all_queries else -1 :].float().cpu().clone())

    with torch.inference_mode(), model.hooked({unit.site: {unit.layer: keep}}):
        ids = torch.tensor([list(tokens)], device=model.device)
        model.bridge(ids, past_key_values=model.new_cache(), use_cache=True)
    (output,) = seen
    if not bool(output.isfinite().all()):
        raise not_finite(model, f"the output of {unit}")
    return UnitCapture(output=output.numpy())


def _stack(by_layer: dict[int, Tensor], layers: range) -> np.ndarray[Any, np.dtype[np.float32]]:
    return torch.stack([by_layer[i] for i in layers]).numpy()
