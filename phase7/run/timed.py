"""What a packaged profile took where it was timed, for those who have not run it yet."""

from __future__ import annotations

import json
from pathlib import Path

from phase7.experiment.data_files import packaged_data
from phase7.experiment.profile import profile_path
from phase7.run.progress import in_minutes
from phase7.store.reading import read_text
from phase7.store.sums import file_sum

#: By profile: the SHA-256 of its file, the seconds of a run that found nothing in the store, and where.
_TIMES = Path("profiles") / "times.json"


def timed_elsewhere(name: str, root: Path) -> str:
    """How long a profile took where it was timed; empty where it never was, as its file is now.

    Parameters
    ----------
    name : str
        The profile's name or file, as it was read.
    root : Path
        The project's folder.
    """
    path = profile_path(name, root)
    try:
        one = json.loads(read_text(packaged_data() / _TIMES))[path.stem]
        if one["sha256"] != file_sum(path):
            return ""
        taken, where = in_minutes(one["seconds"]), f"{one['processors']} processors ({one['processor']})"
    except (OSError, ValueError, KeyError):
        return ""
    return f"{taken} on {where}, the model's download apart, where this profile was timed"
