"""What a profile declares beside its search and its test: what is read, the screen, and the answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from phase7.experiment.checked import bad_value, check_range, check_strengths
from phase7.vocabulary.readouts import (
    OWN_WORDS,
    contrast_metrics,
    log_likelihood_metric,
    pair_metric,
    readout_metrics,
)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two continuations of every prompt whose log-likelihoods are compared: target minus foil.

    They are told apart to the blank: most tokenizers want a space before the first word.

    Attributes
    ----------
    target, foil : str
        The continuations.
    name : str
        Stands in the metric's name; without one it is made of the words of both.
    """

    target: str
    foil: str
    name: str = ""

    def __post_init__(self) -> None:
        if not self.target or not self.foil or self.target == self.foil:
            raise bad_value("pairs", "a target and another foil, none empty", (self.target, self.foil))
        if not re.fullmatch(r"\w+", self.metric_name):
            raise bad_value(
                "pairs", "a name of letters, digits and _", self.metric_name or "no word to name by"
            )

    @property
    def metric_name(self) -> str:
        """What the pair is called in the metric's name, e.g. ``"thank_you_no"``."""
        return self.name or "_".join(re.findall(r"\w+", f"{self.target} {self.foil}".lower()))


@dataclass(frozen=True, kw_only=True)
class Readouts:
    """What is read of the model's own distribution beside the text; nothing by default.

    Attributes
    ----------
    emotions : tuple of str
        Tables of ``data/keywords.toml`` whose words are token sets.
    words : tuple of str
        Words of one's own, a token set together.
    max_new_tokens : int
        Length of the path that all arms follow.
    continuations : int
        Of how many discovery prompts the model's own continuations make ``loglik_<emotion>``: those of
        emotion prompts against those of the neutral prompts they are matched with. 0: none.
    pairs : tuple of Pair
        Continuations of one's own, each a ``logdiff_<name>``.
    """

    emotions: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    max_new_tokens: int = 16
    continuations: int = 0
    pairs: tuple[Pair, ...] = ()

    @property
    def set_names(self) -> tuple[str, ...]:
        """Names of the token sets, in the order of their metrics."""
        return (*self.emotions, OWN_WORDS) if self.words else self.emotions

    def metrics(self, emotion: str) -> tuple[str, ...]:
        """Names of all read-outs of one emotion's group."""
        own = [log_likelihood_metric(emotion)] if self.continuations else []
        contrasts = [*own, *(pair_metric(pair.metric_name) for pair in self.pairs)]
        both = (metric for name in contrasts for metric in contrast_metrics(name))
        return (*readout_metrics(self.set_names), *both)

    def __post_init__(self) -> None:
        check_range(self, "max_new_tokens", 1, 100_000)
        check_range(self, "continuations", 0, 1_000_000)
        names = [pair.metric_name for pair in self.pairs]
        if len({*names}) < len(names):
            raise bad_value("pairs", "pairs that differ by name", names)
        if OWN_WORDS in self.emotions:
            raise bad_value(
                "emotions", f"other names than {OWN_WORDS!r}, which is your own set's", OWN_WORDS
            )
        if len(set(self.emotions)) != len(self.emotions):
            raise bad_value("emotions", "each emotion once", self.emotions)
        if not all(word.strip() for word in self.words):
            raise bad_value("words", "words, none blank", self.words)


@dataclass(frozen=True, kw_only=True)
class Circuit:
    """How the effects of the heads found reach the logits, and what these heads read.

    Measured on prompts of the confirmation with the emotion's words of [readouts] as the read-out.

    Attributes
    ----------
    heads : int
        How many of the heads that the sweep found, or of the target heads without one.
    n_prompts : int
        Recipients, and prompts of each kind whose attention is read; 0 means all of them.
    max_new_tokens : int
        Of each path, the first so many.
    """

    heads: int = 6
    n_prompts: int = 16
    max_new_tokens: int = 4

    def __post_init__(self) -> None:
        check_range(self, "heads", 1, 1_000)
        check_range(self, "n_prompts", 0, 1_000_000)
        check_range(self, "max_new_tokens", 1, 100_000)


@dataclass(frozen=True, kw_only=True)
class Screen:
    """The choice of the heads that a sweep patches, by an estimate of what each would do.

    All heads of the sweep's spec are estimated to first order; the first ones are then swept, and of the
    others some are patched as well, to tell what may have been missed.

    Attributes
    ----------
    by : {"attribution"}
        The estimate: gradient of the read-outs times what the patch changes.
    heads : int
        How many are chosen.
    gradient : {"plain", "integrated", "dropped"}
        Whether the gradient is taken in the unpatched run, at `steps` places of the way to the donor, or
        with one layer after the other left out of it (GradDrop), so that a head is not missed whose
        direct effect and the one through that layer cancel.
    steps : int
        Places of the way at which an integrated gradient is taken.
    checked_heads : int
        How many of the heads that are not chosen are patched one by one, drawn by the seed.
    confidence : float
        Of the bound on the largest effect among those.
    group : int
        How many of them are split into random halves at a time for that bound; 0: all together.
    """

    by: Literal["attribution"] = "attribution"
    heads: int = 20
    gradient: Literal["plain", "integrated", "dropped"] = "plain"
    steps: int = 5
    checked_heads: int = 20
    confidence: float = 0.95
    group: int = 0

    def __post_init__(self) -> None:
        check_range(self, "heads", 1, 100_000)
        check_range(self, "steps", 1, 1_000)
        check_range(self, "checked_heads", 0, 100_000)
        check_range(self, "confidence", 0.0, 0.999999, open_low=True)
        check_range(self, "group", 0, 100_000)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The search for one set of heads at one strength that moves the text, and its test.

    Candidates are the sweep's first sets at some strengths. They are patched on discovery prompts; of
    those whose texts still read as the baseline's (the fluency guards), the one that raises the first
    selection metric most is tested by text: on the confirmation prompts, and again with another seed on
    prompts that nothing has used.

    Attributes
    ----------
    sizes : tuple of int
        How many of the first heads a candidate patches.
    strengths : tuple of float
        At which strengths.
    write : {"replace", "add"}
        As that of the confirmation.
    n_prompts : int
        Discovery prompts on which candidates are compared, one sample each; 0 means all swept ones.
    samples : int
        Of every prompt in both tests; 0 means as in the sampling section.
    fresh_prompts : int
        Prompts of the second test; 0: none.
    """

    sizes: tuple[int, ...] = (10, 20, 40)
    strengths: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0)
    write: Literal["replace", "add"] = "replace"
    n_prompts: int = 0
    samples: int = 0
    fresh_prompts: int = 20

    def __post_init__(self) -> None:
        check_range(self, "n_prompts", 0, 1_000_000)
        check_range(self, "samples", 0, 10_000)
        check_range(self, "fresh_prompts", 0, 1_000_000)
        if not self.sizes or any(size < 1 for size in self.sizes):
            raise bad_value("sizes", "numbers of heads of at least 1", self.sizes)
        check_strengths(self.strengths)
        if not self.strengths:
            raise bad_value("strengths", "at least one", self.strengths)
