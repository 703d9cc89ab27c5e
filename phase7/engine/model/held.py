"""What identifies a model that is in memory, and the transformers model behind a bridge.

A model in memory has no files whose content could be hashed, so its weights are: every tensor's name,
type, shape and bytes, with the configuration and the tokenizer.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import Tensor

from phase7.models.quiet import quiet
from phase7.vocabulary.errors import UserError

#: In the configuration, what does not change what the model computes.
_WHERE_FROM = ("_name_or_path", "transformers_version", "_attn_implementation_autoset")
#: What a bridge puts into the names of the modules that it takes apart.
_WRAPPED = "._original_component"


def fingerprint_of(hf_model: Any, tokenizer: Any) -> str:
    """SHA-256 (hex) over the configuration, the tokenizer and every weight of a model in memory.

    A tensor that several names share is read once. It is no file's fingerprint: a model that is loaded
    by its name and one that is handed over have different ones.
    """
    whole = hashlib.sha256(b"in memory\0")
    config = hf_model.config.to_dict()
    described = {key: value for key, value in config.items() if key not in _WHERE_FROM}
    ends = getattr(hf_model.generation_config, "eos_token_id", None)
    whole.update(json.dumps([described, ends], sort_keys=True, default=str).encode())
    whole.update(_tokenizer_identity(tokenizer).encode())
    first: dict[tuple[int, int, tuple[int, ...]], str] = {}
    for name, tensor in sorted(hf_model.state_dict().items()):
        place = (tensor.data_ptr(), tensor.storage_offset(), tuple(tensor.stride()))
        known = first.setdefault(place, name) if tensor.numel() else name
        whole.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        if known == name:
            whole.update(_bytes(tensor))
        else:
            whole.update(known.encode())
    return whole.hexdigest()


def _bytes(tensor: Tensor) -> Any:
    """The tensor's bytes, as an array that can be hashed without a copy."""
    return tensor.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy()


def _tokenizer_identity(tokenizer: Any) -> str:
    """What decides the tokens of a text and the text of tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    made = backend.to_str() if backend is not None else sorted(tokenizer.get_vocab().items())
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    kind = type(tokenizer).__name__
    return json.dumps([kind, made, special, tokenizer.chat_template], sort_keys=True, default=str)


def unbridged(bridge: Any) -> Any:
    """The transformers model behind a `TransformerBridge`, whole again, with the same weights.

    Raises
    ------
    UserError
        If its weights cannot be put back, or it computes otherwise than the bridge: one whose weights
        were folded or split by hand is no transformers model any more.
    """
    apart = bridge.original_model
    held = {name.replace(_WRAPPED, ""): tensor for name, tensor in apart.state_dict().items()}
    with quiet(), torch.random.fork_rng(devices=[]):
        whole = type(apart)(apart.config).to(next(apart.parameters()).dtype).eval()
    wanted = whole.state_dict()
    missing = sorted(name for name in wanted if name not in held)
    if missing:
        raise _not_whole(f"no weight for {', '.join(missing)[:120]}")
    try:
        whole.load_state_dict({name: held[name] for name in wanted}, assign=True)
    except RuntimeError as error:
        raise _not_whole(f"{error}"[:200]) from error
    whole.tie_weights()
    whole = whole.to(next(apart.parameters()).device)
    whole.generation_config = apart.generation_config
    _require_same(bridge, whole)
    return whole


@torch.inference_mode()
def _require_same(bridge: Any, whole: Any) -> None:
    tokens = torch.arange(1, 9, device=next(whole.parameters()).device)[None]
    whole.set_attn_implementation("eager")
    expected, got = bridge(tokens).float(), whole(tokens).logits.float()
    share = 3e-4 if next(whole.parameters()).dtype == torch.float32 else 0.25
    if not bool((got - expected).abs().max() <= share * expected.std()):
        raise _not_whole(f"logits up to {(got - expected).abs().max():.2g} away from the bridge's")


def _not_whole(got: str) -> UserError:
    return UserError(
        expected="a TransformerBridge that holds a transformers model's own weights",
        got=got,
        where="load_model",
        remedy="give a bridge without compatibility mode and folded weights, or the transformers model"
        " and its tokenizer",
    )
