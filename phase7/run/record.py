"""The record of a finished run, and by it the answer whether its outputs are still up to date.

The record (``run.json``) holds a digest of everything that determines the outputs, and the SHA-256 of
every file that was written. As long as both are unchanged there is nothing to do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import phase7
from phase7.experiment.profile import Profile
from phase7.experiment.stages import ENGINE_VERSION
from phase7.models.facts import ModelFacts
from phase7.run.inputs import Prompts
from phase7.run.progress import in_minutes
from phase7.scoring.base import Scorer
from phase7.store import write_text
from phase7.store.sums import file_sum

#: Raise it when effects, report or figures would differ for the same generations.
ANALYSIS_VERSION = 8


@dataclass(kw_only=True)
class Outcome:
    """What a run did."""

    up_to_date: bool
    written: list[Path] = field(default_factory=list)
    n_computed: dict[str, int] = field(default_factory=dict)
    n_hits: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    stage_seconds: dict[str, float] = field(default_factory=dict)


def inputs_digest(
    profile: Profile,
    lang: str,
    prompts: Prompts,
    models: Iterable[ModelFacts],
    scorers: Iterable[Scorer],
) -> str:
    """SHA-256 (hex) of everything that determines the outputs.

    Parameters
    ----------
    profile : Profile
        As the user gave it: a number of rows that is left to the free memory determines nothing.
    lang : str
        The report's language.
    prompts : Prompts
    models : iterable of ModelFacts
    scorers : iterable of Scorer
    """
    whole = {
        "phase7": phase7.__version__,
        "engine": ENGINE_VERSION,
        "analysis": ANALYSIS_VERSION,
        "profile": profile.as_dict(),
        "lang": lang,
        "neutral": prompts.neutral.digest,
        "emotions": {name: one.digest for name, one in prompts.emotions.items()},
        "against": {name: one.digest for name, one in prompts.against.items()},
        "words": {name: list(forms) for name, forms in prompts.words.items()},
        "models": {model.name: model.fingerprint for model in models},
        "scorers": [[scorer.name, scorer.version] for scorer in scorers],
    }
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def is_up_to_date(path: Path, inputs: str, outputs: Sequence[Path]) -> bool:
    """Whether the last run had the same inputs and every file it wrote is still as it was.

    Parameters
    ----------
    path : Path
        The record of the last run; a record that is missing or cannot be read answers no.
    inputs : str
        What :func:`inputs_digest` says now.
    outputs : sequence of Path
        Files that must be among those the last run wrote.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        files = record["files"]
        return (
            record["inputs"] == inputs
            and all(str(output) in files for output in outputs)
            and all(file_sum(Path(name)) == digest for name, digest in files.items())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def time_in_words(name: str, record: Path, known: str = "") -> str:
    """What the last run of a profile took, in a line; how to measure it where there was none.

    Parameters
    ----------
    name : str
        The profile's name or file, as it was read.
    record : Path
        Of its last run.
    known : str
        What is known without one (:func:`phase7.run.timed.timed_elsewhere`,
        :func:`phase7.run.estimated.estimate_in_words`).
    """
    try:
        last = json.loads(record.read_text(encoding="utf-8"))
        seconds, n_computed = float(last["seconds"]), sum(last["entries_computed"].values())
        n_kept = sum(last["entries_from_store"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        before = known or "not known before a run here"
        return f"time: {before}; `phase7 plan {name} --budget 30m` measures it here on a few prompts"
    return (
        f"time: the last run took {in_minutes(seconds)}, with {n_computed} entries computed and {n_kept}"
        " from the store"
    )


def write_record(path: Path, inputs: str, outcome: Outcome, provenance: Mapping[str, Any]) -> None:
    """Write the record of a run that has written all its files.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    whole = {
        "inputs": inputs,
        "files": {str(written): file_sum(written) for written in outcome.written},
        "entries_computed": outcome.n_computed,
        "entries_from_store": outcome.n_hits,
        "seconds": round(outcome.seconds, 1),
        "stage_seconds": outcome.stage_seconds,
        "self_check": provenance["self_check"],
        "created_at": provenance["created_at"],
    }
    write_text(path, json.dumps(whole, indent=2, sort_keys=True) + "\n")
