"""Private operations compared with the plain ones, on the loaded model.

Called where torch, transformers or transformer-lens is another version than the tests have run with
(:mod:`phase7.engine.model.versions`). Each comparison is small: random inputs for every shape of
product, a few tokens through the model. What differs by more than rounding, or is not there, is not
used.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from phase7.engine.model.bridge import Model
from phase7.engine.model.buffers import Buffers
from phase7.engine.model.gates import Gate, Rows
from phase7.engine.model.kv_cache import fan_out, shares_layers
from phase7.engine.model.packed import PACKED_ROWS, packable, packed_forward
from phase7.engine.model.rough import RoughUnembedding
from phase7.engine.model.shortcuts import Shortcuts
from phase7.models.quiet import quiet

_log = logging.getLogger(__name__)

_N_ROWS = 37
#: Parts of the rows, of which each must have the bits that it has in the whole.
_PARTS = ((0, PACKED_ROWS), (3, 3), (5, 16), (20, 17))
_UNIT_ROUNDOFF = 2.0**-24


def holds(check: Callable[..., bool], *args: Any) -> bool:
    """What a comparison says; False where it cannot be made, as where an operation is not there."""
    try:
        with torch.inference_mode(), quiet():
            return check(*args)
    except Exception as error:  # whatever another version's private parts may raise
        _log.info("%s: %s: %s", check.__name__, type(error).__name__, error)
        return False


def that_hold(bridge: Any, wanted: Shortcuts) -> Shortcuts:
    """Those of the shortcuts that change a bridge's modules that agree with the bridge as it is."""
    return Shortcuts(
        packed_products=wanted.packed_products and holds(products_agree, bridge),
        lean_modules=wanted.lean_modules and holds(lean_modules_agree, bridge),
        shared_cache=wanted.shared_cache,
        shared_layers=wanted.shared_layers,
    )


def products_agree(bridge: Any) -> bool:
    """Whether packed products give what plain ones give, and rows that depend on no other row.

    One layer of each shape is tried on random rows; the packed weight is kept for when it is used.
    """
    by_shape = {(type(layer), tuple(layer.weight.shape)): layer for layer in packable(bridge)}
    random = torch.Generator().manual_seed(0)
    for layer in by_shape.values():
        packed = packed_forward(layer)
        n_in = layer.weight.shape[1 if isinstance(layer, torch.nn.Linear) else 0]
        rows = torch.randn(_N_ROWS, n_in, generator=random)
        plain, whole = layer(rows), packed(rows)
        # Rounding adds up like a random walk over the products of a sum.
        if not _close(whole, plain, 32 * _UNIT_ROUNDOFF * n_in**0.5):
            return False
        for start, n in _PARTS:
            if not torch.equal(packed(rows[start : start + n].clone()), whole[start : start + n]):
                return False
    return True


def lean_modules_agree(bridge: Any) -> bool:
    """Whether each lean module gives what the module that it replaces gives, on its own inputs."""
    from phase7.engine.model.lean import lean_forward, replaceable

    calls: list[tuple[Any, Any, Any, Any]] = []
    modules = replaceable(bridge)
    hooks = [
        module.register_forward_hook(
            lambda module, args, kwargs, output: calls.append((module, args, kwargs, output)),
            with_kwargs=True,
        )
        for module in modules
    ]
    try:
        bridge(_tokens(bridge, 1, 6))
    finally:
        for hook in hooks:
            hook.remove()
    return {id(module) for module, *_ in calls} == {id(module) for module in modules} and all(
        _close(lean_forward(module)(*args, **kwargs), output, 32 * _UNIT_ROUNDOFF)
        for module, args, kwargs, output in calls
    )


def rough_logits_agree(rough: RoughUnembedding, weight: Tensor) -> bool:
    """Whether the difference of float32 logits lies within the stated error of the rough one."""
    random = torch.Generator().manual_seed(0)
    references = torch.randn(_N_ROWS, weight.shape[1], generator=random)
    near = references + 0.05 * torch.randn(references.shape, generator=random)
    changes, error = rough.changes(near, references)
    logits, reference_logits = near @ weight.T, references @ weight.T
    off = (logits - reference_logits).double() - changes.double()
    # A constant by row is free: the best one lies half-way between the extremes.
    return bool(((off.amax(dim=1) - off.amin(dim=1)) / 2 <= error).all())


def shared_cache_agrees(model: Model, share_layers: bool) -> bool:
    """Whether rows that share a prompt, and layers, give what rows with a plain cache give.

    This is compared with any version: it depends on the architecture.
    """
    prompt, steps = _tokens(model.bridge, 1, 5), _tokens(model.bridge, 2, 2).T
    plain, shared = model.new_cache(), model.new_cache()
    for cache in (plain, shared):
        _logits(model, prompt, cache, 0)
    plain.batch_repeat_interleave(4)
    n_layers_share = share_layers and shares_layers(shared)
    fan_out(shared, n_slots=4, n_new=len(steps), buffers=Buffers())
    tolerance = 1e-4 if model.dtype == torch.float32 else 0.05
    for number, ids in enumerate(steps):
        each = ids.repeat(2)[:, None]  # rows 0 and 2 read one token, 1 and 3 another
        expected = _logits(model, each, plain, 5 + number)
        enter = each[:2] if n_layers_share and model.n_layers > 1 else each
        with model.hooked({}, rows=_two_of_four(model) if n_layers_share else None):
            got = _logits(model, enter, shared, 5 + number)
        if not _close(got, expected, tolerance):
            return False
    return True


def _two_of_four(model: Model) -> Rows:
    """Gates through which two rows serve four: all of the first layer, and the attention of the others.

    But not the last's, so that attentions differ in their rows.
    """
    doubled = torch.tensor([0, 1, 0, 1], device=model.device)

    def rows(gate: Gate, layer: int) -> Tensor | None:
        if layer == 0 and model.n_layers > 1:
            return None
        if gate != "layer" and 0 < layer == model.n_layers - 1:
            return None
        if gate == "attention":
            return doubled[:2]
        return doubled if gate == "outputs" or layer == 1 else None

    return rows


def _logits(model: Model, ids: Tensor, cache: Any, first: int) -> Tensor:
    positions = torch.arange(first, first + ids.shape[1], device=ids.device)[None]
    logits: Tensor = model.bridge(ids, past_key_values=cache, use_cache=True, position_ids=positions)
    return logits[:, -1]


def _tokens(bridge: Any, n_rows: int, n_each: int) -> Tensor:
    """Some tokens [n_rows, n_each], all of which the model has."""
    n_vocab = bridge.original_model.get_input_embeddings().weight.shape[0]
    tokens: Tensor = torch.arange(n_rows * n_each, device=bridge.cfg.device) % n_vocab
    return tokens.reshape(n_rows, n_each)


def _close(got: Any, expected: Tensor, tolerance: float) -> bool:
    """Within a tolerance relative to the largest value expected."""
    if got.shape != expected.shape:
        return False
    return bool((got - expected).abs().max() <= tolerance * expected.abs().max())
