"""Forward passes of the user's own under a patch: of the bridge, and of the transformers model itself.

The rows of a pass are all patched alike. The last token of a pass that continues nothing is taken for
the prompt's last; what a pass adds behind a cache is generated. A text that is padded stands at the
right end of its row. A pass whose heads cannot be patched is refused, never run unpatched.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from phase7.engine.model.bridge import Model
from phase7.engine.model.gates import Hook
from phase7.engine.patch.donors import Donor
from phase7.engine.patch.patching import BASELINE, Patch, Patcher
from phase7.engine.patch.step import Ints, Step
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.modes import MODE_RECORDS
from phase7.vocabulary.sites import SiteName


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One forward pass: its rows, its first query, how many queries, and the tokens of the prompt."""

    n_rows: int
    first_query: int
    n_queries: int
    n_prompt: int


@dataclass(frozen=True)
class _EveryRowTwice:
    """Rows of the baseline, then of the patch: both lie where the user's rows lie."""

    n_rows: int

    def slots(self, layer: int) -> Ints:
        return np.tile(np.arange(self.n_rows), 2)

    def attention_slots(self, layer: int) -> Ints:
        return self.slots(layer)


class PatchedPasses:
    """The hooks of one patch on one model's own forward passes.

    Parameters
    ----------
    model : Model
    patch : Patch
    donors : mapping of str to Donor
    told : callable
        Called with every pass that was patched.
    """

    def __init__(
        self,
        model: Model,
        patch: Patch,
        donors: Mapping[str, Donor],
        told: Callable[[Pass], None],
    ) -> None:
        self._model, self._patch, self._donors, self._told = model, patch, donors, told
        self._composed = MODE_RECORDS[patch.mode].reads_pattern
        self._n_prompts: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._hooks: dict[SiteName, dict[int, Hook]] = {}
        self._step: Step | None = None
        self.is_resting = False
        self._template = self._hooks_for(n_rows=1, n_prompt=1)

    @contextlib.contextmanager
    def on_bridge(self, bridge: Any) -> Iterator[None]:
        """Patch the enclosed passes of a bridge of this model."""
        model, inner = replace(self._model, bridge=bridge), bridge.original_model
        handles = [
            inner.register_forward_pre_hook(self._begin, with_kwargs=True, prepend=True),
            inner.register_forward_hook(self._end, with_kwargs=True, always_call=True),
        ]
        try:
            with model.hooked(self._outer_hooks()):
                yield
        finally:
            for handle in handles:
                handle.remove()

    @contextlib.contextmanager
    def on_transformers(self, hf_model: Any) -> Iterator[None]:
        """Patch the enclosed passes of the transformers model behind it, `generate` included."""
        outputs = None if self._composed else self._output_modules(hf_model)
        if outputs is None:
            handles = [hf_model.register_forward_pre_hook(self._refuse)]
        else:
            handles = [
                hf_model.register_forward_pre_hook(self._begin, with_kwargs=True, prepend=True),
                hf_model.register_forward_hook(self._end, with_kwargs=True, always_call=True),
                *(
                    module.register_forward_pre_hook(self._output_hook(layer))
                    for layer, module in outputs.items()
                ),
            ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hooks_for(self, *, n_rows: int, n_prompt: int) -> dict[SiteName, dict[int, Hook]]:
        patcher = Patcher(
            self._model,
            [BASELINE, self._patch],
            n_samples=n_rows,
            donors=self._donors,
            n_prompt=n_prompt,
        )
        return patcher.hooks(self._running)

    def _running(self) -> Step:
        assert self._step is not None
        return self._step

    def _outer_hooks(self) -> dict[SiteName, dict[int, Hook]]:
        """Hooks that stay in place and do what the running pass asks for."""

        def made(site: SiteName, layer: int) -> Hook:
            def hook(tensor: Tensor, hook: Any) -> Tensor | None:
                if self.is_resting or self._step is None:
                    return None
                return self._hooks[site][layer](tensor, hook)

            return hook

        return {site: {i: made(site, i) for i in layers} for site, layers in self._template.items()}

    def _output_modules(self, hf_model: Any) -> dict[int, Any] | None:
        """The module that reads the heads' outputs, by patched layer; None where it is not found."""
        weights = [(getattr(one, "weight", None), one) for one in hf_model.modules()]
        known = {weight.data_ptr(): one for weight, one in weights if isinstance(weight, Tensor)}
        blocks, found = self._model.bridge.blocks, {}
        for layer in self._template["z"]:
            weight = blocks[layer].attn.o.original_component.weight
            found[layer] = known.get(weight.data_ptr())
        has_all = all(module is not None for module in found.values())
        return found if has_all and self._reads_outputs(hf_model, found) else None

    @torch.no_grad()
    def _reads_outputs(self, hf_model: Any, modules: Mapping[int, Any]) -> bool:
        """Whether what enters these modules is what passes at z, on a few tokens."""
        expected: dict[int, Tensor] = {}
        got: dict[int, Tensor] = {}

        def keep(layer: int) -> Hook:
            def hook(tensor: Tensor, hook: Any) -> None:
                expected[layer] = tensor.flatten(2).float()

            return hook

        def keep_input(layer: int) -> Callable[[Any, Any], None]:
            def hook(module: Any, args: Any) -> None:
                got[layer] = args[0].float()

            return hook

        tokens = torch.arange(1, 7, device=self._model.device)[None]
        handles = [module.register_forward_pre_hook(keep_input(i)) for i, module in modules.items()]
        self.is_resting = True
        try:
            with self._model.hooked({"z": {layer: keep(layer) for layer in modules}}):
                self._model.bridge(tokens)
            hf_model(tokens)
        finally:
            self.is_resting = False
            for handle in handles:
                handle.remove()
        share = 1e-3 if self._model.dtype == torch.float32 else 0.1
        return all(
            i in got
            and got[i].shape == expected[i].shape
            and torch.allclose(got[i], expected[i], atol=share * float(expected[i].abs().max()))
            for i in modules
        )

    def _output_hook(self, layer: int) -> Callable[[Any, Any], Any]:
        def hook(module: Any, args: Any) -> Any:
            if self.is_resting or self._step is None:
                return None
            flat = args[0]
            z = flat.unflatten(-1, (self._model.n_heads, self._model.d_head))
            return (self._hooks["z"][layer](z, None).flatten(2), *args[1:])  # type: ignore[union-attr]

        return hook

    def _refuse(self, module: Any, args: Any) -> None:
        if not self.is_resting:
            raise UserError(
                expected="a pass of model.bridge, where this patch can be made",
                got="one of the transformers model itself, whose attention cannot be read",
                where=f"patched, mode {self._patch.mode}",
                remedy="call model.bridge(tokens), or patch in mode result",
            )

    def _begin(self, module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Find out what pass begins; give it a cache where the patch must read values."""
        if self.is_resting:
            return None
        tokens = kwargs.get("input_ids", args[0] if args else None)
        shape = (tokens if tokens is not None else kwargs["inputs_embeds"]).shape
        mask, cache = kwargs.get("attention_mask"), kwargs.get("past_key_values")
        if mask is not None and mask.ndim == 2 and not bool(mask[:, -1].all()):
            raise UserError(
                expected="texts that stand at the right end of their rows",
                got="padding on the right",
                where="patched",
                remedy="set tokenizer.padding_side = 'left'",
            )
        if cache is None and self._composed:
            cache = self._model.new_cache()
            kwargs = {**kwargs, "past_key_values": cache, "use_cache": True}
        first = 0 if cache is None else int(cache.get_seq_length())
        known = None if cache is None or not first else self._n_prompts.get(cache)
        n_prompt = known or first + shape[1]
        here = Pass(n_rows=shape[0], first_query=first, n_queries=shape[1], n_prompt=n_prompt)
        self._hooks = self._hooks_for(n_rows=here.n_rows, n_prompt=n_prompt)
        self._step = Step(
            first_query=first,
            rows=_EveryRowTwice(here.n_rows),
            values=lambda layer, slots, kv_heads: self._model.values_in(cache, layer)[slots, kv_heads],
        )
        self._pass = here
        return args, kwargs

    def _end(self, module: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        """Remember where the prompt of a cache ends, and tell the pass that went through."""
        if self.is_resting or self._step is None:
            return
        self._step = None
        if output is None:  # it raised
            return
        cache = getattr(output, "past_key_values", None) or kwargs.get("past_key_values")
        if cache is not None:
            self._n_prompts.setdefault(cache, self._pass.n_prompt)
        self._told(self._pass)
