"""A model's folder, loaded, or a transformers model that is in memory already.

A model that cannot be used is refused in one line: an architecture that the bridge cannot run, runs
otherwise than transformers (:mod:`phase7.engine.model.faithful`) or that has no output of its own for
each head, weights that are missing or no numbers, a tokenizer that does not fit the embedding.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM, AutoTokenizer

from phase7.engine.model import versions
from phase7.engine.model.attention import composes, n_kv_heads
from phase7.engine.model.blocks import ROW_BLOCK
from phase7.engine.model.bridge import Model, bridged, same_weights, unembedding_weight
from phase7.engine.model.compared import (
    holds,
    rough_logits_agree,
    shared_cache_agrees,
    that_hold,
)
from phase7.engine.model.faithful import check_logits
from phase7.engine.model.packed import PACKED_ROWS, all_packed, forget_copies, suits_packing
from phase7.engine.model.patterns import PatternSite, hook_order
from phase7.engine.model.probes import has_plain_head, is_parallel, switch_lengths
from phase7.engine.model.rough import RoughUnembedding, multiplies_bfloat16
from phase7.engine.model.shortcuts import Shortcuts
from phase7.models.files import ModelFiles
from phase7.models.quiet import quiet
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.sites import hook_name

_log = logging.getLogger(__name__)


def load_model(
    files: ModelFiles, *, device: str = "cpu", dtype: str = "float32", pack: bool = True
) -> Model:
    """Load a model folder.

    Its logits on a few tokens are compared with those of the model as transformers loads it. With
    versions of torch, transformers or transformer-lens that the tests have not run with, the faster ways
    of computing are compared with the plain ones; what differs is left out, and a warning says so.

    Parameters
    ----------
    pack : bool
        Multiply with packed copies of the weights where the processor has them
        (:mod:`phase7.engine.model.packed`): faster, other last bits, and the weights take twice the
        memory. To get such a model once more, load it again: a copy's layers would read the first one's
        weights.

    Raises
    ------
    UserError
        If the device is not there, the architecture, the weights or the tokenizer cannot be used, or
        the model computes otherwise than transformers does.
    """
    torch_device, torch_dtype = device_of(device), getattr(torch, dtype)

    def read() -> tuple[Any, Any, list[str]]:
        return _from_folder(files, torch_device, torch_dtype)

    return _ready(files, read, torch_device, torch_dtype, pack)


def model_from(files: ModelFiles, hf_model: Any, tokenizer: Any, *, pack: bool = True) -> Model:
    """Make a model of a transformers model that is in memory, on the device and in the type it has.

    It is left as it is and shares its weights with the model that is made; packed copies of them are
    made now, so a weight that is changed afterwards is not seen.

    Parameters
    ----------
    files : ModelFiles
        What is known of it; its name stands in messages.
    hf_model : transformers.PreTrainedModel
        A causal language model.
    tokenizer : transformers.PreTrainedTokenizerBase
    pack : bool
        As in :func:`load_model`.

    Raises
    ------
    UserError
        As :func:`load_model`.
    """
    first = next(hf_model.parameters())

    def read() -> tuple[Any, Any, list[str]]:
        forget_copies(hf_model)
        own = same_weights(hf_model)
        own.set_attn_implementation("eager")
        own = _text_model(files, own)
        _check_numbers(files, own)
        return own.eval(), tokenizer, []

    return _ready(files, read, first.device, first.dtype, pack)


def _ready(
    files: ModelFiles,
    read: Callable[[], tuple[Any, Any, list[str]]],
    torch_device: torch.device,
    torch_dtype: torch.dtype,
    pack: bool,
) -> Model:
    """What `read` gives (a model of one's own, its tokenizer, weights unused), bridged and checked."""
    others = versions.untested()
    fast = pack and suits_packing(torch_device, torch_dtype)
    wanted = Shortcuts(packed_products=fast, lean_modules=fast, shared_cache=True, shared_layers=True)
    try:
        with quiet():
            hf_model, tokenizer, unused = read()
            pristine = same_weights(hf_model)
            bridge = bridged(files, hf_model, tokenizer, torch_device)
            kept = that_hold(bridge, wanted) if others else wanted
            kept.apply(bridge)
        if unused:
            _log.warning(_unused_weights(files, unused))
        _check_tokenizer(files, tokenizer, hf_model.get_input_embeddings().weight.shape[0])
        model = _described(files, bridge, tokenizer, pristine, kept, torch_device, torch_dtype)
        _check_sizes(files, model)
        check_logits(model)
        return _with_what_holds(model, others, wanted)
    except UserError:
        raise
    except Exception as error:  # whatever the code of some architecture raises
        raise _unusable(files, f"{type(error).__name__}: {error}") from error


def _from_folder(
    files: ModelFiles, device: torch.device, dtype: torch.dtype
) -> tuple[Any, Any, list[str]]:
    """The model as transformers loads it, its tokenizer, and the weights that it has no place for."""
    folder = str(files.folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        attn_implementation="eager",
        output_loading_info=True,
    )
    hf_model, report = loaded
    _check_weights(files, report)
    hf_model = _text_model(files, hf_model)
    _check_numbers(files, hf_model)
    return hf_model.to(device).eval(), tokenizer, sorted(report.get("unexpected_keys") or ())


def _text_model(files: ModelFiles, hf_model: Any) -> Any:
    """The text model in a model that also reads pictures or sound, with the same weights."""
    config = hf_model.config.get_text_config(decoder=True)
    if config is hf_model.config:
        return hf_model
    kind: Any = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    decoder = hf_model.get_decoder()
    with torch.device("meta"):
        empty = kind(config) if kind else None
    if empty is None or type(decoder) is not type(empty.base_model):
        raise _unusable(
            files,
            f"a {config.model_type} within a {hf_model.config.model_type}, which"
            " transformers has no model for that reads text alone",
        )
    setattr(empty, empty.base_model_prefix, decoder)
    empty.set_output_embeddings(hf_model.get_output_embeddings())
    empty.generation_config = hf_model.generation_config
    empty.config.architectures = [type(empty).__name__]
    return empty


def _described(
    files: ModelFiles,
    bridge: Any,
    tokenizer: Any,
    pristine: Any,
    shortcuts: Shortcuts,
    device: torch.device,
    dtype: torch.dtype,
) -> Model:
    """A model with what its configuration says and what running it shows."""
    is_packed = shortcuts.packed_products and all_packed(bridge)
    model = Model(
        bridge=bridge,
        tokenizer=tokenizer,
        files=files,
        n_layers=int(bridge.cfg.n_layers),
        n_heads=int(bridge.cfg.n_heads),
        n_kv_heads=int(bridge.cfg.n_heads),
        d_head=int(bridge.cfg.d_head),
        n_context=int(bridge.cfg.n_ctx),
        eos_ids=_eos_ids(bridge.original_model, tokenizer),
        pattern_site=_pattern_site(bridge, files),
        device=device,
        dtype=dtype,
        shortcuts=shortcuts,
        row_block=PACKED_ROWS if is_packed else ROW_BLOCK,
        is_parallel=is_parallel(bridge),
        has_plain_head=has_plain_head(bridge),
        rough=None,
        switch_lengths=switch_lengths(pristine.config),
        pristine=pristine,
    )
    with quiet():
        return replace(model, n_kv_heads=n_kv_heads(model))


def _with_what_holds(model: Model, others: dict[str, str], wanted: Shortcuts) -> Model:
    """The model with rough logits, a shared cache and a pattern site as far as they hold."""
    kept = model.shortcuts
    left_out = [
        name
        for name, is_wanted, is_kept in (
            ("packed products", wanted.packed_products, kept.packed_products),
            ("lean modules", wanted.lean_modules, kept.lean_modules),
        )
        if is_wanted and not is_kept
    ]
    if kept.packed_products and model.has_plain_head and multiplies_bfloat16(model.device):
        rough = RoughUnembedding(unembedding_weight(model))
        if others and not holds(rough_logits_agree, rough, unembedding_weight(model)):
            left_out.append("rough logits")
        else:
            model = replace(model, rough=rough)
    if not holds(shared_cache_agrees, model, True):
        shared = holds(shared_cache_agrees, model, False)
        model = replace(model, shortcuts=replace(kept, shared_cache=shared, shared_layers=False))
        left_out += ["shared layers"] if shared else ["the shared cache"]
    if left_out and others:
        _log.warning(_told(model.name, others, left_out))
    has_pattern = model.pattern_site is not None and holds(composes, model)
    return model if has_pattern else replace(model, pattern_site=None)


def _unused_weights(files: ModelFiles, names: list[str]) -> str:
    """The line about weights that may be another model's, or an adapter's."""
    return (
        f"{files.name} runs without {len(names)} of the weights in its files, for which its architecture"
        f" has no place: {', '.join(names)[:120]}"
    )


def _told(name: str, others: dict[str, str], left_out: list[str]) -> str:
    found = ", ".join(f"{package} {version}" for package, version in others.items())
    tested = ", ".join(f"{package} {versions.TESTED[package]}" for package in others)
    return (
        f"{name} runs without {', '.join(left_out)}, which with {found} are missing or differ from the"
        f" plain computation: generation is slower than with {tested}, where they have been tested"
    )


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


def _check_numbers(files: ModelFiles, hf_model: Any) -> None:
    """Refuse weights that are NaN or infinite: every text would be empty, or the same token."""
    for name, weight in hf_model.named_parameters():
        if weight.is_floating_point() and weight.numel() and not _is_finite(weight):
            raise _unusable(files, f"NaN or infinity in the weight {name}")


def _is_finite(weight: torch.Tensor) -> bool:
    least, most = torch.aminmax(weight.detach())  # NaN where any is
    return bool(torch.isfinite(least) & torch.isfinite(most))


def _check_tokenizer(files: ModelFiles, tokenizer: Any, n_embeddings: int) -> None:
    """Refuse a vocabulary that is larger than the embedding.

    Added tokens, such as one for padding, may lie beyond it: no prompt need hold one.
    """
    added = getattr(tokenizer, "added_tokens_decoder", {})
    beyond = {token for token in tokenizer.get_vocab().values() if token >= n_embeddings} - {*added}
    if beyond:
        raise _unusable(files, f"a tokenizer of {len(tokenizer)} tokens for {n_embeddings} embeddings")


def _check_sizes(files: ModelFiles, model: Model) -> None:
    """Refuse a bridge that has other layers and heads than were planned for."""
    planned, found = (files.n_layers, files.n_heads), (model.n_layers, model.n_heads)
    if planned != found:
        raise _unusable(files, f"{found} layers and heads, where the configuration has {planned}")


def device_of(name: str) -> torch.device:
    """The device of a name.

    Raises
    ------
    UserError
        If torch has none of that name here.
    """
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


def _pattern_site(bridge: Any, files: ModelFiles) -> PatternSite | None:
    """Where the pattern can be read before z; refuses a model without z in every layer."""
    for layer in range(int(bridge.cfg.n_layers)):
        if hook_name("z", layer) not in bridge.hook_dict:
            raise _unusable(files, f"no attention with an output for each head in layer {layer}")
    reached = hook_order(bridge)
    if "hook_z" not in reached:
        raise _unusable(files, "an attention without hook_z, the per-head output")
    before_z = reached[: reached.index("hook_z")]
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
