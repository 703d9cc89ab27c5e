"""A pass of plain transformers with frozen norms, written out by hand in double precision.

Prompt and path in one row, without cache and bridge. Keys and values that query heads share are given to
each of them by repeating their weights, so that a reader of one head is a slice of a projection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phase7.engine.patch.donors import Donor
from phase7.vocabulary.circuits import LOGITS, MLP, Reader
from phase7.vocabulary.heads import Head
from tests import tiny
from tests.plain_patching import PlainModel

D_HEAD = 32 // tiny.N_HEADS


class PlainFrozen(PlainModel):
    """One recipient's run.

    Parameters
    ----------
    architecture : str
    tokens, path : sequence of int
    weights : float64 array [n_vocab]
        Of the read-out.
    """

    def __init__(
        self, architecture: str, tokens: Sequence[int], path: Sequence[int], weights: np.ndarray
    ) -> None:
        super().__init__(architecture, torch.float64)
        self._n_prompt, self._n_steps = len(tokens), len(path)
        self._ids = torch.tensor([[*tokens, *path[:-1]]])
        self._weights = torch.from_numpy(weights)
        self._z: dict[int, Tensor] = {}
        if architecture == "llama":
            self._repeat()
        self._base: dict[Any, tuple[Tensor, Tensor]] = {}
        self._parts: dict[Any, Tensor] = {}
        self._run({}, {}, is_base=True)

    def _repeat(self) -> None:
        """A KV head for each query head."""
        for layer in self.model.model.layers:
            for name in ("k_proj", "v_proj"):
                module = getattr(layer.self_attn, name)
                weight = module.weight.detach().reshape(2, D_HEAD, -1)
                bigger = torch.nn.Linear(32, 32, bias=False, dtype=torch.float64)
                bigger.weight = torch.nn.Parameter(
                    weight.repeat_interleave(tiny.N_HEADS // 2, dim=0).reshape(32, -1)
                )
                setattr(layer.self_attn, name, bigger)
            layer.self_attn.num_key_value_groups = 1
            layer.self_attn.config.num_key_value_heads = tiny.N_HEADS

    @property
    def _blocks(self) -> Any:
        inner = getattr(self.model, self.model.base_model_prefix)
        return inner.h if hasattr(inner, "h") else inner.layers

    def _norms(self) -> dict[Any, Any]:
        inner = getattr(self.model, self.model.base_model_prefix)
        final = next(
            getattr(inner, name) for name in ("ln_f", "final_layer_norm", "norm") if hasattr(inner, name)
        )
        norms: dict[Any, Any] = {LOGITS: final}
        for layer, block in enumerate(self._blocks):
            first, second = (
                ("ln_1", "ln_2")
                if hasattr(block, "ln_1")
                else ("input_layernorm", "post_attention_layernorm")
            )
            norms["attn", layer], norms[MLP, layer] = getattr(block, first), getattr(block, second)
        return norms

    def _mapped(self, place: Any, norm: Any, change: Tensor) -> Tensor:
        """A change of the stream as the reader is given it, with the scale of the unpatched run."""
        given, _ = self._base[place]
        if isinstance(norm, torch.nn.LayerNorm):
            scale = (given.var(dim=-1, unbiased=False, keepdim=True) + norm.eps).rsqrt()
            return (change - change.mean(dim=-1, keepdim=True)) * scale * norm.weight
        scale = (given.square().mean(dim=-1, keepdim=True) + norm.variance_epsilon).rsqrt()
        return change * scale * norm.weight

    def _projection(self, layer: int, letter: str) -> tuple[Any, slice, int]:
        """The module, and where the slice of head 0 lies, and how far the next head's is."""
        attention, number = self.attention(layer), "qkv".index(letter)
        if self.architecture == "gpt2":
            return attention.c_attn, slice(32 * number, 32 * number + D_HEAD), D_HEAD
        if self.architecture == "gpt_neox":
            start = D_HEAD * number
            return attention.query_key_value, slice(start, start + D_HEAD), 3 * D_HEAD
        return getattr(attention, f"{letter}_proj"), slice(0, D_HEAD), D_HEAD

    def _mlp(self, layer: int) -> Any:
        return self._blocks[layer].mlp

    def read(
        self, written: Mapping[Head, Tensor], given: Mapping[Reader, Tensor] | None = None
    ) -> float:
        """The read-out with some heads' outputs [S, d] written and some readers given more [S, d_model]."""
        return self._run(written, given or {})

    @torch.no_grad()
    def _run(
        self, written: Mapping[Head, Tensor], given: Mapping[Reader, Tensor], *, is_base: bool = False
    ) -> float:
        handles: list[Any] = []
        norms = self._norms()
        for place, norm in norms.items():
            handles.append(norm.register_forward_hook(self._freezing(place, given, is_base)))
        for layer in range(tiny.N_LAYERS):
            handles.append(
                self.output_projection(layer).register_forward_pre_hook(
                    self._writing(layer, written, is_base)
                )
            )
            if is_base:
                handles.append(self._mlp(layer).register_forward_hook(self._keeping((MLP, layer))))
            for letter in "qkv":
                readers = {r: d for r, d in given.items() if (r.part, r.layer) == (letter, layer)}
                if readers:
                    module, _, _ = self._projection(layer, letter)
                    change = self._mapped(
                        ("attn", layer), norms["attn", layer], next(iter(readers.values()))
                    )
                    handles.append(module.register_forward_hook(self._giving(layer, readers, change)))
        try:
            logits = self.model(self._ids, use_cache=False).logits[0, -self._n_steps :]
        finally:
            for handle in handles:
                handle.remove()
        return float((logits @ self._weights).mean())

    def _freezing(self, place: Any, given: Mapping[Reader, Tensor], is_base: bool) -> Any:
        def hook(module: Any, args: Any, output: Tensor) -> Tensor | None:
            if is_base:
                self._base[place] = args[0].clone(), output.clone()
                return None
            base_in, base_out = self._base[place]
            new = base_out + self._mapped(place, module, args[0] - base_in)
            reader = Reader(LOGITS) if place == LOGITS else Reader(*place)
            if reader in given:
                new = new + self._mapped(place, module, given[reader])
            return new

        return hook

    def _writing(self, layer: int, written: Mapping[Head, Tensor], is_base: bool) -> Any:
        def hook(module: Any, args: Any) -> Any:
            z = args[0].clone()
            if is_base:
                self._z[layer] = z[0].reshape(-1, tiny.N_HEADS, D_HEAD)
            for head, output in written.items():
                if head.layer == layer:
                    z[0, :, head.head * D_HEAD : (head.head + 1) * D_HEAD] = output
            return (z, *args[1:])

        return hook

    def _keeping(self, place: Any) -> Any:
        def hook(module: Any, args: Any, output: Tensor) -> None:
            self._parts[place] = output.clone()

        return hook

    def _giving(self, layer: int, readers: Mapping[Reader, Tensor], change: Tensor) -> Any:
        def hook(module: Any, args: Any, output: Tensor) -> Tensor:
            new = output.clone()
            for reader in readers:
                _, first, step = self._projection(layer, reader.part)
                at = slice(first.start + reader.head * step, first.stop + reader.head * step)
                whole = _without_bias(module, change)
                new[..., at] += whole[..., at]
            return new

        return hook

    def written(self, donor: Donor, head: Head, positions: str) -> Tensor:
        """What mode `result` makes of a head's outputs [S, d] at all tokens of prompt and path."""
        layer, number = head
        z = self._z[layer][:, number].clone()
        table = torch.from_numpy(donor.z[layer, :, number]).double()
        for place in range(0 if positions == "all" else self._n_prompt - 1, len(z)):
            offset = max(0, self._n_prompt - 1 - place)
            if offset < len(table):
                z[place] = table[offset]
        return z

    def _output_weight(self, layer: int) -> Tensor:
        """W_O [n_heads, d_head, d_model]."""
        module = self.output_projection(layer)
        weight = module.weight.detach()
        weight = weight if self.architecture == "gpt2" else weight.T
        return weight.reshape(tiny.N_HEADS, D_HEAD, -1)

    def added(self, head: Head, change: Tensor) -> Tensor:
        """What a change of a head's output adds to the stream, [S, d_model]."""
        return change @ self._output_weight(head.layer)[head.head]

    @torch.no_grad()
    def direct(self) -> dict[str, Any]:
        """The parts of the unpatched read-out."""
        final = self._norms()[LOGITS]
        unembedding = self.model.get_output_embeddings().weight

        def of(change: Tensor) -> float:
            mapped = self._mapped(LOGITS, final, change)[0, -self._n_steps :]
            return float((mapped @ unembedding.T @ self._weights).mean())

        layers, heads = range(tiny.N_LAYERS), range(tiny.N_HEADS)
        biases = [getattr(self.output_projection(layer), "bias", None) for layer in layers]
        like = torch.zeros(1, self._ids.shape[1], 32, dtype=torch.float64)
        return {
            "heads": [
                [of(self.added(Head(i, h), self._z[i][:, h])[None]) for h in heads] for i in layers
            ],
            "mlps": [of(self._parts[MLP, layer]) for layer in layers],
            "biases": [0.0 if bias is None else of(like + bias) for bias in biases],
            "embedding": of(self._base["attn", 0][0]),
            "total": self.read({}),
        }


def _without_bias(module: Any, change: Tensor) -> Tensor:
    return module.forward(change) - module.forward(torch.zeros_like(change))  # without its hooks
