"""Passes with frozen normalisation, whose parts can be read, written and differentiated one by one.

A residual stream is a sum, and every part of the model that reads it does so through a normalisation.
Frozen means: every normalisation of the stream (before attention, before the MLP, before the
unembedding) keeps the scale 1/σ that it has in the unpatched run, at each token. It is then an affine
function of the stream, so that what a reader sees of a sum is the sum of what it sees of the parts, and
the parts of an effect add up. Attention patterns and MLPs are not frozen, nor are norms inside of
attention (of queries and keys).

Row 0 of every pass is the unpatched run, from which the other rows take the scales. A row that is equal
to it stays so to the bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from transformers.cache_utils import DynamicLayer

from phase7.engine.model.bridge import FinalNorm, Model, linear_part
from phase7.engine.model.faithful import not_finite

#: What passes in a layer: queries, keys and values as they are projected, outputs of the heads, and what
#: the MLP is given and gives; ``final`` is what the unembedding is given, in layer `n_layers`.
Part = Literal["q", "k", "v", "z", "mlp_in", "mlp_out", "final"]

#: From what passes to what shall pass instead, the same shape.
Edit = Callable[[Tensor], Tensor]


def has_known_parts(model: Model) -> bool:
    """Whether a stream to which heads and MLPs add as they are can be taken apart in this model.

    Not where a norm stands behind attention or MLP (Gemma 2 and 3, OLMo 2), what they write is scaled
    (Granite), attention and MLP share one norm (GPT-J, Falcon), a layer has no projections of queries,
    keys and values of its own, or logits are capped or scaled.
    """
    config = model.bridge.original_model.config.get_text_config()
    if float(getattr(config, "residual_multiplier", 1.0)) != 1.0 or not model.has_plain_head:
        return False
    if getattr(model.bridge, "ln_final", None) is None:
        return False
    return all(_is_known(block) for block in model.bridge.blocks)


def _is_known(block: Any) -> bool:
    parts = ("ln1", "ln2", "mlp", "attn")
    behind = ("ln1_post", "ln2_post")
    attention = getattr(block, "attn", None)
    return (
        all(getattr(block, name, None) is not None for name in parts)
        and all(getattr(block, name, None) is None for name in behind)
        and all(getattr(attention, name, None) is not None for name in "qkvo")
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Passed:
    """What passed in one pass of R rows over T tokens.

    Attributes
    ----------
    parts : dict of (int, str) to float tensor [R, T, width]
        By layer and part, after edits.
    entering : float tensor [R, T, d_model]
        The stream before the first layer: the embeddings.
    norms : dict of (int, str) to callable
        By layer and ``attn``, ``mlp`` or ``final``: from changes of the stream [..., T, d_model] to
        those of what the reader is given, with the scales of row 0.
    offsets : dict of (int, str) to float32 tensor [1, 1, d_model]
        What the reader is given of a stream of zeros: the norm's bias.
    """

    parts: dict[tuple[int, Part], Tensor] = field(default_factory=dict)
    entering: list[Tensor] = field(default_factory=list)
    norms: dict[tuple[int, str], Edit] = field(default_factory=dict)
    offsets: dict[tuple[int, str], Tensor] = field(default_factory=dict)


class FrozenRun:
    """Passes over the same tokens, in rows that differ by their edits.

    Parameters
    ----------
    model : Model
        With known parts.
    tokens : sequence of int
        Prompt and path.
    first : int
        The first token that edits reach; those before it are run once.
    """

    def __init__(self, model: Model, tokens: Sequence[int], first: int) -> None:
        self.model = model.differentiable
        self.first, self._tokens = first, list(tokens)
        self._held: list[tuple[Tensor, Tensor]] | None = None
        width = int(self.model.bridge.cfg.d_model)
        norms = [("final", self.model.n_layers, self.model.bridge.ln_final)]
        for layer in range(self.model.n_layers):
            block = self.model.bridge.blocks[layer]
            norms += [("attn", layer, block.ln1), ("mlp", layer, block.ln2)]
        self._norms = {
            (layer, reader): (module, linear_part(module, width, model.device))
            for reader, layer, module in norms
        }

    def run(
        self,
        n_rows: int,
        edits: Mapping[tuple[int, Part], Edit],
        *,
        around: Callable[[Any], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
    ) -> Passed:
        """Run the tokens from the first on in so many rows.

        `around` makes a context of the KV cache, within which the pass is run.

        Raises
        ------
        UserError
            If the model gives what is no number.
        """
        cache = self._cache(n_rows)
        passed = Passed()
        with around(cache), self._hooked(edits, passed):
            self._forward(cache, self._tokens[self.first :], self.first, n_rows)
        if not bool(passed.parts[self.model.n_layers, "final"].isfinite().all()):
            raise not_finite(self.model, "the final states")
        return passed

    def _cache(self, n_rows: int) -> Any:
        """A cache of the tokens before the first, in so many rows."""
        cache: Any = self.model.new_cache()
        if not self.first:
            return cache
        if self._held is None:
            with torch.no_grad():
                self._forward(cache, self._tokens[: self.first], 0, 1)
            # Layers that drop old tokens cannot be filled by hand.
            if any(type(layer) is not DynamicLayer for layer in cache.layers):
                cache.batch_repeat_interleave(n_rows)
                return cache
            self._held = [(layer.keys, layer.values) for layer in cache.layers]
            cache = self.model.new_cache()
        for layer, pair in enumerate(self._held):
            cache.update(*(one.expand(n_rows, -1, -1, -1) for one in pair), layer)
        return cache

    def _forward(self, cache: Any, tokens: Sequence[int], first: int, n_rows: int) -> None:
        device = self.model.device
        ids = torch.tensor([list(tokens)], dtype=torch.long, device=device).expand(n_rows, -1)
        places = torch.arange(first, first + len(tokens), device=device)[None]
        with self.model.unembedding_apart():
            self.model.bridge(ids, past_key_values=cache, use_cache=True, position_ids=places)

    @contextlib.contextmanager
    def _hooked(self, edits: Mapping[tuple[int, Part], Edit], passed: Passed) -> Iterator[None]:
        bridge = self.model.bridge
        with contextlib.ExitStack() as stack:

            def after(module: Any, hook: Callable[[Any, Any, Any, Any], Any]) -> None:
                handle = module.register_forward_hook(hook, with_kwargs=True)
                stack.callback(handle.remove)

            def before(module: Any, hook: Callable[[Any, Any, Any], Any]) -> None:
                handle = module.register_forward_pre_hook(hook, with_kwargs=True)
                stack.callback(handle.remove)

            for (layer, reader), (module, linear) in self._norms.items():
                after(module, _frozen((layer, reader), linear, passed, edits))
            for layer, block in enumerate(bridge.blocks):
                for part in ("q", "k", "v"):
                    after(getattr(block.attn, part), _kept((layer, part), passed, edits))
                before(block.attn.o, _written((layer, "z"), passed, edits))
                after(block.mlp, _kept((layer, "mlp_out"), passed, edits))
            yield


def _given(args: Any, kwargs: Any) -> Tensor:
    given: Tensor = args[0] if args else next(iter(kwargs.values()))
    return given


def _kept(place: tuple[int, Any], passed: Passed, edits: Mapping[tuple[int, Part], Edit]) -> Any:
    def hook(module: Any, args: Any, kwargs: Any, output: Tensor) -> Tensor:
        new = edits[place](output) if place in edits else output
        passed.parts[place] = new
        return new

    return hook


def _written(place: tuple[int, Any], passed: Passed, edits: Mapping[tuple[int, Part], Edit]) -> Any:
    def hook(module: Any, args: Any, kwargs: Any) -> Any:
        given = _given(args, kwargs)
        new = edits[place](given) if place in edits else given
        passed.parts[place] = new
        return (new, *args[1:]), kwargs

    return hook


def _frozen(
    place: tuple[int, str], linear: FinalNorm, passed: Passed, edits: Mapping[tuple[int, Part], Edit]
) -> Any:
    """Let a norm be affine with the scale of row 0."""
    layer, reader = place
    part: Part | None = {"mlp": "mlp_in", "final": "final"}.get(reader)  # type: ignore[assignment]

    def hook(module: Any, args: Any, kwargs: Any, output: Tensor) -> Tensor:
        given = _given(args, kwargs)
        if place == (0, "attn"):
            passed.entering.append(given)
        base = given[:1].detach().float()
        nothing = module.original_component(torch.zeros_like(given[:1, :1])).detach().float()
        unscaled, scaled = linear.folded(base), output[:1].detach().float() - nothing
        square = unscaled.square().sum(dim=-1, keepdim=True)
        scale = (unscaled * scaled).sum(dim=-1, keepdim=True) / square.clamp(min=1e-30)

        def change(of_stream: Tensor) -> Tensor:
            changed: Tensor = linear.folded(of_stream.float()) * scale
            return changed

        passed.norms[place], passed.offsets[place] = change, nothing
        new: Tensor = output[:1].detach() + change(given - given[:1].detach()).to(output.dtype)
        if part is not None:
            new = edits[layer, part](new) if (layer, part) in edits else new
            passed.parts[layer, part] = new
        return new

    return hook


def by_head(model: Model, tensor: Tensor) -> Float[Tensor, "rows tokens heads d_head"]:
    """Queries, keys, values or outputs with an axis of heads; keys and values have the KV heads."""
    heads: Tensor = tensor.unflatten(-1, (-1, model.d_head))
    return heads


def linear_change(projection: Any, given: Tensor) -> Tensor:
    """What a projection makes of a change, without its bias."""
    module = projection.original_component
    given = given.to(next(module.parameters()).dtype)
    changed: Tensor = module(given) - module(torch.zeros_like(given[:1, :1]))
    return changed.float()
