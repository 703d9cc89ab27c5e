"""Where the files under ``data/`` are: the user's own, or those that the package carries.

A path that exists is taken as it is. ``data/...`` that does not exist is looked up among the prompts,
profiles and keyword families that come with phase7, so that an installed package works in an empty
folder. A path that is found nowhere is handed back, and whoever opens it reports the error.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

#: First part of the paths that the package can answer.
FOLDER = "data"


def find_data(path: str | Path, root: Path) -> Path:
    """The file that `path` means.

    Parameters
    ----------
    path : str or Path
        Absolute, or relative to `root`.
    root : Path
        The project's folder, usually the current one.

    Returns
    -------
    Path
        ``root / path`` where that exists; else the packaged file for ``data/...``; else
        ``root / path``, which does not exist.
    """
    here = root / path
    relative = Path(path)
    if here.exists() or relative.is_absolute() or relative.parts[:1] != (FOLDER,):
        return here
    packaged = packaged_data().joinpath(*relative.parts[1:])
    inside = packaged.resolve().is_relative_to(packaged_data().resolve())
    return packaged if inside and packaged.is_file() else here


def profile_names(root: Path) -> list[str]:
    """Names of the profiles that `find_data` finds, sorted."""
    return sorted({path.stem for folder in _profile_folders(root) for path in folder.glob("*.toml")})


def packaged_data() -> Path:
    """The folder that the wheel carries, or the repository's where phase7 runs from a checkout."""
    package = Path(__file__).parents[1]
    carried = package / "_data"
    return carried if carried.is_dir() else package.parent / FOLDER


def _profile_folders(root: Path) -> Iterator[Path]:
    yield root / FOLDER / "profiles"
    yield packaged_data() / "profiles"
