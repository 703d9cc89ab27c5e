"""Whether the outputs of a model's MLPs and layers can be read, and are what the model goes on with.

An architecture can lack a hook, or ignore what is written at it. So each site is tried once for a loaded
model, before anything is captured there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from phase7.engine.model.bridge import Model
from phase7.engine.model.gates import Hook
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.sites import SITES, SiteName, hook_name


def check_site(model: Model, site: SiteName) -> None:
    """Refuse a model in which a site with the axes (row, query, d_model) is not what it should be.

    In every layer, the site must pass one tensor of these axes, whose own values written back change no
    bit, and other values give other logits.

    Raises
    ------
    UserError
    """
    if site in model.compared:
        return
    layer = next((i for i in range(model.n_layers) if not _is_written(model, site, i)), None)
    if layer is not None:
        raise UserError(
            expected=f"a model whose output at {SITES[site].hook} can be read and replaced",
            got=f"{model.name}, where it cannot in layer {layer}",
            where=site,
            remedy="patch heads, or attn:L for a whole layer's attention",
        )
    model.compared.add(site)


@torch.inference_mode()
def _is_written(model: Model, site: SiteName, layer: int) -> bool:
    if hook_name(site, layer) not in model.bridge.hook_dict:
        return False
    seen: list[Tensor] = []

    def keep(tensor: Tensor, hook: Any) -> None:
        seen.append(tensor)

    tokens = torch.arange(1, 6, device=model.device)[None]
    plain = _logits(model, tokens, site, layer, keep)
    axes = (1, tokens.shape[1], int(model.bridge.cfg.d_model))
    if len(seen) != 1 or tuple(getattr(seen[0], "shape", ())) != axes:
        return False
    same = _logits(model, tokens, site, layer, lambda tensor, hook: tensor.clone())
    other = _logits(model, tokens, site, layer, _reversed)
    return torch.equal(plain, same) and not torch.equal(plain, other)


def _reversed(tensor: Tensor, hook: Any) -> Tensor:
    """Let each query have another one's output."""
    return tensor.flip(1)


def _logits(model: Model, tokens: Tensor, site: SiteName, layer: int, hook: Hook) -> Tensor:
    with model.hooked({site: {layer: hook}}):
        logits: Tensor = model.bridge(tokens)
    return logits
