"""`python .ci/shared.py -m MODULE ...`: run Python in the installation that tox environments share.

The installation (phase7, editable, with its extras, in the versions of constraints.txt) is a virtual
environment beside tox's own. Whichever tox environment comes first makes it, and again when
pyproject.toml, constraints.txt or the interpreter has changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".tox" / "shared"
EXTRAS = "test,dev,docs"


def main() -> int:
    """Install where needed, then run; returns the exit code."""
    FOLDER.parent.mkdir(exist_ok=True)
    python = FOLDER / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    with one_at_a_time():
        install(python)
    return subprocess.call([str(python), *sys.argv[1:]], cwd=ROOT)


def install(python: Path) -> None:
    """Make the installation, if its note does not name this recipe."""
    files = b"".join((ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt"))
    recipe = files + f"{sys.version} {EXTRAS}".encode()
    wanted, note = hashlib.sha256(recipe).hexdigest(), FOLDER / "recipe.txt"
    if note.is_file() and note.read_text(encoding="utf-8") == wanted:
        return
    shutil.rmtree(FOLDER, ignore_errors=True)
    subprocess.check_call([sys.executable, "-m", "venv", str(FOLDER)])
    exact = ("-c", str(ROOT / "constraints.txt"))
    subprocess.check_call([str(python), "-m", "pip", "install", "-q", *exact, "-e", f"{ROOT}[{EXTRAS}]"])
    note.write_text(wanted, encoding="utf-8")


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Keep parallel tox environments from installing at once, where the system has file locks."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with (FOLDER.parent / "shared.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main())
