"""One recipient's pass that can be differentiated, and what its heads did in it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from phase7.engine.model.bridge import Model
from phase7.engine.model.faithful import not_finite
from phase7.engine.model.gates import Hook
from phase7.vocabulary.sites import SiteName


class TracedRun:
    """One recipient's pass, with what its heads did.

    Parameters
    ----------
    model : Model
    keeps_stream : bool
        Remember what enters and leaves every layer.

    Attributes
    ----------
    z : dict of int to float tensor [1, queries, n_heads, d_head]
        Head outputs by layer, at the queries of the last pass.
    value : dict of int to float tensor [1, S, n_kv_heads, d_head]
        Values of all tokens.
    pattern : dict of int to float tensor [1, n_heads, queries, keys]
        Attention of the last pass's queries; the keys are the last ones. Empty where it cannot be read.
    stream : dict of int to float tensor [1, queries, d_model]
        The residual stream before each layer, and after the last one, at the queries of the last pass;
        empty where it was not asked for.
    """

    def __init__(self, model: Model, *, keeps_stream: bool = False) -> None:
        self._model, self._cache, self._keeps_stream = model, model.new_cache(), keeps_stream
        self.z: dict[int, Tensor] = {}
        self.value: dict[int, Tensor] = {}
        self.pattern: dict[int, Tensor] = {}
        self.stream: dict[int, Tensor] = {}

    def logits(self, tokens: Sequence[int], first: int, n_steps: int) -> Float[Tensor, "steps n_vocab"]:
        """Float32 logits at the last queries; those from position `first` on can be differentiated."""
        if first:
            with torch.no_grad():
                self._forward(self._model, tokens[:first], 0, n_steps=0)
        twin = self._model.differentiable
        with self._stream_kept(twin) if self._keeps_stream else contextlib.nullcontext():
            logits = self._forward(twin, tokens[first:], first, n_steps)[0].float()
        if bool(logits.isnan().any()):
            raise not_finite(self._model, "the logits along a path")
        return logits

    def _forward(self, model: Model, tokens: Sequence[int], first: int, n_steps: int) -> Tensor:
        """Run some tokens behind those in the cache; logits of the last ones, [1, n_steps, n_vocab]."""
        keep: dict[SiteName, Callable[[int], Hook]] = {
            "z": self._keep_z,
            "pattern": self._keep_pattern,
        }
        hooks = {site: {i: of(i) for i in range(model.n_layers)} for site, of in keep.items()}
        logits = run_behind(model, self._cache, [tokens], first, n_steps, hooks)
        for layer in range(model.n_layers):  # what attention read, of these tokens
            new = model.values_in(self._cache, layer).detach()[:, :, -len(tokens) :].transpose(1, 2)
            before = [self.value[layer]] if layer in self.value else []
            self.value[layer] = torch.cat([*before, new], dim=1)
        return logits

    def _keep_z(self, layer: int) -> Hook:
        def hook(z: Tensor, hook: Any) -> Tensor:
            # No weight has a gradient, so the lowest layer's outputs are where the graph starts.
            kept = z if z.requires_grad or not torch.is_grad_enabled() else z.detach().requires_grad_()
            self.z[layer] = kept
            return kept

        return hook

    def _keep_pattern(self, layer: int) -> Hook:
        def hook(pattern: Tensor, hook: Any) -> None:
            self.pattern[layer] = pattern.detach()

        return hook

    @contextlib.contextmanager
    def _stream_kept(self, model: Model) -> Iterator[None]:
        """Remember the residual stream of the enclosed pass."""

        def entering(layer: int) -> Callable[..., None]:
            def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                self.stream[layer] = args[0] if args else kwargs["hidden_states"]

            return hook

        def leaving(module: Any, args: Any, output: Any) -> None:
            self.stream[model.n_layers] = output if isinstance(output, Tensor) else output[0]

        blocks = model.bridge.blocks
        handles = [
            block.register_forward_pre_hook(entering(layer), with_kwargs=True)
            for layer, block in enumerate(blocks)
        ]
        handles.append(blocks[-1].register_forward_hook(leaving))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def run_behind(
    model: Model,
    cache: Any,
    rows: Sequence[Sequence[int]],
    first: int,
    n_steps: int,
    hooks: Mapping[SiteName, Mapping[int, Hook]],
) -> Float[Tensor, "rows steps n_vocab"]:
    """Run rows of tokens, from position `first` on, behind a cache; the logits of the last steps."""
    ids = torch.tensor([list(row) for row in rows], dtype=torch.long, device=model.device)
    places = torch.arange(first, first + ids.shape[1], device=model.device)[None]
    with model.hooked(hooks), model.unembedding_apart() as unembed:
        states = model.bridge(ids, past_key_values=cache, use_cache=True, position_ids=places)
        logits: Tensor = unembed(states[:, ids.shape[1] - n_steps :])
    return logits


def by_layers(by_layer: Mapping[int, Tensor]) -> Tensor:
    """One after the other from the lowest layer on, without the row."""
    return torch.stack([by_layer[layer][0] for layer in sorted(by_layer)])


def patterns(by_layer: Mapping[int, Tensor], n_keys: int) -> Tensor:
    """The same of patterns, with 0 for keys that a layer has dropped."""
    whole = {
        layer: torch.nn.functional.pad(one, (n_keys - one.shape[-1], 0))
        for layer, one in by_layer.items()
    }
    return by_layers(whole)
