"""The same arithmetic in fewer passes, where nothing reads what lies between.

A hook point that nobody watches gives back what it is given, without a module's call: a bridge has more
than forty of them in a layer. The tanh-GELU becomes torch's own single operation. Normalisations run the
model's own module alone: a bridge also computes the scale and the normalised activations for two hooks,
at more than the cost of the module, and nothing in this package reads them. With a hook on either, both
are computed as before.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge.generalized_components.normalization import NormalizationBridge
from transformer_lens.model_bridge.generalized_components.rms_normalization import (
    RMSNormalizationBridge,
)
from transformers.activations import ACT2FN, NewGELUActivation


class _OwnModuleOnly:
    def forward(self: Any, hidden_states: Tensor, **kwargs: Any) -> Tensor:
        watched = (self.hook_scale, self.hook_normalized)
        if any(hook.fwd_hooks or hook.bwd_hooks for hook in watched):
            output: Tensor = NormalizationBridge.forward(self, hidden_states, **kwargs)
        else:
            output = self.hook_out(self.original_component(self.hook_in(hidden_states)))
        return output


class LeanHookPoint(HookPoint):
    """A hook point that costs nothing where there is no hook."""

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """What is given, or what the hooks make of it."""
        watching = (
            self._forward_hooks, self._forward_pre_hooks, self._backward_hooks, self._backward_pre_hooks
        )  # fmt: skip
        return super().__call__(x, *args, **kwargs) if any(watching) else x


class LeanNormalization(_OwnModuleOnly, NormalizationBridge):
    """LayerNorm as the model has it."""


class LeanRMSNormalization(_OwnModuleOnly, RMSNormalizationBridge):
    """RMSNorm as the model has it."""


_LEAN = {NormalizationBridge: LeanNormalization, RMSNormalizationBridge: LeanRMSNormalization}


def make_lean(bridge: Any) -> None:
    """Replace activations and normalisations of a bridge; outputs change by rounding at most."""
    for module in list(bridge.modules()):
        for name, child in list(module.named_children()):
            if type(child) is NewGELUActivation:
                setattr(module, name, _lean_gelu())
        if type(module) in _LEAN:
            module.__class__ = _LEAN[type(module)]
        elif type(module) is HookPoint:
            module.__class__ = LeanHookPoint


def replaceable(bridge: Any) -> list[Any]:
    """The modules that :func:`make_lean` replaces."""
    return [m for m in bridge.modules() if type(m) is NewGELUActivation or type(m) in _LEAN]


def lean_forward(module: Any) -> Callable[..., Tensor]:
    """The forward pass that :func:`make_lean` gives to one of them; the module stays as it is."""
    if type(module) is NewGELUActivation:
        gelu: Callable[..., Tensor] = _lean_gelu()
        return gelu
    lean: Any = _LEAN[type(module)]
    return partial(lean.forward, module)


def _lean_gelu() -> Any:
    return ACT2FN["gelu_pytorch_tanh"]
