"""What a profile declares to be read of the model's own distribution."""

from __future__ import annotations

import re
from dataclasses import dataclass

from phase7.experiment.checked import bad_value, check_range
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

    They are told apart to the blank: most tokenizers want a space before the first word. `name` stands
    in the metric's name; without one it is made of the words of both.
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
