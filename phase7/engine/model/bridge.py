"""A model's folder behind a `TransformerBridge`, with what the rest of the package asks of it.

What enters: :class:`~phase7.models.files.ModelFiles`, device and dtype. What leaves: a
:class:`Model`. What it refuses: an architecture the bridge cannot run or that has no per-head output,
a tokenizer that does not fit the embedding.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.cache_utils import DynamicLayer

from phase7.engine.model.blocks import ROW_BLOCK
from phase7.engine.model.buffers import Buffers
from phase7.engine.model.gates import Hook, Rows, input_gates, output_gates
from phase7.engine.model.lean import make_lean
from phase7.engine.model.packed import PACKED_ROWS, all_packed, can_pack, pack_products
from phase7.engine.model.rough import RoughUnembedding, multiplies_bfloat16
from phase7.engine.model.trials import has_plain_head, is_parallel, without_head
from phase7.models.files import ModelFiles
from phase7.models.quiet import quiet
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.sites import SiteName, hook_name

PatternSite = Literal["hook_pattern", "attn_dropout"]


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
        Where the attention pattern can be read before the head's output is used. GPT-Neo's bridge
        fires `hook_pattern` too late, so there the pattern is read at the attention dropout
        (which does nothing at inference). None: patterns cannot be read in time.
    device : torch.device
    dtype : torch.dtype
    is_packed : bool
        Whether products read packed weights (:mod:`phase7.engine.model.packed`).
    row_block : int
        A row's bits depend on no other row in batches of a multiple of so many rows.
    is_parallel : bool
        Whether a layer's MLP reads the layer's input, not what its attention made of it.
    has_plain_head : bool
        Whether logits are the unembedding's output, without scale or cap.
    rough : RoughUnembedding or None
        The unembedding in bfloat16, for differences; None where it would not be faster.
    pristine : PreTrainedModel
        The transformers model, which no bridge has taken apart; its weights are the bridge's.
    buffers : Buffers
        Memory for the keys and values of one batch after the other.
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
    is_packed: bool
    row_block: int
    is_parallel: bool
    has_plain_head: bool
    rough: RoughUnembedding | None
    pristine: Any
    buffers: Buffers = field(default_factory=Buffers)

    @property
    def name(self) -> str:
        """The model's name in results."""
        return self.files.name

    def twin(self) -> Model:
        """A model with the same weights, and hooks of its own: for another thread."""
        own_tokenizer = copy.deepcopy(self.tokenizer)
        with quiet():
            twin = _bridged(
                self.files, _same_weights(self.pristine), own_tokenizer, self.device, self.is_packed
            )
        ours = dict(self.bridge.named_modules())
        for name, module in twin.named_modules():  # bridges split some weights: not a second time
            for key, weight in ours[name].named_parameters(recurse=False):
                module.register_parameter(key, weight)
        return replace(self, bridge=twin, tokenizer=own_tokenizer, buffers=Buffers())

    def new_cache(self) -> DynamicCache:
        """An empty KV cache of the right kind for each layer.

        A layer that drops old tokens remembers as `seen_values` all the values it returned last.
        """
        cache = DynamicCache(config=self.bridge.original_model.config)
        for layer in cache.layers:
            if type(layer) is not DynamicLayer:
                _remember_values(layer)
        return cache

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
                    stack.callback(_tap_dropout(self.bridge, layer, hook).remove)
            yield


