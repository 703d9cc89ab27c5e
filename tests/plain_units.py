"""Units patched with plain transformers: MLPs, residual streams and whole attentions, by hooks by hand.

One row, no cache, no bridge, as in :mod:`tests.plain_patching`. An output is [S, d_model].
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tests import tiny
from tests.plain_patching import PlainModel


class PlainUnits(PlainModel):
    """A tiny model whose MLPs and layers are read and written by hand too."""

    def block(self, layer: int) -> torch.nn.Module:
        if self.architecture in ("gpt2", "gpt_neo"):
            return self.model.transformer.h[layer]
        return self.model.gpt_neox.layers[layer] if self.architecture == "gpt_neox" else (
            self.model.model.layers[layer]
        )  # fmt: skip

    def module(self, kind: str, layer: int) -> torch.nn.Module:
        """What gives the output: all four call it `mlp`."""
        return self.block(layer) if kind == "resid" else self.block(layer).mlp

    @torch.no_grad()
    def outputs(self, tokens: Sequence[int], units) -> dict[Any, np.ndarray]:
        """What some units give on a prompt, each [S, d_model]."""
        seen: dict[Any, np.ndarray] = {}

        def keep(unit):
            def hook(module, args, output):
                seen[unit] = (output[0] if isinstance(output, tuple) else output)[0].numpy().copy()

            return hook

        with contextlib.ExitStack() as stack:
            for unit in units:
                handle = self.module(*unit).register_forward_hook(keep(unit))
                stack.callback(handle.remove)
            self.model(torch.tensor([list(tokens)]), use_cache=False)
        return seen

    @torch.no_grad()
    def logits_with(
        self,
        prompt: Sequence[int],
        path: Sequence[int],
        units: Sequence[tuple[str, int]],
        queries: Sequence[int],
        given: dict[Any, np.ndarray],
        *,
        strength: float = 1.0,
        taken: dict[Any, np.ndarray] | None = None,
        heads: Sequence[tuple[int, int]] = (),
        z: np.ndarray | None = None,
    ) -> np.ndarray:
        """Logits [T, vocabulary] along the path with units, and heads beside them, patched at queries.

        `given` holds each unit's output by offset from the prompt's end, and with `taken` the difference
        of the two is added. Of heads, `z` [n_layers, offsets, n_heads, d_head] is written.
        """
        tokens, n = [*prompt, *path[:-1]], len(prompt)

        def changed(old: torch.Tensor, held, minus) -> torch.Tensor:
            new, reach = old.clone(), len(held) if minus is None else min(len(held), len(minus))
            for q in queries:
                offset = max(0, n - 1 - q)
                if offset >= reach or q >= len(tokens):
                    continue
                goal = torch.tensor(held[offset])
                change = goal - old[q] if minus is None else goal - torch.tensor(minus[offset])
                new[q] = old[q] + strength * change
            return new

        def of_unit(unit):
            def hook(module, args, output):
                whole = output[0] if isinstance(output, tuple) else output
                new = changed(whole[0], given[unit], None if taken is None else taken[unit])[None]
                return (new, *output[1:]) if isinstance(output, tuple) else new

            return hook

        def of_heads(layer):
            def hook(module, args):
                by_head = args[0][0].reshape(len(tokens), tiny.N_HEADS, self.d_head).clone()
                for head in [head for at, head in heads if at == layer]:
                    by_head[:, head] = changed(by_head[:, head], z[layer, :, head], None)
                return (by_head.reshape(1, len(tokens), -1),)

            return hook

        with contextlib.ExitStack() as stack:
            for unit in units:
                stack.callback(self.module(*unit).register_forward_hook(of_unit(unit)).remove)
            for layer in sorted({layer for layer, _ in heads}):
                projection = self.output_projection(layer)
                stack.callback(projection.register_forward_pre_hook(of_heads(layer)).remove)
            logits = self.model(torch.tensor([tokens]), use_cache=False).logits
        return logits[0].double()[n - 1 :].numpy()


def mean_by_offset(outputs: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of [S, d_model] over prompts, aligned at the end, by offset from it."""
    return np.stack(
        [
            np.mean([one[-1 - j] for one in outputs if j < len(one)], axis=0)
            for j in range(max(map(len, outputs)))
        ]
    ).astype(np.float32)
