"""The plan of a stage's read-outs: which words and paths are read, and the key of every memo entry.

All arms of a prompt follow one path, the recipient's own unpatched continuation, which is an entry of
its own; the batches that read along it are the stage's patches, cut as its generations are. Keys hold
words and not tokens: the tokenizer that turns one into the other belongs to the model's fingerprint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phase7.experiment.data_files import find_data
from phase7.experiment.profile import Profile
from phase7.experiment.stages import ENGINE_VERSION, Batch, Stage
from phase7.experiment.word_families import load_families
from phase7.vocabulary.readouts import OWN_WORDS, readout_metrics


@dataclass(frozen=True, kw_only=True)
class WordSet:
    """The words of one token set.

    Attributes
    ----------
    name : str
        In the metric's name.
    words : tuple of str
        In alphabetical order.
    is_strict : bool
        Whether a word that is no single token is refused; else it is left out.
    """

    name: str
    words: tuple[str, ...]
    is_strict: bool


def word_sets(profile: Profile, root: Path) -> tuple[WordSet, ...]:
    """The sets that a profile reads: its emotions' words from ``data/keywords.toml``, then its own.

    Raises
    ------
    UserError
        If the file lacks one of the emotions.
    """
    wanted = profile.readouts
    families = load_families(find_data("data/keywords.toml", root), wanted.emotions)
    sets = [
        WordSet(name=name, words=tuple(sorted(families[name])), is_strict=False)
        for name in wanted.emotions
    ]
    if wanted.words:
        own = tuple(sorted({word.strip() for word in wanted.words}))
        sets.append(WordSet(name=OWN_WORDS, words=own, is_strict=True))
    return tuple(sets)


@dataclass(frozen=True, kw_only=True)
class ReadoutPlan:
    """What is read of one stage.

    Attributes
    ----------
    stage : Stage
    sets : tuple of WordSet
        At least one.
    along : Stage or None
        The stage whose recipients' unpatched continuations are followed, where not this one.
    """

    stage: Stage
    sets: tuple[WordSet, ...]
    along: Stage | None = None

    @property
    def _followed(self) -> Stage:
        return self.along or self.stage

    def path_prompt(self, index: int) -> str:
        """The prompt whose continuation a recipient follows."""
        return self._followed.neutral.prompts[index]

    def continued_in(self, index: int) -> Batch | None:
        """The batch whose baseline is a recipient's path.

        None where texts are shorter, or are not made: the path is then an entry of its own, with the
        same noise.
        """
        stage = self._followed
        length = stage.profile.readouts.max_new_tokens
        if not stage.has_text or stage.sampling.max_new_tokens < length:
            return None
        return stage.batch(index, stage.pieces(stage.sampling.samples)[0])

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the read-outs, in the order of every array of them."""
        return readout_metrics(self.stage.profile.readouts.set_names)

    def path_key(self, index: int) -> dict[str, Any]:
        """The key of a recipient's path, or what holds it in other keys."""
        batch = self.continued_in(index)
        if batch is not None:
            return {"baseline": batch.key, "path": self.stage.profile.readouts.max_new_tokens}
        return continuation_key(self.stage, self.path_prompt(index))

    def identity(self, index: int) -> dict[str, Any]:
        """What tells a recipient's read-outs from others in keys: an entry lists its metrics in order.

        The store sorts the names of what a key holds, so several sets need their order beside them.
        """
        sets: dict[str, Any] = {"sets": {one.name: [*one.words] for one in self.sets}}
        order = {"order": [*sets["sets"]]} if len(self.sets) > 1 else {}
        return {**self.path_key(index), **sets, **order}

    def batches(self) -> Iterator[Batch]:
        """All batches, prompt by prompt; each is one memo entry."""
        return batches_along(self.stage, self._way, self.stage.profile.readouts.max_new_tokens)

    def _way(self, index: int) -> dict[str, Any]:
        """What tells a recipient and its path from others in the keys of batches."""
        recipient, path = self.stage.neutral.prompts[index], self.path_prompt(index)
        if recipient == path:
            return self.identity(index)
        both = self.stage.files.tokens_key(path, recipient)
        return {**self.identity(index), "recipient": recipient, **both}


def batches_along(
    stage: Stage, identity: Callable[[int], dict[str, Any]], n_tokens: int
) -> Iterator[Batch]:
    """A stage's patches in batches that are read along given tokens, prompt by prompt.

    Parameters
    ----------
    identity : callable
        From a recipient to what tells what is read of it from others in keys.
    n_tokens : int
        Tokens that every row follows.
    """
    pieces = stage.pieces(1)
    for index in stage.recipients:
        own = identity(index)
        for patches in pieces:
            n_rows = stage.n_rows(len(patches), 1)
            yield Batch(
                prompt_index=index,
                prompt=stage.neutral.prompts[index],
                patches=patches,
                key={**own, **stage.intervention(index, patches)},
                n_rows=n_rows,
                n_tokens=n_rows * n_tokens,
            )


def continuation_key(stage: Stage, prompt: str) -> dict[str, Any]:
    """The key of the unpatched model's continuation of a prompt, as long as the stage's paths."""
    sampling, engine = stage.sampling, stage.profile.engine
    return {
        "engine": ENGINE_VERSION,
        "model": stage.files.fingerprint,
        "format": stage.prompt_format,
        "prompt": prompt,
        **stage.files.tokens_key(prompt),
        "max_new_tokens": stage.profile.readouts.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "device": engine.device,
        "dtype": engine.dtype,
    }


def readout_plan(stage: Stage, root: Path, along: Stage | None = None) -> ReadoutPlan | None:
    """The plan of what is read of words; None where the profile declares none."""
    sets = word_sets(stage.profile, root)
    return ReadoutPlan(stage=stage, sets=sets, along=along) if sets else None
