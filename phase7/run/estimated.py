"""What a run takes that has not run yet, by what the same kinds of work took where they were measured.

The measured rates are SmolLM2's (`tests/programs/measurements/rates.py` makes them from the records of
runs). They are scaled by the model's weights and by the batches that are computed at once. That leaves
out how fast the processor is, and how far rows share layers: a rough guess, in minutes or in hours.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from phase7.experiment.data_files import packaged_data
from phase7.models.facts import ModelSizes
from phase7.run.progress import in_minutes
from phase7.store.reading import read_text

RATES = Path("profiles") / "rates.json"


@dataclass(frozen=True, kw_only=True)
class Work:
    """What there is to do, counted.

    Attributes
    ----------
    captures : int
        Prompts of which donors may be made.
    swept_tokens : int
        Tokens of the texts of a sweep, whose rows have much in common.
    texts, text_tokens : int
        Batches of other texts, and tokens of all their rows.
    guarded : int
        Batches of texts whose fluency is looked at.
    readings, read_tokens : int
        Batches of read-outs, and tokens of all their rows.
    gradients : int
        Prompts, once for each read-out plan, of which effects are predicted.
    circuits : int
        Prompts on which a circuit is taken apart.
    groups : int
        (model, emotion), each of which has its statistics, figures and pages.
    is_certain : bool
        Whether no more texts are counted than there are to do.
    """

    captures: int = 0
    swept_tokens: int = 0
    texts: int = 0
    text_tokens: int = 0
    guarded: int = 0
    readings: int = 0
    read_tokens: int = 0
    gradients: int = 0
    circuits: int = 0
    groups: int = 0
    is_certain: bool = True

    def __add__(self, other: Work) -> Work:
        sums = {name: n + other.counts[name] for name, n in self.counts.items()}
        return Work(**sums, is_certain=self.is_certain and other.is_certain)

    @property
    def counts(self) -> dict[str, int]:
        """By kind."""
        return {name: n for name, n in asdict(self).items() if name != "is_certain"}


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Seconds for one of each kind of :class:`Work`, and where they were measured.

    Attributes
    ----------
    seconds : dict of str to float
        By the attributes of :class:`Work`; of a model with so many `weights`, with so many `processors`.
    weights : int
    processors : int
    processor : str
    """

    seconds: dict[str, float]
    weights: int
    processors: int
    processor: str

    def of(self, work: Work, n_weights: int, n_at_once: int) -> float:
        """Seconds for some work with another model, and another number of batches at once."""
        larger, slower = n_weights / self.weights, self.processors / n_at_once
        each: dict[str, float] = {name: n * self.seconds[name] for name, n in work.counts.items()}
        whatever_the_model = each.pop("groups")
        return sum(each.values()) * larger * slower + whatever_the_model


def measured_rates() -> Rates:
    """Those that come with the package."""
    return Rates(**json.loads(read_text(packaged_data() / RATES)))


def n_weights(sizes: ModelSizes) -> int:
    """The weights of a model, by the size of its files."""
    return sizes.weights_bytes // (2 if sizes.is_half else 4)


def estimate_in_words(seconds: float) -> str:
    """An estimate, and how good it is."""
    where = measured_rates().processor
    return (
        f"about {in_minutes(seconds)} at the speed of {where}, maybe half or twice that, downloads apart"
    )
