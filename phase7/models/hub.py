"""The Hugging Face hub: a repository's safetensors, configuration and tokenizer, downloaded or cached.

Code and pickles are never downloaded. Every file taken from the cache is compared with the hash by which
the hub names it.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from phase7.vocabulary.errors import UserError

#: What is fetched from a repository: configuration, tokenizer, safetensors; never code or pickles.
HUB_PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", re.ASCII)


def is_hub_id(name: str) -> bool:
    """Whether a name has the form ``owner/name[@revision]`` of a repository."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    if not _HUB_ID.fullmatch(name):
        return False
    try:
        validate_repo_id(name.partition("@")[0])
    except HFValidationError:
        return False
    return True


def cached(repository: str, revision: str | None) -> Path | None:
    """The repository's folder in the local cache, if its weights are there; nothing is requested."""
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


def from_hub(name: str, repository: str, revision: str | None, show_progress: bool) -> Path:
    """The repository's folder in the local cache, downloaded if it is not there.

    Raises
    ------
    UserError
        If the hub cannot be reached, the repository has no safetensors, or a cached file is damaged; the
        damaged file is removed.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    (enable_progress_bars if show_progress else disable_progress_bars)()

    folder = cached(repository, revision)
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
            raise _unreachable(name, repository, revision, error) from error
    for path, wanted, found in damaged_files(folder):
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise UserError(
            expected=f"a file with the hash {wanted[:16]}",
            got=f"one with {found[:16]}",
            where=f"model {name}: {path.name} in the hub's cache",
            remedy="the damaged file was removed; run the command again to download it",
        )
    return folder


def damaged_files(folder: Path) -> list[tuple[Path, str, str]]:
    """The cached files that are not what the hub named, each with the wanted and the found hash.

    The hub's cache stores a file under its ETag: SHA-256 of a large file, git's SHA-1 of a small one.
    """
    damaged = []
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
            damaged.append((path, wanted, found))
    return damaged


def _unreachable(name: str, repository: str, revision: str | None, error: Exception) -> UserError:
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
