"""Stages without a model: a made-up model's facts, prompts and profiles, and entries that say what they are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from phase7.effects.scores import StageTexts, gather_texts
from phase7.experiment.declared import Pair, Readouts
from phase7.experiment.profile import Confirm, Engine, Profile, Sampling, Sweep
from phase7.experiment.prompts import PromptSet
from phase7.experiment.stages import Batch, Stage
from phase7.experiment.statistics import Statistics
from phase7.experiment.tested import confirm_stage, sweep_stage
from phase7.models.files import ModelFiles
from phase7.store import Store
from phase7.vocabulary.donors import DONOR_RECORDS, Choice
from phase7.vocabulary.metrics import METRICS

FILES = ModelFiles(
    name="made-up",
    folder=Path("made-up"),
    source="nowhere",
    revision=None,
    fingerprint="f" * 64,
    n_layers=3,
    n_heads=4,
    has_chat_template=True,
)


def prompts(name: str, n: int) -> PromptSet:
    """Prompts that say whose they are: "gratitude 0", "gratitude 1", …"""
    return PromptSet(name=name, path=f"{name}.json", prompts=tuple(f"{name} {i}" for i in range(n)))


NEUTRAL, GRATITUDE, ANGER = prompts("neutral", 7), prompts("gratitude", 4), prompts("anger", 4)

PROFILE = Profile(
    name="made-up",
    models=("made-up",),
    emotions=("gratitude",),
    sampling=Sampling(max_new_tokens=8, samples=2, seed=5),
    sweep=Sweep(modes=("result", "v_only")),
    confirm=Confirm(target_heads="0:1,2:3", lengths=(1, 5)),
    engine=Engine(max_rows=64),
)

#: The profile with read-outs that order the sweep's heads.
BY_READOUTS = replace(
    PROFILE,
    readouts=Readouts(words=("the",)),
    statistics=Statistics(selection_metrics=("logodds_words",)),
)


def changed(section: str, profile: Profile = PROFILE, **values: Any) -> Profile:
    """The profile with other values in one of its sections."""
    return replace(profile, **{section: replace(getattr(profile, section), **values)})


def sweep(
    profile: Profile = PROFILE,
    *,
    files: ModelFiles = FILES,
    neutral: PromptSet = NEUTRAL,
    emotion: PromptSet = GRATITUDE,
) -> Stage:
    """The sweep of a profile that has one."""
    stage = sweep_stage(profile, files, neutral, emotion)
    assert stage is not None
    return stage


def confirm(
    profile: Profile = PROFILE,
    *,
    files: ModelFiles = FILES,
    neutral: PromptSet = NEUTRAL,
    emotion: PromptSet = GRATITUDE,
    strongest: Any = (),
) -> Stage:
    """The confirmation of a profile."""
    return confirm_stage(profile, files, neutral, emotion, strongest)


def text(role: str, cell: Any, prompt: int, sample: int, length: int) -> str:
    """The text of one sample of an entry below; `cell` None for the baseline's."""
    place = "" if cell is None else f" {cell.label} {cell.mode}"
    return f"{role}{place}, prompt {prompt}, sample {sample}, {length} tokens"


