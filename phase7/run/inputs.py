"""What a run reads: its prompts and its models' files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from phase7.experiment.data_files import find_data
from phase7.experiment.profile import Profile
from phase7.experiment.prompt_tables import is_prompt_file
from phase7.experiment.prompts import PromptSet, load_prompts, paired
from phase7.experiment.word_families import load_families
from phase7.models.files import ModelFiles, find_model, require_heads
from phase7.vocabulary.names import plain_name, require_distinct


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """What a run reads before any model: its prompts, and words of its emotions.

    Attributes
    ----------
    neutral : PromptSet
    emotions : mapping of str to PromptSet
        By the name that the profile gives the emotion.
    against : mapping of str to PromptSet
        The same of emotions whose donors are controls alone.
    words : mapping of str to tuple of str
        By the name of the emotion's prompt set, all forms of the emotion's words in alphabetical order;
        an emotion of which no words are kept is not there.
    """

    neutral: PromptSet
    emotions: Mapping[str, PromptSet]
    against: Mapping[str, PromptSet] = field(default_factory=dict)
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def every_emotion(self) -> tuple[PromptSet, ...]:
        """The prompts of all emotions; those that are controls alone stand last."""
        return (*self.emotions.values(), *self.against.values())


@dataclass(frozen=True, kw_only=True)
class AtHand:
    """What a caller has read already, in place of what a profile names.

    Attributes
    ----------
    prompts : Prompts or None
    models : tuple of ModelFiles
        Empty for those that the profile names.
    """

    prompts: Prompts | None = None
    models: tuple[ModelFiles, ...] = ()


def read_prompts(profile: Profile, root: Path) -> Prompts:
    """Read the profile's prompt files and its emotions' words, of `root` or else packaged.

    Raises
    ------
    UserError
        If a file cannot be used, or two emotions would have the same name in results.
    """
    neutral = _load(profile, profile.prompts.neutral, root)
    emotions = {name: _emotion_prompts(profile, name, root) for name in profile.emotions}
    emotions = {name: paired(one, neutral) for name, one in emotions.items()}
    named = (name for name in profile.patching.against if name not in emotions)
    against = {name: _other_prompts(profile, name, root) for name in named}
    return with_words(neutral, emotions, against, root)


def with_words(
    neutral: PromptSet,
    emotions: Mapping[str, PromptSet],
    against: Mapping[str, PromptSet],
    root: Path,
) -> Prompts:
    """Prompts with their emotions' words, of `root` or else packaged.

    Raises
    ------
    UserError
        If two emotions would have the same name in results, or the words cannot be read.
    """
    names = [prompts.name for prompts in emotions.values()]
    require_distinct("emotions", [*names, *(prompts.name for prompts in against.values())])
    families = load_families(find_data("data/keywords.toml", root), names, is_strict=False)
    words = {name: tuple(sorted(forms)) for name, forms in families.items()}
    return Prompts(neutral=neutral, emotions=emotions, against=against, words=words)


def others_of(profile: Profile, prompts: Prompts, emotion: PromptSet) -> list[PromptSet]:
    """The prompts of the other emotions that an emotion is compared with."""
    known = {**prompts.emotions, **prompts.against}
    (name,) = (name for name, one in prompts.emotions.items() if one is emotion)
    return [known[other] for other in profile.others(name)]


def fetch_models(
    profile: Profile, store_root: Path, *, show_progress: bool, tell: Callable[[str], None]
) -> list[ModelFiles]:
    """Find the profile's models, in its order, and download those that are not here.

    Parameters
    ----------
    profile : Profile
    store_root : Path
        A store, whose ``models`` are used where there are some.
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


def _load(profile: Profile, path: str, root: Path) -> PromptSet:
    prompts = profile.prompts
    return load_prompts(find_data(path, root), column=prompts.column, ids=prompts.scenarios)


def _emotion_prompts(profile: Profile, name: str, root: Path) -> PromptSet:
    path = profile.prompts.emotion.replace("{emotion}", name)
    return replace(_load(profile, path, root), name=plain_name(name))


def _other_prompts(profile: Profile, name: str, root: Path) -> PromptSet:
    """The prompts of an emotion that is a control, by its name or its own file."""
    if not is_prompt_file(name, root):
        return _emotion_prompts(profile, name, root)
    prompts = _load(profile, name, root)
    return replace(prompts, name=plain_name(prompts.name))
