"""What a run reads: its prompts and its models' files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from phase7.experiment.data_files import find_data
from phase7.experiment.profile import Profile
from phase7.experiment.prompts import PromptSet, load_prompts
from phase7.models.files import ModelFiles, find_model, require_heads
from phase7.vocabulary.names import plain_name, require_distinct


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """The neutral prompts, and each emotion's by the name that the profile gives it."""

    neutral: PromptSet
    emotions: Mapping[str, PromptSet]


def read_prompts(profile: Profile, root: Path) -> Prompts:
    """Read the profile's prompt files, of `root` or else packaged.

    Raises
    ------
    UserError
        If a file cannot be used, or two emotions would have the same name in results.
    """
    neutral = load_prompts(find_data(profile.prompts.neutral, root))
    emotions = {name: _emotion_prompts(profile, name, root) for name in profile.emotions}
    require_distinct("emotions", [prompts.name for prompts in emotions.values()])
    return Prompts(neutral=neutral, emotions=emotions)


def fetch_models(
    profile: Profile, store_root: Path, *, show_progress: bool, tell: Callable[[str], None]
) -> list[ModelFiles]:
    """Find the profile's models, in its order, and download those that are not here.

    Parameters
    ----------
    profile : Profile
    store_root : Path
        Where converted models are kept.
    show_progress : bool
        Draw progress bars on stderr while downloading.
    tell : callable
        Called with a line that a user should see even where progress is not wanted.

    Raises
    ------
    UserError
        If a model cannot be found, fetched or used, or two would have the same name in results.
    """
    models = [
        find_model(name, store_root=store_root, show_progress=show_progress, tell=tell)
        for name in profile.models
    ]
    for files in models:
        require_heads(files)
    require_distinct("models", [files.name for files in models])
    return models


def _emotion_prompts(profile: Profile, name: str, root: Path) -> PromptSet:
    path = profile.prompts.emotion.replace("{emotion}", name)
    prompts = load_prompts(find_data(path, root))
    return PromptSet(name=plain_name(name), path=prompts.path, prompts=prompts.prompts)
