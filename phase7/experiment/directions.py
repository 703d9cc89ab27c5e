"""The keys of what is computed of donors and weights alone: the lens, and a set's vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from phase7.experiment.stages import ENGINE_VERSION, Stage
from phase7.vocabulary.heads import Head, format_heads

#: Raise it when a lens entry would hold something else for the same plan. Keys once had no version: 1.
LENS_VERSION = 3
#: The same of a vector.
VECTOR_VERSION = 1


def lens_key(stage: Stage, heads: Sequence[Head], words: Sequence[str]) -> dict[str, Any]:
    """The key of what the donors promote through some heads, and of the emotion's `words` among it."""
    return {"lens": LENS_VERSION, **_donors(stage, heads), "words": sorted(words)}


def vector_key(stage: Stage, heads: Sequence[Head]) -> dict[str, Any]:
    """The key of what some heads write more for the emotion."""
    return {"vector": VECTOR_VERSION, **_donors(stage, heads)}


def _donors(stage: Stage, heads: Sequence[Head]) -> dict[str, Any]:
    engine = stage.profile.engine
    return {
        "engine": ENGINE_VERSION,
        "model": stage.files.fingerprint,
        "format": stage.prompt_format,
        **stage.files.tokens_key(*stage.emotion.prompts, *stage.neutral.prompts),
        "heads": format_heads(tuple(heads)),
        "emotion": stage.emotion.digest,
        "neutral": stage.neutral.digest,
        "device": engine.device,
        "dtype": engine.dtype,
    }
