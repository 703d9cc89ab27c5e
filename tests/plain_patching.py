"""Head patching written out with plain transformers: what the engine is compared with.

One row, no cache, no bridge: a full forward pass over prompt and path, and a hook before the attention's
output projection that overwrites one head's slice. Only records are taken from the package.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from scipy.special import log_softmax, logsumexp

from tests import tiny


class PlainModel:
    """A tiny model of transformers, with its attention read and written by hand."""

    def __init__(self, architecture: str, dtype: torch.dtype = torch.float32) -> None:
        self.architecture = architecture
        self.model = tiny.hf_model(architecture).to(dtype)
        self.model.set_attn_implementation("eager")
        self.n_kv_heads = 2 if architecture == "llama" else tiny.N_HEADS
        self.d_head = 32 // tiny.N_HEADS

    def attention(self, layer: int) -> torch.nn.Module:
        if self.architecture == "gpt2":
            return self.model.transformer.h[layer].attn
        if self.architecture == "gpt_neo":
            return self.model.transformer.h[layer].attn.attention
        if self.architecture == "gpt_neox":
            return self.model.gpt_neox.layers[layer].attention
        return self.model.model.layers[layer].self_attn

    def output_projection(self, layer: int) -> torch.nn.Module:
        name = {"gpt2": "c_proj", "gpt_neox": "dense", "gpt_neo": "out_proj", "llama": "o_proj"}
        return getattr(self.attention(layer), name[self.architecture])

    def value_projection(self, layer: int) -> torch.nn.Module:
        name = {"gpt2": "c_attn", "gpt_neox": "query_key_value", "gpt_neo": "v_proj", "llama": "v_proj"}
        return getattr(self.attention(layer), name[self.architecture])

    def values(self, projected: torch.Tensor) -> torch.Tensor:
        """Values [S, n_kv_heads, d_head] from what the projection gives, [S, width]."""
        if self.architecture == "gpt2":  # queries, then keys, then values
            projected = projected[:, 2 * 32 :]
        if self.architecture == "gpt_neox":  # of each head in turn: query, key, value
            by_head = projected.reshape(len(projected), tiny.N_HEADS, 3 * self.d_head)
            return by_head[..., 2 * self.d_head :]
        return projected.reshape(len(projected), self.n_kv_heads, self.d_head)

    @torch.no_grad()
    def run(self, tokens: Sequence[int], written: dict[int, torch.Tensor]) -> SimpleNamespace:
        """One forward pass with z [S, n_heads, d_head] of some layers overwritten.

        Returns z before overwriting, values and patterns [n_heads, S, S] of all layers, and logits.
        """
        z: dict[int, torch.Tensor] = {}
        values: dict[int, torch.Tensor] = {}

        def before_output(layer: int):
            def hook(module, args):
                z[layer] = args[0][0].reshape(len(tokens), tiny.N_HEADS, self.d_head).clone()
                if layer in written:
                    return (written[layer].reshape(1, len(tokens), -1),)
                return None

            return hook

        def after_values(layer: int):
            def hook(module, args, output):
                values[layer] = self.values(output[0]).clone()

            return hook

        with contextlib.ExitStack() as stack:
            for layer in range(tiny.N_LAYERS):
                into = self.output_projection(layer).register_forward_pre_hook(before_output(layer))
                out_of = self.value_projection(layer).register_forward_hook(after_values(layer))
                stack.callback(into.remove)
                stack.callback(out_of.remove)
            out = self.model(torch.tensor([list(tokens)]), output_attentions=True, use_cache=False)
        return SimpleNamespace(
            z=z, values=values, patterns=[a[0] for a in out.attentions], logits=out.logits[0].double()
        )

    def capture(self, tokens: Sequence[int]) -> SimpleNamespace:
        """All heads at all queries, shaped as the package's captures."""
        seen = self.run(tokens, {})
        layers = range(tiny.N_LAYERS)
        return SimpleNamespace(
            z=torch.stack([seen.z[i] for i in layers]).numpy(),
            value=torch.stack([seen.values[i] for i in layers]).numpy(),
            pattern=torch.stack(list(seen.patterns)).numpy(),
        )

    def patched_logits(
        self,
        prompt: Sequence[int],
        path: Sequence[int],
        heads,
        mode: str,
        positions: str,
        donor,
        *,
        strength: float = 1.0,
        reference=None,
    ) -> np.ndarray:
        """Logits [T, vocabulary] along the path with some heads replaced, or a difference added to them.

        `donor` is (z, value, pattern) by offset from the end, and so is `reference`; with one, donor
        minus reference is added. Layers are worked out from the bottom up: what a layer attends to
        depends on the patches below it, and not on its own.
        """
        both = [donor] if reference is None else [donor, reference]
        reach = min(one[0].shape[1] for one in both)
        tokens, n = [*prompt, *path[:-1]], len(prompt)
        queries = [q for q in queries_of(positions, n, len(tokens)) if q < len(tokens)]
        written: dict[int, torch.Tensor] = {}
        for layer in sorted({layer for layer, _ in heads}):
            seen = self.run(tokens, written)
            new = seen.z[layer].clone()
            for head in [head for at, head in heads if at == layer]:
                for q in queries:
                    if max(0, n - 1 - q) >= reach:
                        continue
                    if reference is None:
                        change = self._output(seen, layer, head, q, n, mode, donor) - new[q, head]
                    else:
                        change = self._shift(seen, layer, head, q, n, mode, donor, reference)
                    new[q, head] += strength * change
            written[layer] = new
        return self.run(tokens, written).logits[n - 1 :].numpy()

    def _output(self, seen, layer: int, head: int, q: int, n: int, mode: str, donor) -> torch.Tensor:
        z, value, pattern = donor
        kv_head, offset = head // (tiny.N_HEADS // self.n_kv_heads), max(0, n - 1 - q)
        if mode == "result":
            return torch.tensor(z[layer, offset, head])
        if mode == "pattern_v":
            return torch.tensor(pattern[layer, head, offset] @ value[layer, :, kv_head])
        total = np.zeros(self.d_head)
        for k in range(q + 1):
            j = max(0, n - 1 - k)
            own = seen.values[layer][k, kv_head].numpy()
            given = value[layer, j, kv_head] if j < value.shape[1] else own
            total += float(seen.patterns[layer][head, q, k]) * given
        return torch.tensor(total)

    def _shift(self, seen, layer, head, q, n, mode: str, donor, reference) -> torch.Tensor:
        if mode != "v_only":
            made = [self._output(seen, layer, head, q, n, mode, one) for one in (donor, reference)]
            return made[0] - made[1]
        kv_head, total = head // (tiny.N_HEADS // self.n_kv_heads), np.zeros(self.d_head)
        for k in range(q + 1):
            j = max(0, n - 1 - k)
            if j < min(donor[1].shape[1], reference[1].shape[1]):
                change = donor[1][layer, j, kv_head] - reference[1][layer, j, kv_head]
                total += float(seen.patterns[layer][head, q, k]) * change
        return torch.tensor(total)


