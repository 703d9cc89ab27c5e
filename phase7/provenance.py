"""Under what circumstances numbers were made.

Nothing enters but the run's facts. What leaves: a dict that JSON can hold: configuration, seed, package
versions, model fingerprints, machine, threads, git commit.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from phase7.config import Profile
from phase7.models.files import ModelFiles

PACKAGES = (
    "phase7", "torch", "transformer-lens", "transformers", "tokenizers", "numpy", "scipy",
    "joblib", "xarray", "netCDF4", "safetensors", "vaderSentiment",
)  # fmt: skip


def provenance(
    profile: Profile, models: Iterable[ModelFiles], self_check: Mapping[str, Any], root: Path
) -> dict[str, Any]:
    """Everything a reader needs to repeat the run."""
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
        "threads": _threads(),
        "git_commit": _git_commit(root),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "self_check": dict(self_check),
    }


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


def _threads() -> int:
    import torch

    return torch.get_num_threads()


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
