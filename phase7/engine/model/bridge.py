"""A loaded model: a `TransformerBridge`, and what the rest of the package asks of it.

:func:`phase7.engine.model.loading.load_model` makes one from a folder.
"""

from __future__ import annotations

import contextlib
import copy
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any
from unittest import mock

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from phase7.engine.model.buffers import Buffers
from phase7.engine.model.gates import Hook, Rows, input_gates, output_gates
from phase7.engine.model.patterns import PatternSite, read_at_dropout
from phase7.engine.model.probes import without_head
from phase7.engine.model.rough import RoughUnembedding
from phase7.engine.model.shortcuts import Shortcuts
from phase7.models.files import ModelFiles
from phase7.models.quiet import quiet
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.sites import SiteName, hook_name


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A loaded model.

    Attributes
    ----------
    bridge : TransformerBridge
        Everything runs through it.
    tokenizer : PreTrainedTokenizerBase
    files : ModelFiles
        Name, source, revision and fingerprint.
    n_layers, n_heads, n_kv_heads, d_head, n_context : int
        Size. `n_heads` counts query heads; `n_kv_heads` is smaller in grouped-query models.
    eos_ids : frozenset of int
        Tokens that end a text.
    pattern_site : {"hook_pattern", "attn_dropout"} or None
        Where the attention pattern can be read before the head's output is used
        (:mod:`phase7.engine.model.patterns`); None where it cannot be read in time.
    device : torch.device
    dtype : torch.dtype
    shortcuts : Shortcuts
        The faster ways of computing that it uses.
    row_block : int
        A row's bits depend on no other row in batches of a multiple of so many rows.
    is_parallel : bool
        Whether a layer's MLP reads the layer's input, not what its attention made of it.
    has_plain_head : bool
        Whether logits are the unembedding's output, without scale or cap.
    rough : RoughUnembedding or None
        The unembedding in bfloat16, for differences; None where it would not be faster.
    switch_lengths : tuple of int
        Lengths in tokens beyond which it may compute otherwise, as with a sliding window.
    pristine : PreTrainedModel
        The transformers model, which no bridge has taken apart; its weights are the bridge's.
    buffers : Buffers
        Memory for the keys and values of one batch after the other.
    compared : set
        What has been compared with transformers since loading, so that it is compared once
        (:mod:`phase7.engine.model.faithful`); copies for other threads hold the same set.
    """

    bridge: Any
    tokenizer: Any
    files: ModelFiles
    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    n_context: int
    eos_ids: frozenset[int]
    pattern_site: PatternSite | None
    device: torch.device
    dtype: torch.dtype
    shortcuts: Shortcuts
    row_block: int
    is_parallel: bool
    has_plain_head: bool
    rough: RoughUnembedding | None
    switch_lengths: tuple[int, ...]
    pristine: Any
    buffers: Buffers = field(default_factory=Buffers)
    compared: set[object] = field(default_factory=set)

    @property
    def name(self) -> str:
        """The model's name in results."""
        return self.files.name

    def for_another_thread(self) -> Model:
        """A model with the same weights, and with hooks, tokenizer and buffers of its own."""
        tokenizer = copy.deepcopy(self.tokenizer)
        bridge = self._bridged_again(same_weights(self.pristine), tokenizer, self.shortcuts)
        return replace(self, bridge=bridge, tokenizer=tokenizer, buffers=Buffers())

    @cached_property
    def differentiable(self) -> Model:
        """This model with plain products, through which gradients flow; none flow into its weights.

        It has the same weights, and hooks of its own. It is made at the first use and kept, but not
        handed on to another thread's model.
        """
        shortcuts = Shortcuts(lean_modules=self.shortcuts.lean_modules)
        with torch.inference_mode(False):
            bridge = self._bridged_again(same_weights(self.pristine), self.tokenizer, shortcuts)
            for module in bridge.modules():
                for key, weight in list(module.named_parameters(recurse=False)):
                    frozen = torch.nn.Parameter(weight.detach(), requires_grad=False)
                    module.register_parameter(key, frozen)
        return replace(self, bridge=bridge, shortcuts=shortcuts, rough=None, buffers=Buffers())

    def _bridged_again(self, hf_model: Any, tokenizer: Any, shortcuts: Shortcuts) -> Any:
        """A bridge of its own that holds this one's weights."""
        with quiet():
            bridge = bridged(self.files, hf_model, tokenizer, self.device)
            shortcuts.apply(bridge)
        ours = dict(self.bridge.named_modules())
        for name, module in bridge.named_modules():  # bridges split some weights: not a second time
            for key, weight in ours[name].named_parameters(recurse=False):
                module.register_parameter(key, weight)
        return bridge

    def new_cache(self) -> DynamicCache:
        """An empty KV cache of the right kind for each layer.

        A layer that drops old tokens remembers as `seen_values` all the values it returned last.
        """
        cache = DynamicCache(config=self.bridge.original_model.config)
        for layer in cache.layers:
            if type(layer) is not DynamicLayer:
                _remember_values(layer)
        return cache

    def values_in(self, cache: Any, layer: int) -> Float[Tensor, "rows n_kv_heads keys d_head"]:
        """The values that attention reads in one layer of a cache, as it last ran.

        They are what a head sees, which is not always what its projection gives: some models clip it.

        Raises
        ------
        UserError
            If the layer keeps no keys and values.
        """
        held = cache.layers[layer] if layer < len(cache.layers) else None
        values: Tensor | None = getattr(held, "seen_values", getattr(held, "values", None))
        if values is None:
            raise UserError(
                expected="an attention that keeps keys and values in every layer",
                got=f"none in layer {layer}",
                where=f"model {self.name} ({self.files.folder})",
                remedy="see docs/models.md for what is supported",
            )
        return values

    @contextlib.contextmanager
    def unembedding_apart(self) -> Iterator[Callable[[Tensor], Tensor]]:
        """Let the enclosed calls end with the final states [rows, queries, d_model].

        Yields the function from final states [..., d_model] to logits [..., n_vocab]. Of a model without
        a plain head, calls return logits as ever, and the function returns what it is given.
        """
        if not self.has_plain_head:
            yield lambda logits: logits
            return
        with without_head(self.bridge) as head:
            yield head

    @contextlib.contextmanager
    def hooked(
        self, hooks: Mapping[SiteName, Mapping[int, Hook]], *, rows: Rows | None = None
    ) -> Iterator[None]:
        """Run the enclosed calls with hooks by site and layer; all are removed at the end.

        :data:`phase7.vocabulary.sites.SITES` says what passes at a site, and where a hook may return a
        replacement.

        `rows` gives the rows that pass a gate, in order, or None for all of them: those of the layer
        below that enter a layer (above the first), those of the layer that enter its attention, and
        those of the attention that go on from the heads' outputs. So all of these can have different
        numbers of rows; a parallel MLP has the attention's.
        """
        patterns = hooks.get("pattern", {})
        named = [
            (hook_name(site, layer), hook)
            for site, by_layer in hooks.items()
            for layer, hook in by_layer.items()
            if site != "pattern" or self.pattern_site == "hook_pattern"
        ]
        if rows is not None:
            named = [*output_gates(self.n_layers, rows), *named]
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.bridge.hooks(fwd_hooks=named))
            if rows is not None:
                for handle in input_gates(self.bridge, self.is_parallel, rows):
                    stack.callback(handle.remove)
            if self.pattern_site == "attn_dropout":
                for layer, hook in patterns.items():
                    stack.callback(read_at_dropout(self.bridge, layer, hook).remove)
            yield


