"""The plan of a stage's contrasts: how much likelier some continuations become than others.

All arms of a prompt read the same continuations: a text of one's own, or what the unpatched model says
after a prompt of the discovery half, with the stage's sampling and the noise of that prompt. Each
contrast of each batch is an entry of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phase7.experiment.readouts import ReadoutPlan, batches_along, continuation_key, readout_plan
from phase7.experiment.splits import discovery_half
from phase7.experiment.stages import ENGINE_VERSION, Batch, Stage
from phase7.vocabulary.readouts import contrast_metrics, log_likelihood_metric, pair_metric


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """Tokens that are forced after a recipient's prompt.

    Attributes
    ----------
    text : str
        What is said, or the prompt after which the unpatched model says it.
    is_generated : bool
        Whether `text` is such a prompt.
    """

    text: str
    is_generated: bool


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """A read-out: the mean log-likelihood of some continuations minus that of others, in nats.

    Attributes
    ----------
    name : str
        The metric.
    targets, foils : tuple of Continuation
        At least one of each.
    by_token : bool
        Whether each continuation counts by its mean over tokens; else by the sum, which is the
        log-probability of the whole.
    """

    name: str
    targets: tuple[Continuation, ...]
    foils: tuple[Continuation, ...]
    by_token: bool


@dataclass(frozen=True, kw_only=True)
class ContrastPlan:
    """One contrast of one stage."""

    stage: Stage
    contrast: Contrast

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the read-outs, in the order of every array of them."""
        return contrast_metrics(self.contrast.name)

    @property
    def continuations(self) -> tuple[Continuation, ...]:
        """Targets, then foils."""
        return (*self.contrast.targets, *self.contrast.foils)

    def identity(self, index: int) -> dict[str, Any]:
        """What tells a recipient's contrast from others in keys."""
        stage, contrast = self.stage, self.contrast
        return {
            "engine": ENGINE_VERSION,
            "model": stage.files.fingerprint,
            "format": stage.prompt_format,
            "prompt": stage.neutral.prompts[index],
            **stage.files.tokens_key(stage.neutral.prompts[index]),
            "targets": self._keys(contrast.targets),
            "foils": self._keys(contrast.foils),
            "by_token": contrast.by_token,
            "device": stage.profile.engine.device,
            "dtype": stage.profile.engine.dtype,
        }

    def _keys(self, continuations: Sequence[Continuation]) -> list[Any]:
        return [
            continuation_key(self.stage, one.text) if one.is_generated else one.text
            for one in continuations
        ]

    def batches(self) -> Iterator[Batch]:
        """All batches, prompt by prompt; each is one memo entry."""
        length = self.stage.profile.readouts.max_new_tokens
        n_tokens = sum(
            length if one.is_generated else len(one.text.split()) for one in self.continuations
        )
        return batches_along(self.stage, self.identity, n_tokens)


#: What is read of one stage in one go.
ReadingPlan = ReadoutPlan | ContrastPlan


def reading_plans(stage: Stage, root: Path, along: Stage | None = None) -> list[ReadingPlan]:
    """All that a profile declares to be read of a stage, in the order of the metric axis.

    Nothing of an answer's rivals: their texts alone are compared.

    Parameters
    ----------
    root : Path
        Where ``data/`` lies.
    along : Stage, optional
        The stage whose recipients' continuations are the paths, where not this one.

    Raises
    ------
    UserError
        If ``data/keywords.toml`` lacks one of the emotions.
    """
    if stage.name == "rivals":
        return []
    of_words = readout_plan(stage, root, along)
    return [*([] if of_words is None else [of_words]), *contrast_plans(stage, along)]


def contrast_plans(stage: Stage, along: Stage | None = None) -> list[ContrastPlan]:
    """A stage's contrasts: that of the emotion's continuations, then those of one's own pairs.

    The continuations follow prompts of the discovery half alone, emotion prompts and the neutral prompts
    of the same index, as far as there are both. They are those of `along`, if it is given.
    """
    wanted, contrasts, source = stage.profile.readouts, [], along or stage
    if wanted.continuations:
        matched = min(len(source.emotion.prompts), len(source.neutral.prompts))
        indices = [i for i in discovery_half(source.neutral) if i < matched][: wanted.continuations]
        emotion, neutral = (
            tuple(Continuation(text=one.prompts[i], is_generated=True) for i in indices)
            for one in (source.emotion, source.neutral)
        )
        name = log_likelihood_metric(source.emotion.name)
        contrasts.append(Contrast(name=name, targets=emotion, foils=neutral, by_token=True))
    for pair in wanted.pairs:
        target, foil = (Continuation(text=one, is_generated=False) for one in (pair.target, pair.foil))
        name = pair_metric(pair.metric_name)
        contrasts.append(Contrast(name=name, targets=(target,), foils=(foil,), by_token=False))
    return [ContrastPlan(stage=stage, contrast=contrast) for contrast in contrasts]