def number(*names: object) -> float:
    """A number from 0 to 1, another for other names."""
    digest = hashlib.sha256("|".join(map(str, names)).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def kl_nats(role: str, cell: Any, prompt: int) -> float:
    """The KL of one patch of an entry below."""
    return number(role, cell.label, cell.mode, prompt)


def entry(stage: Stage, batch: Batch) -> dict[str, Any]:
    """What the store could hold for a batch, every text and number naming its place."""
    index, samples = batch.prompt_index, range(stage.sampling.samples)
    return {
        "texts": {
            length: {
                "baseline": [text("baseline", None, index, s, length) for s in samples],
                "patched": [
                    [text(role, cell, index, s, length) for s in samples] for role, cell in batch.patches
                ],
            }
            for length in (*stage.lengths, stage.sampling.max_new_tokens)
        },
        "baseline_tokens": np.zeros((len(samples), stage.sampling.max_new_tokens), dtype=np.int32),
        "patched_tokens": np.ones(
            (len(batch.patches), len(samples), stage.sampling.max_new_tokens), dtype=np.int32
        ),
        "kl_first_token_nats": [kl_nats(role, cell, index) for role, cell in batch.patches],
        "n_self_rows": len({cell.mode for _, cell in batch.patches}) * len(samples),
        "max_self_logit_gap": 0.0,
    }


#: For every setting of every section, values that are allowed and not the ones above. Tests of keys go
#: through this table, and one of them sees that no setting is missing here. Those of `NEED_READOUTS` are
#: allowed in `BY_READOUTS` alone.
NEED_READOUTS = ("sweep.text", "sweep.readouts", "sweep.halving", "confirm.curve")
OTHER_VALUES: dict[str, dict[str, tuple[Any, ...]]] = {
    "sampling": {
        "max_new_tokens": (7, 9),
        "temperature": (0.0, 0.7),
        "top_p": (0.5, 1.0),
        "samples": (1, 3),
        "seed": (0, 6),
    },
    "patching": {
        "donor": ("paired", "self", "neutral", "zero"),
        "control": ("shuffled", "none"),
        "positions": ("last", "all", "step:1", "prompt:-2"),
        "primary_mode": ("v_only", "pattern_v"),
        "use_attn_result": (True,),
        "against": (("anger",),),
    },
    "sweep": {
        "heads": ("0:*", "0:1"),
        "modes": (("result",), ("pattern_v",)),
        "n_prompts": (1, 2),
        "max_new_tokens": (3, 4),
        "text": (False,),
        "readouts": ("attribution",),
        "checked_heads": (0, 3),
        "halving": ((1,), (1, 2)),
    },
    "confirm": {
        "target_heads": ("0:1", "1:1,1:2"),
        "head_sets": (("0:0,0:1",),),
        "strongest": (2,),
        "strongest_sets": ((2,), (2, 3)),
        "random_sets": (1, 2),
        "random_heads": (1, 3),
        "curve": ((1,), (1, 2)),
        "curve_random_sets": (0, 3),
        "curve_prompts": (1, 2),
        "positive_controls": (False,),
        "against_text": (False,),
        "alone": (False,),
        "guard_samples": (0, 2),
        "strengths": ((0.5,), (0.5, 2.0)),
        "write": ("add",),
        "modes": (("result",), ("v_only", "pattern_v")),
        "n_prompts": (1, 2),
        "lengths": ((), (2,)),
    },
    "readouts": {
        "emotions": (("gratitude",), ("gratitude", "anger")),
        "words": (("is",), ("is", "on")),
        "max_new_tokens": (4, 8),
        "continuations": (1, 2),
        "pairs": ((Pair(target=" a", foil=" b"),),),
    },
    "statistics": {
        "alpha": (0.01,),
        "primary_metrics": (("politeness",),),
        "primary_modes": (("result",),),
        "resamples": (500,),
        "looks": ((2,), (2, 3)),
        "spending": ("pocock",),
        "selection_metrics": (("politeness",), ("sentiment_positive",)),
    },
    "prompts": {
        "neutral": ("data/other_prompts.json",),
        "emotion": ("data/more_{emotion}_prompts.json",),
        "format": ("raw", "chat"),
        "system": ("Be brief.",),
        "template": ((("enable_thinking", False),),),
        "date": ("2025-01-31",),
        "column": ("text",),
        "scenarios": ("topic",),
    },
    "engine": {"device": ("cuda", "mps"), "dtype": ("bfloat16",), "max_rows": (32, 500)},
}


class Numbers(dict[str, np.ndarray]):
    """Scores of texts by text: numbers of its own for every text and metric, given on demand."""

    def __missing__(self, text: str) -> np.ndarray:
        self[text] = np.array([number(text, metric) for metric in METRICS])
        return self[text]


def gather(stage: Stage) -> StageTexts:
    """All texts of a stage's entries above, taken in batch by batch."""
    return gather_texts(stage, [(batch, entry(stage, batch)) for batch in stage.batches()])


class NotedStore(Store):
    """A store in memory that answers with `answer(stage, key)` and notes in `asked` what it was asked."""

    def __init__(self, root: Path, answer: Callable[[str, dict[str, Any]], Any]) -> None:
        super().__init__(root, on_damage=lambda line: None)
        self.answer = answer
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def has(self, stage: str, key: dict[str, Any]) -> bool:
        """Whether it was asked for before."""
        return (stage, key) in self.asked

    def get(self, stage: str, key: dict[str, Any], compute: Callable[[], Any]) -> Any:
        """The answer; nothing is computed."""
        self.asked.append((stage, key))
        return self.answer(stage, key)


def shuffled_prompts(emotion: PromptSet, neutral: PromptSet, seed: int) -> PromptSet:
    """The prompts that the kind `shuffled` draws, whatever the recipient."""
    record = DONOR_RECORDS["shuffled"]
    assert record.prompts is not None and not record.by_recipient
    choice = Choice(emotion=emotion.prompts, neutral=neutral.prompts, recipient=0, seed=seed)
    return PromptSet(name="shuffled", path="", prompts=record.prompts(choice))