def output_weight(model: Model, layer: int) -> Float[Tensor, "n_heads d_head d_model"]:
    """W_O of one layer by head, whatever way round the architecture stores it."""
    projection = model.bridge.blocks[layer].attn.o.original_component
    weight: Tensor = projection.weight.detach()
    if isinstance(projection, torch.nn.Linear):
        weight = weight.T
    return weight.reshape(model.n_heads, model.d_head, -1)


@dataclass(frozen=True, kw_only=True, eq=False)
class FinalNorm:
    """What the last normalisation does to a change of the residual stream, up to its scale 1/σ.

    Attributes
    ----------
    gain : float32 tensor [d_model]
        What each component is multiplied with.
    is_centred : bool
        Whether the mean over the components is subtracted first, as LayerNorm does and RMSNorm does not.
    """

    gain: Tensor
    is_centred: bool

    def folded(self, change: Float[Tensor, "*change d_model"]) -> Float[Tensor, "*change d_model"]:
        """Changes of the stream as they reach the unembedding, without the scale."""
        if self.is_centred:
            change = change - change.mean(dim=-1, keepdim=True)
        return change * self.gain


@torch.inference_mode()
def final_norm(model: Model) -> FinalNorm:
    """The normalisation before the unembedding, by what it makes of three inputs.

    So it does not matter how a family writes its weights (Gemma's gain is 1 + weight). A model without
    one has a gain of 1.
    """
    n = output_weight(model, 0).shape[-1]
    bridged_norm = getattr(model.bridge, "ln_final", None)
    if bridged_norm is None:
        return FinalNorm(gain=torch.ones(n, device=model.device), is_centred=False)
    return linear_part(bridged_norm, n, model.device)