def queries_of(positions: str, n_prompt: int, n_tokens: int) -> list[int]:
    """The patched queries of a policy."""
    if positions.startswith("step:"):
        return [n_prompt - 1 + int(positions[5:])]
    if positions.startswith("prompt:"):
        return [q for q in [n_prompt + int(positions[7:])] if q >= 0]
    return {
        "generated": list(range(n_prompt - 1, n_tokens)),
        "last": [n_prompt - 1],
        "all": list(range(n_tokens)),
    }[positions]


def read_out(logits: np.ndarray, baseline: np.ndarray, path: Sequence[int], sets) -> dict:
    """The read-outs of logits [T, vocabulary] by their definitions."""
    log_p, log_b = log_softmax(logits, axis=1), log_softmax(baseline, axis=1)
    inside = {name: np.isin(np.arange(logits.shape[1]), ids) for name, ids in sets.items()}
    return {
        "log_likelihood": log_p[np.arange(len(path)), list(path)],
        "kl": (np.exp(log_b) * (log_b - log_p)).sum(axis=1),
        **{
            name: logsumexp(log_p[:, s], axis=1) - logsumexp(log_p[:, ~s], axis=1)
            for name, s in inside.items()
        },
    }


def ids_of_words(tokenizer: Any, words: Sequence[str]) -> list[int]:
    """Tokens that are one of the words, with and without a blank in front and a capital."""
    spellings = [s for w in words for s in (w, f" {w}", w.capitalize(), f" {w.capitalize()}")]
    encoded = [tokenizer(s, add_special_tokens=False)["input_ids"] for s in spellings]
    return sorted({one[0] for one in encoded if len(one) == 1})
