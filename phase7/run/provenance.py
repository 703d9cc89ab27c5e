"""The circumstances in which numbers were made.

One dict that JSON can hold: configuration, seed, package versions, model fingerprints, machine and git
commit.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from phase7.experiment.profile import Profile
from phase7.models.files import ModelFiles

#: Those that can change a generated token or a recorded activation.
ENGINE_PACKAGES = ("torch", "transformer-lens", "transformers", "tokenizers", "numpy")

PACKAGES = (
    "phase7", "torch", "transformer-lens", "transformers", "tokenizers", "numpy", "scipy",
    "joblib", "xarray", "netCDF4", "safetensors", "vaderSentiment",
)  # fmt: skip


def provenance(
    profile: Profile,
    models: Iterable[ModelFiles],
    self_check: Mapping[str, Any],
    root: Path,
    origins: Mapping[str, int],
) -> dict[str, Any]:
    """Everything a reader needs to repeat the run.

    `origins` is that of :class:`~phase7.store.Store`: what the entries that were read were made with.
    """
    return {
        "config": profile.as_dict(),
        "seed": profile.sampling.seed,
        "packages": package_versions(),
        "models": {
            files.name: {
                "fingerprint": files.fingerprint,
                "source": files.source,
                "revision": files.revision,
            }
            for files in models
        },
        "machine": machine(),
        "git_commit": _git_commit(root),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "self_check": dict(self_check),
        "stored_entries": stored_entries(origins),
    }


def made_with() -> dict[str, Any]:
    """The library versions that an entry's header keeps."""
    return {**_engine_versions(), "python": platform.python_version()}


def stored_entries(origins: Mapping[str, int]) -> list[dict[str, Any]]:
    """What the entries that a run read were made with.

    Parameters
    ----------
    origins : mapping
        JSON of :func:`made_with`, or ``""`` where an entry does not say, to a number of entries.

    Returns
    -------
    list of dict
        ``n``, a number of entries; ``made_with`` (None: unknown); ``differs``, the names of the packages
        whose version here is another one.
    """
    here = made_with()
    found = []
    for text, n in sorted(origins.items()):
        there: dict[str, Any] = json.loads(text) if text else {}
        names = sorted(here.keys() & there.keys())
        differs = [k for k in names if None not in (here[k], there[k]) and here[k] != there[k]]
        found.append({"n": n, "made_with": there or None, "differs": differs})
    return found


def mismatch(origins: Mapping[str, int]) -> str:
    """One line about stored entries that were made with other libraries; empty if none."""
    others = [one for one in stored_entries(origins) if one["differs"]]
    if not others:
        return ""
    here, n = made_with(), sum(one["n"] for one in others)
    kinds = {f"{k} {one['made_with'][k]} (here {here[k]})" for one in others for k in one["differs"]}
    return (
        f"{n} entries of the store were made with {', '.join(sorted(kinds))}; they are used as they are,"
        " and a store of your own (--store) computes them again"
    )


def package_versions() -> dict[str, str | None]:
    """Versions of the packages that numbers depend on; None for one that is not installed."""
    return {name: _version(name) for name in PACKAGES}


def machine() -> dict[str, Any]:
    """System, processor, number of processors and Python."""
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processor": _processor(),
        "n_cpus": os.cpu_count(),
        "python": platform.python_version(),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@cache
def _engine_versions() -> dict[str, str | None]:
    return {name: _version(name) for name in ENGINE_PACKAGES}


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def _git_commit(root: Path) -> str | None:
    """Commit of the checkout at `root`, with ``-dirty`` where tracked files differ; None without one."""
    command = [
        "git",
        "-C",
        str(root),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
