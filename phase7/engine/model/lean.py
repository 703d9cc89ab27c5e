"""The same arithmetic in fewer passes, where nobody looks at what lies between.

What enters: a bridge. What leaves: the same bridge, whose tanh-GELU is torch's own single operation,
and whose normalisations run the model's own module alone: the bridge computes the scale and the
normalised activations beside it for two hooks, which cost more than the module and which nothing in
this package reads. With a hook on either, it computes them as before.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
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
                setattr(module, name, ACT2FN["gelu_pytorch_tanh"])
        if type(module) in _LEAN:
            module.__class__ = _LEAN[type(module)]
