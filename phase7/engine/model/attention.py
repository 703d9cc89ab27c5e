"""What an architecture's attention keeps and writes, found by running it.

All of it depends on the architecture, so it is looked at whenever a model is loaded, with any version of
the libraries.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from phase7.engine.model.bridge import Model, output_weight
from phase7.engine.model.gates import Hook
from phase7.vocabulary.sites import SiteName


@torch.inference_mode()
def n_kv_heads(model: Model) -> int:
    """Heads of keys and values, as they run; configurations may hold a number that nothing reads.

    Raises
    ------
    ValueError
        If the layers differ in their heads, or the heads' outputs are not what their size says.
    """
    outputs: dict[int, tuple[int, ...]] = {}

    def keep(layer: int) -> Hook:
        def hook(z: Tensor, hook: Any) -> None:
            outputs[layer] = tuple(z.shape[2:])

        return hook

    cache, tokens = model.new_cache(), torch.tensor([[0, 1]], device=model.device)
    with model.hooked({"z": {layer: keep(layer) for layer in range(model.n_layers)}}):
        model.bridge(tokens, past_key_values=cache, use_cache=True)
    counts = []
    for layer in range(model.n_layers):
        n_kv, d_value = (model.values_in(cache, layer).shape[i] for i in (1, 3))
        if outputs[layer] != (model.n_heads, model.d_head) or d_value != model.d_head:
            raise ValueError(
                f"outputs of {outputs[layer]} (heads, size) from values of size {d_value} in layer"
                f" {layer}; expected {(model.n_heads, model.d_head)}, the same in every layer"
            )
        counts.append(n_kv)
    if len({*counts}) > 1 or model.n_heads % counts[0]:
        raise ValueError(f"{counts} heads of keys and values by layer for {model.n_heads} query heads")
    return counts[0]


def composes(model: Model) -> bool:
    """Whether pattern times cached values is z, in every layer, as the composed modes assume.

    In one pass and in a step behind it: then what a donor's attention makes of its values is its output.
    """
    patterns: dict[int, Tensor] = {}
    outputs: dict[int, Tensor] = {}
    layers = range(model.n_layers)

    def keep(into: dict[int, Tensor], layer: int) -> Any:
        def hook(tensor: Tensor, hook: Any) -> None:
            into[layer] = tensor[0].double()

        return hook

    sites: dict[SiteName, dict[int, Tensor]] = {"z": outputs, "pattern": patterns}
    cache, tokens = model.new_cache(), _tokens(model, 9)
    for start, end in ((0, 8), (8, 9)):
        places = torch.arange(start, end, device=model.device)[None]
        with model.hooked({site: {i: keep(into, i) for i in layers} for site, into in sites.items()}):
            model.bridge(
                tokens[:, start:end], past_key_values=cache, use_cache=True, position_ids=places
            )
        if not all(_is_composed(model, patterns[i], cache, i, outputs[i]) for i in layers):
            return False
    return True


def _is_composed(model: Model, pattern: Tensor, cache: Any, layer: int, output: Tensor) -> bool:
    values = model.values_in(cache, layer)[0].double()
    values = values.repeat_interleave(model.n_heads // model.n_kv_heads, dim=0)
    if pattern.shape[-1] != values.shape[1]:
        return False
    composed = (pattern @ values).transpose(0, 1)
    tolerance = 1e-3 if model.dtype == torch.float32 else 0.05
    return torch.allclose(composed, output, atol=tolerance * float(output.abs().max()))


@torch.inference_mode()
def writes_results(model: Model) -> bool:
    """Whether a head's output written at `hook_result` is the same patch as written at z.

    The bridge must be computing each head's result on its own. Some never reach the hook, and some scale
    what passes there.
    """
    generator = torch.Generator().manual_seed(0)
    written = torch.randn(model.n_heads, model.d_head, generator=generator)
    written = written.to(device=model.device, dtype=model.dtype)
    tokens = _tokens(model, 4)
    of: dict[SiteName, Callable[[int], Tensor]] = {
        "z": lambda layer: written,
        "result": lambda layer: torch.einsum("hd,hdm->hm", written, output_weight(model, layer)),
    }
    logits: list[Float[Tensor, "one tokens n_vocab"]] = []
    for site, new in of.items():
        with model.hooked({site: {i: _write(new(i)) for i in range(model.n_layers)}}):
            logits.append(model.bridge(tokens).float())
    at_z, at_result = logits
    tolerance = 1e-3 if model.dtype == torch.float32 else 0.25
    return bool((at_result - at_z).abs().max() <= tolerance * at_z.std())


def _write(new: Tensor) -> Hook:
    """Let all but the first query's outputs be `new`."""

    def hook(old: Tensor, hook: Any) -> Tensor:
        changed = old.clone()
        changed[:, 1:] = new
        return changed

    return hook


def _tokens(model: Model, n: int) -> Tensor:
    n_vocab = model.bridge.original_model.get_input_embeddings().weight.shape[0]
    tokens: Tensor = torch.arange(n, device=model.device)[None] % n_vocab
    return tokens
