"""What planning needs to know of a model, whether or not its files are here.

For the models known by name the registry has these facts, so that a plan can be made before anything is
downloaded; for a model in a folder they are read from its configuration.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ModelSizes:
    """Sizes that the estimate of memory needs.

    Attributes
    ----------
    n_layers, n_heads, n_kv_heads : int
        Heads of queries, and of keys and values.
    d_head, d_model, d_mlp : int
        Widths of a head, of the residual stream and of a layer's feed-forward part.
    n_vocab, n_context : int
        Rows of the embedding; positions at most.
    weights_bytes : int
        Size of the safetensors files.
    is_half : bool
        Whether the files hold 16 bits a weight.
    """

    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_model: int
    d_mlp: int
    n_vocab: int
    n_context: int
    weights_bytes: int
    is_half: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Held:
    """What a model that is in memory has in place of files.

    Attributes
    ----------
    tokenizer : PreTrainedTokenizerBase
    sizes : ModelSizes
    """

    tokenizer: Any
    sizes: ModelSizes


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What a plan depends on, whether or not the model's files are here.

    Attributes
    ----------
    name : str
        Name in results and in the effects store (no slash).
    fingerprint : str
        SHA-256 (hex) over the names and contents of configuration, tokenizer and weights; empty for a
        model that is not here yet.
    n_layers, n_heads : int
        From the configuration; query heads.
    has_chat_template : bool
        Whether the tokenizer comes with a chat template, as instruct models' do.
    reads_clock : bool
        Whether a chat template asks for today's date.
    tokens : mapping of str to str
        By prompt, the SHA-256 (hex) of the tokens that the model reads; empty where prompt, files and
        format decide them.
    """

    name: str
    fingerprint: str
    n_layers: int
    n_heads: int
    has_chat_template: bool
    reads_clock: bool = False
    tokens: Mapping[str, str] = field(default_factory=dict)

    def tokens_key(self, *prompts: str) -> dict[str, str]:
        """What a key needs beside some prompts, to know the tokens that are read of them."""
        if not self.tokens:
            return {}
        if len(prompts) == 1:
            return {"tokens": self.tokens[prompts[0]]}
        every = json.dumps([self.tokens[prompt] for prompt in prompts])
        return {"tokens": hashlib.sha256(every.encode()).hexdigest()}