def load_model(
    files: ModelFiles, *, device: str = "cpu", dtype: str = "float32", pack: bool = True
) -> Model:
    """Load a model folder.

    Parameters
    ----------
    pack : bool
        Multiply with packed copies of the weights where the processor has them
        (:mod:`phase7.engine.model.packed`): faster, other last bits, and the weights take twice the
        memory. Load such a model again rather than copy it: a copy's layers would read the first one's
        weights.

    Raises
    ------
    UserError
        If the device is not there, or the architecture, the weights or the tokenizer cannot be used.
    """
    torch_device = _device(device)
    torch_dtype: torch.dtype = getattr(torch, dtype)
    folder = str(files.folder)
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=torch_dtype,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                attn_implementation="eager",
                output_loading_info=True,
            )
            hf_model, report = loaded
            _check_weights(files, report)
            hf_model = hf_model.to(torch_device).eval()
            pristine = _same_weights(hf_model)
            packs = pack and can_pack(torch_device, torch_dtype)
            bridge = _bridged(files, hf_model, tokenizer, torch_device, packs)
    except UserError:
        raise
    except Exception as error:
        raise _unusable(files, f"{type(error).__name__}: {error}") from error
    n_embeddings = hf_model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > n_embeddings:
        raise _unusable(files, f"a tokenizer of {len(tokenizer)} tokens for {n_embeddings} embeddings")
    heads = int(bridge.cfg.n_heads)
    model = Model(
        bridge=bridge,
        tokenizer=tokenizer,
        files=files,
        n_layers=int(bridge.cfg.n_layers),
        n_heads=heads,
        n_kv_heads=int(getattr(bridge.cfg, "n_key_value_heads", None) or heads),
        d_head=int(bridge.cfg.d_head),
        n_context=int(bridge.cfg.n_ctx),
        eos_ids=_eos_ids(hf_model, tokenizer),
        pattern_site=_probe(bridge, files),
        device=torch_device,
        dtype=torch_dtype,
        is_packed=packs,
        row_block=PACKED_ROWS if packs and all_packed(bridge) else ROW_BLOCK,
        is_parallel=is_parallel(bridge),
        has_plain_head=has_plain_head(bridge),
        rough=None,
        pristine=pristine,
    )
    if packs and model.has_plain_head and multiplies_bfloat16(torch_device):
        model = replace(model, rough=RoughUnembedding(unembedding_weight(model)))
    composes = model.pattern_site is not None and _composes(model)
    return model if composes else replace(model, pattern_site=None)


def output_weight(model: Model, layer: int) -> Float[Tensor, "n_heads d_head d_model"]:
    """W_O of one layer by head, whatever way round the architecture stores it."""
    projection = model.bridge.blocks[layer].attn.o.original_component
    weight: Tensor = projection.weight.detach()
    if isinstance(projection, torch.nn.Linear):
        weight = weight.T
    return weight.reshape(model.n_heads, model.d_head, -1)


def unembedding_weight(model: Model) -> Float[Tensor, "n_vocab d_model"]:
    """W_U, one row a token."""
    weight: Tensor = model.bridge.original_model.get_output_embeddings().weight.detach()
    return weight


def _bridged(files: ModelFiles, hf_model: Any, tokenizer: Any, device: torch.device, pack: bool) -> Any:
    from transformer_lens.model_bridge import TransformerBridge

    bridge: Any = TransformerBridge.boot_transformers(
        str(files.folder), hf_model=hf_model, tokenizer=tokenizer, device=device
    )
    bridge.eval()
    if pack:
        make_lean(bridge)
        pack_products(bridge)
    return bridge


def _same_weights(hf_model: Any) -> Any:
    """A copy of a model that holds the same weights, not copies of them."""
    tensors = (*hf_model.parameters(), *hf_model.buffers())
    return copy.deepcopy(hf_model, {id(tensor): tensor for tensor in tensors})


def _check_weights(files: ModelFiles, report: dict[str, Any]) -> None:
    """Refuse weights that transformers would have filled in at random, and a missing tokenizer."""
    absent = sorted(report.get("missing_keys") or ()) + sorted(
        map(str, report.get("mismatched_keys") or ())
    )
    if absent:
        raise _unusable(files, f"no usable weights for {', '.join(absent)[:120]}")
    known = ("tokenizer*.json", "*.model", "vocab.*")
    if not any(True for pattern in known for _ in files.folder.glob(pattern)):
        raise _unusable(files, "a folder without a tokenizer")


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except Exception as error:
        raise UserError(
            expected="a device that torch has here, such as cpu",
            got=repr(name),
            where="--device",
            remedy="use --device cpu, or install a torch build for this device",
        ) from error
    return device