@torch.inference_mode(False)
@torch.no_grad()
def linear_part(bridged_norm: Any, n: int, device: torch.device) -> FinalNorm:
    """What a normalisation of `n` components does to a change but for its scale, by three inputs."""
    norm = copy.deepcopy(bridged_norm.original_component).float()

    def response(states: Tensor) -> Tensor:
        without_bias: Tensor = (
            norm(states[None, None])[0, 0] - norm(torch.zeros_like(states[None, None]))[0, 0]
        )
        return without_bias

    signs = 1 - 2.0 * (torch.arange(n, device=device) % 2)
    probe = signs - signs.mean()
    gain = response(1e3 * probe) / (probe / probe.square().mean().sqrt())  # so large that ε is nothing
    constant = response(torch.ones_like(probe))
    return FinalNorm(gain=gain, is_centred=bool(constant.abs().max() < 0.5 * gain.abs().max()))


def joins_stream(model: Model, layer: int) -> Callable[[Tensor], Tensor]:
    """What becomes of a layer's attention output on its way into the residual stream.

    Returns
    -------
    callable
        Attention outputs float32 [n, d_model] to what is added to the stream, the same shape: normalised
        where a norm stands behind the attention (Gemma 2, OLMo 2), by the model's own module in single
        precision, and multiplied where the family has a multiplier (Granite).
    """
    bridged_norm = getattr(model.bridge.blocks[layer], "ln1_post", None)
    norm = None if bridged_norm is None else copy.deepcopy(bridged_norm.original_component).float()
    config = model.bridge.original_model.config.get_text_config()
    factor = float(getattr(config, "residual_multiplier", 1.0))

    def applied(states: Tensor) -> Tensor:
        normalised: Tensor = states if norm is None else norm(states[None])[0]
        return normalised * factor

    return applied


def has_norm_behind(model: Model, layer: int) -> bool:
    """Whether a layer normalises its attention's output before it joins the stream."""
    return getattr(model.bridge.blocks[layer], "ln1_post", None) is not None


def output_bias(model: Model, layer: int) -> Tensor | float:
    """What a layer's attention adds whatever its heads do: b_O [d_model], or 0."""
    bias = getattr(model.bridge.blocks[layer].attn.o.original_component, "bias", None)
    return 0.0 if bias is None else bias.detach().float()


def unembedding_weight(model: Model) -> Float[Tensor, "n_vocab d_model"]:
    """W_U, one row a token."""
    weight: Tensor = model.bridge.original_model.get_output_embeddings().weight.detach()
    return weight


def bridged(files: ModelFiles, hf_model: Any, tokenizer: Any, device: torch.device) -> Any:
    """A transformers model behind a new bridge, which takes it apart.

    The tokenizer stays as it is: a bridge gives the one that it is handed special tokens.
    """
    from transformer_lens.model_bridge import TransformerBridge

    own = copy.deepcopy(tokenizer)
    if files.held is not None:  # or the bridge would look for the tokenizer's files, which may be none
        own.init_kwargs = {"name_or_path": "", **own.init_kwargs, "add_bos_token": True}
    with _nothing_installed():
        bridge: Any = TransformerBridge.boot_transformers(
            str(files.folder), hf_model=hf_model, tokenizer=own, device=device
        )
    bridge.eval()
    return bridge


_installing = threading.Lock()


@contextlib.contextmanager
def _nothing_installed() -> Iterator[None]:
    """Let no program be called for a while.

    For models that read pictures transformer-lens calls pip to install torchvision, which can replace
    torch itself. Without it, it goes on.
    """

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise PermissionError("loading a model installs nothing")

    # One at a time: threads that put it back in another order would leave it refusing for good.
    with _installing, mock.patch.object(subprocess, "check_call", refuse):
        yield


def same_weights(hf_model: Any) -> Any:
    """A copy of a model that holds the same weights, not copies of them."""
    tensors = (*hf_model.parameters(), *hf_model.buffers())
    return copy.deepcopy(hf_model, {id(tensor): tensor for tensor in tensors})


def _remember_values(layer: Any) -> None:
    update = layer.update

    def remembering(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        keys, values = update(*args, **kwargs)
        layer.seen_values = values
        return keys, values

    layer.update = remembering
