"""Where the models lie that phase7 fetches and converts itself: once for a user, not in every project.

Models of the Hugging Face hub lie in the hub's own cache, and a folder of the user's stays where it is.
"""

from __future__ import annotations

import os
from pathlib import Path


def models_folder() -> Path:
    """Where a converted model is written.

    The environment's ``PHASE7_MODELS``; else ``models`` in its ``PHASE7_STORE``; else ``models`` in the
    folder of phase7 in the user's cache, which is ``$XDG_CACHE_HOME/phase7`` or ``~/.cache/phase7`` on
    Linux, and on other systems what they have for it.
    """
    if named := os.environ.get("PHASE7_MODELS"):
        return Path(named)
    if store := os.environ.get("PHASE7_STORE"):
        return Path(store) / "models"
    import platformdirs

    return Path(platformdirs.user_cache_path("phase7", appauthor=False)) / "models"


def converted_folder(name: str, store_root: Path) -> Path:
    """Where a converted model lies: in a store that has it already, else in :func:`models_folder`.

    Parameters
    ----------
    name : str
        Of the folder.
    store_root : Path
        A project's store, in which older versions kept the models too.
    """
    kept = store_root / "models" / name
    return kept if kept.is_dir() else models_folder() / name