def _eos_ids(hf_model: Any, tokenizer: Any) -> frozenset[int]:
    configured = getattr(hf_model.generation_config, "eos_token_id", None)
    ids = configured if isinstance(configured, list) else [configured]
    return frozenset(int(i) for i in [*ids, tokenizer.eos_token_id] if i is not None)


def _tap_dropout(bridge: Any, layer: int, hook: Hook) -> Any:
    """Call `hook` with what enters the layer's attention dropout: the pattern."""
    dropout: Any = _attention_dropout(bridge, layer)

    def read(module: Any, args: tuple[Tensor, ...]) -> None:
        hook(args[0], module)

    return dropout.register_forward_pre_hook(read)


def _remember_values(layer: Any) -> None:
    update = layer.update

    def remembering(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        keys, values = update(*args, **kwargs)
        layer.seen_values = values
        return keys, values

    layer.update = remembering


@torch.inference_mode()
def _composes(model: Model) -> bool:
    """Whether pattern times cached values is z, in every layer, as the composed modes assume."""
    patterns: dict[int, Tensor] = {}
    outputs: dict[int, Tensor] = {}
    layers = range(model.n_layers)

    def keep(into: dict[int, Tensor], layer: int) -> Hook:
        def hook(tensor: Tensor, hook: Any) -> None:
            into[layer] = tensor[0].double()

        return hook

    cache, tokens = model.new_cache(), torch.tensor([[0, 1, 2]], device=model.device)
    with (
        quiet(),
        model.hooked(
            {
                "z": {i: keep(outputs, i) for i in layers},
                "pattern": {i: keep(patterns, i) for i in layers},
            }
        ),
    ):
        model.bridge(tokens, past_key_values=cache, use_cache=True)
    for i in layers:
        layer: Any = cache.layers[i]
        values = getattr(layer, "seen_values", layer.values)[0].double()
        values = values.repeat_interleave(model.n_heads // model.n_kv_heads, dim=0)
        if values.shape[0] != model.n_heads or patterns[i].shape[-1] != values.shape[1]:
            return False
        composed = (patterns[i] @ values).transpose(0, 1)
        tolerance = 0.05 if model.dtype == torch.bfloat16 else 1e-3
        if not torch.allclose(composed, outputs[i], atol=tolerance * float(outputs[i].abs().max())):
            return False
    return True


def _attention_dropout(bridge: Any, layer: int) -> torch.nn.Module | None:
    attention = bridge.blocks[layer].attn.original_component
    found = [m for name, m in attention.named_modules() if name.split(".")[-1] == "attn_dropout"]
    return found[0] if len(found) == 1 else None


def _probe(bridge: Any, files: ModelFiles) -> PatternSite | None:
    """Find by trial where the pattern can be read before z; refuse a model without z."""
    events: list[str] = []

    def note(site: str) -> Hook:
        def hook(tensor: Tensor, hook: Any) -> None:
            events.append(site)

        return hook

    tokens = torch.zeros((1, 2), dtype=torch.long, device=bridge.cfg.device)
    sites = [(f"blocks.0.attn.{site}", note(site)) for site in ("hook_z", "hook_pattern")]
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            stack.enter_context(quiet())
            stack.enter_context(bridge.hooks(fwd_hooks=sites))
            if _attention_dropout(bridge, 0) is not None:
                stack.callback(_tap_dropout(bridge, 0, note("attn_dropout")).remove)
            bridge(tokens)
    except Exception as error:
        raise _unusable(files, f"{type(error).__name__}: {error}") from error
    if "hook_z" not in events:
        raise _unusable(files, "an attention without hook_z, the per-head output")
    before_z = events[: events.index("hook_z")]
    if "hook_pattern" in before_z:
        return "hook_pattern"
    return "attn_dropout" if "attn_dropout" in before_z else None


def _unusable(files: ModelFiles, got: str) -> UserError:
    return UserError(
        expected="a causal language model that TransformerBridge runs, with safetensors weights"
        " and a tokenizer that fits",
        got=got[:300],
        where=f"model {files.name} ({files.folder})",
        remedy="see docs/models.md for what is supported",
    )
