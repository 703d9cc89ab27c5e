"""The configuration of a run: frozen records, and the TOML profile that maps onto them.

An unknown key, a value of another type and a value out of range are refused, each with its place in the
file.
"""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from phase7.experiment.data_files import FOLDER, find_data, profile_names
from phase7.store.reading import read_whole
from phase7.vocabulary.donors import DONOR_RECORDS, ControlKind, DonorKind
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.metrics import METRICS
from phase7.vocabulary.modes import MODES, Mode, Positions
from phase7.vocabulary.readouts import OWN_WORDS, has_direction, is_readout, readout_metrics

PromptFormat = Literal["auto", "raw", "chat"]

#: In paths and names of metrics, the place of an emotion's name.
_EMOTION = "{emotion}"


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How both arms decode. `temperature` 0 is greedy; `seed` enters only the shared noise."""

    max_new_tokens: int = 30
    temperature: float = 0.8
    top_p: float = 0.9
    samples: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self, "max_new_tokens", 1, 100_000)
        _check(self, "temperature", 0.0, 100.0)
        _check(self, "top_p", 0.0, 1.0, open_low=True)
        _check(self, "samples", 1, 10_000)
        _check(self, "seed", 0, 2**63 - 1)


@dataclass(frozen=True, kw_only=True)
class Patching:
    """What is transplanted where.

    `control` is the donor that replaces a head's output without the emotion: ``neutral``, the mean
    over the other neutral prompts; ``shuffled``, the mean over as many prompts as the emotion has,
    drawn from emotion and neutral prompts together; or ``none``.
    """

    donor: DonorKind = "mean"
    control: ControlKind = "neutral"
    positions: Positions = "generated"
    primary_mode: Mode = "result"
    use_attn_result: bool = False


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The search: every head of `heads` alone, on the discovery prompts.

    Attributes
    ----------
    heads : str
        Head spec, or ``all``.
    n_prompts : int
        0 means all of them.
    max_new_tokens : int
        Of the texts; 0 means as in the sampling section.
    text : bool
        Whether texts are generated and scored; without them heads are ordered by read-outs alone.
    readouts : {"exact", "attribution"}
        Whether every head is patched to measure the read-outs, or its effect is predicted from their
        gradient, which is many times faster.
    """

    heads: str = "all"
    modes: tuple[Mode, ...] = ("result",)
    n_prompts: int = 0
    max_new_tokens: int = 0
    text: bool = True
    readouts: Literal["exact", "attribution"] = "exact"

    def __post_init__(self) -> None:
        _check(self, "n_prompts", 0, 1_000_000)
        _check(self, "max_new_tokens", 0, 100_000)
        _check_modes(self.modes)


@dataclass(frozen=True, kw_only=True)
class Confirm:
    """The test: named heads alone and together, and the sweep's strongest, on the other prompts.

    Attributes
    ----------
    target_heads : str
        Head spec; every head is tested alone and, if there are several, all together as one set. Empty:
        no head is named, and the largest of `strongest_sets` is what the report tells most of.
    head_sets : tuple of str
        Further specs, each tested as one joint set.
    strongest : int
        How many of the sweep's strongest heads to add, each alone.
    strongest_sets : tuple of int
        Numbers k: the sweep's first k heads are tested together, without being tested alone for it.
    random_sets : int
        How many random sets of each of those sizes to test beside them, drawn by the seed from the swept
        heads that are not among the first k.
    random_heads : int
        How many heads drawn at random (by the seed) to add as a control for the choice of heads.
    positive_controls : bool
        Whether prompting and the shift of all heads are measured on the same prompts.
    lengths : tuple of int
        Continuation lengths in tokens at which the text is also scored; the full length always is.
    """

    target_heads: str = "3:5,7:2"
    head_sets: tuple[str, ...] = ()
    strongest: int = 0
    strongest_sets: tuple[int, ...] = ()
    random_sets: int = 0
    random_heads: int = 0
    positive_controls: bool = True
    modes: tuple[Mode, ...] = MODES
    n_prompts: int = 0
    lengths: tuple[int, ...] = (1, 5, 10)

    def __post_init__(self) -> None:
        _check(self, "strongest", 0, 100_000)
        _check(self, "random_heads", 0, 100_000)
        _check(self, "random_sets", 0, 1_000)
        if any(size < 2 for size in self.strongest_sets):
            raise _bad("strongest_sets", "numbers of heads of at least 2", self.strongest_sets)
        _check(self, "n_prompts", 0, 1_000_000)
        _check_modes(self.modes)
        if any(length < 1 for length in self.lengths):
            raise _bad("lengths", "numbers of tokens of at least 1", self.lengths)


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Level, resampling, and what ranks the sweep's heads.

    ``{emotion}`` in the name of a selection metric stands for the emotion of each group, as in
    ``logodds_{emotion}``.
    """

    alpha: float = 0.05
    resamples: int = 10_000
    selection_metrics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check(self, "alpha", 0.0, 0.5, open_low=True)
        _check(self, "resamples", 100, 1_000_000)
        for metric in self.selection_metrics:
            if metric not in METRICS and not is_readout(metric) and _EMOTION not in metric:
                raise _bad("selection_metrics", "names of metrics", metric)

    def selection_of(self, emotion: str) -> tuple[str, ...]:
        """The selection metrics of one emotion."""
        return tuple(metric.replace(_EMOTION, emotion) for metric in self.selection_metrics)


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
    """

    emotions: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    max_new_tokens: int = 16

    @property
    def set_names(self) -> tuple[str, ...]:
        """Names of the token sets, in the order of their metrics."""
        return (*self.emotions, OWN_WORDS) if self.words else self.emotions

    def __post_init__(self) -> None:
        _check(self, "max_new_tokens", 1, 100_000)
        if OWN_WORDS in self.emotions:
            raise _bad("emotions", f"other names than {OWN_WORDS!r}, which is your own set's", OWN_WORDS)
        if len(set(self.emotions)) != len(self.emotions):
            raise _bad("emotions", "each emotion once", self.emotions)
        if not all(word.strip() for word in self.words):
            raise _bad("words", "words, none blank", self.words)


@dataclass(frozen=True, kw_only=True)
class PromptFiles:
    """Two paths; ``{emotion}`` in the second is replaced by the emotion's name."""

    neutral: str = "data/neutral_prompts.json"
    emotion: str = "data/{emotion}_prompts.json"
    format: PromptFormat = "auto"


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Where and how the model runs.

    `max_rows` bounds the rows of one batch, baseline included; 0 chooses by the free memory.
    """

    device: str = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    max_rows: int = 0

    def __post_init__(self) -> None:
        _check(self, "max_rows", 0, 1_000_000)
        if 0 < self.max_rows < 4:
            raise _bad("max_rows", "0 (by the free memory) or at least 4 rows", self.max_rows)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One run: models × emotions, a sweep (or none) and a confirmation."""

    name: str
    models: tuple[str, ...]
    emotions: tuple[str, ...]
    scorers: tuple[str, ...] = ("embedded", "keywords")
    prompts: PromptFiles = field(default_factory=PromptFiles)
    sampling: Sampling = field(default_factory=Sampling)
    patching: Patching = field(default_factory=Patching)
    sweep: Sweep | None = None
    confirm: Confirm = field(default_factory=Confirm)
    readouts: Readouts = field(default_factory=Readouts)
    statistics: Statistics = field(default_factory=Statistics)
    engine: Engine = field(default_factory=Engine)

    def __post_init__(self) -> None:
        if not self.models or not self.emotions:
            raise _bad("models, emotions", "at least one of each", (self.models, self.emotions))
        known = (*METRICS, *readout_metrics(self.readouts.set_names))
        for metric in self._chosen:
            if metric not in known:
                raise _bad("selection_metrics", "read-outs that [readouts] declares", metric)
        self._check_search()
        if not self.name or any(c in self.name for c in "/\\\0") or self.name.startswith("."):
            raise _bad("name", "a name that can be a file's", self.name)

    @property
    def _chosen(self) -> tuple[str, ...]:
        """The selection metrics of all emotions."""
        by_emotion = map(self.statistics.selection_of, self.emotions)
        return tuple(dict.fromkeys(metric for chosen in by_emotion for metric in chosen))

    def _check_search(self) -> None:
        """Refuse a search that could not order the heads, and sets that no search gives."""
        sweep, chosen = self.sweep, self._chosen
        if not self.confirm.target_heads.strip() and not self.confirm.strongest_sets:
            raise _bad("target_heads", "a head spec, or strongest_sets in its place", "neither")
        if sweep is None:
            if self.confirm.strongest_sets:
                raise _bad("strongest_sets", "a [sweep] that orders the heads", "no [sweep]")
            return
        by_readouts = bool(chosen) and all(map(is_readout, chosen))
        if not sweep.text and not by_readouts:
            got = ", ".join(chosen) or "none, which means metrics of text"
            raise _bad("selection_metrics", "read-outs, as the sweep has no text", got)
        if sweep.readouts == "attribution" and not self.readouts.set_names:
            raise _bad("sweep.readouts", "[readouts] with emotions or words", "no token set")
        if sweep.readouts == "attribution" and DONOR_RECORDS[self.patching.donor].prompts is None:
            raise _bad("sweep.readouts", "a donor made of prompts", self.patching.donor)
        if sweep.readouts == "attribution" and any(
            is_readout(metric) and not has_direction(metric) for metric in chosen
        ):
            raise _bad("selection_metrics", "read-outs with a direction, to be attributed", chosen)

    def as_dict(self) -> dict[str, Any]:
        """The whole configuration as built-in types, for the provenance."""
        return dataclasses.asdict(self)


def load_profile(name_or_path: str, root: Path) -> Profile:
    """Read the profile ``data/profiles/<name>.toml``, of `root` or else packaged, or a TOML file.

    Raises
    ------
    UserError
        If there is no such file, or a key or value in it is not right.
    """
    folder = Path(FOLDER) / "profiles"
    is_path = name_or_path.endswith(".toml")
    path = Path(name_or_path) if is_path else find_data(folder / f"{name_or_path}.toml", root)
    try:
        table = tomllib.loads(read_whole(path).decode("utf-8").replace("\r\n", "\n"))
    except OSError as error:
        known = ", ".join(profile_names(root)) or "none"
        raise UserError(
            expected=f"a readable profile (in {folder}: {known})",
            got=error.strerror or type(error).__name__,
            where=str(path),
            remedy="name one of these profiles or give the path of a .toml file",
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(
            expected="TOML in UTF-8", got=str(error), where=str(path), remedy="correct the file"
        ) from error
    table.setdefault("name", path.stem)
    profile: Profile = _build(Profile, table, str(path))
    return profile


def _build(record: type[Any], table: dict[str, Any], where: str) -> Any:
    """Make `record` from `table`, checking keys and types; nested records recurse."""
    hints = typing.get_type_hints(record)
    for key in table:
        if key not in hints:
            raise UserError(
                expected=f"one of the keys {', '.join(sorted(hints))}",
                got=repr(key),
                where=where,
                remedy="remove or rename the key",
            )
    values = {key: _convert(hints[key], value, f"{where}: {key}") for key, value in table.items()}
    missing = [
        f.name
        for f in dataclasses.fields(record)
        if f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
        and f.name not in values
    ]
    if missing:
        raise UserError(
            expected=f"the key {missing[0]!r}", got="no such key", where=where, remedy="add it"
        )
    try:
        return record(**values)
    except UserError as error:
        raise UserError(
            expected=error.expected,
            got=error.got,
            where=f"{where}: {error.where}",
            remedy=error.remedy,
        ) from error


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        hint = next(arg for arg in args if arg is not type(None))
        origin, args = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        if isinstance(value, dict):
            return _build(typing.cast("type[Any]", hint), value, where)
        raise _wrong(where, "a table", value)
    if origin is Literal:
        if value in args and isinstance(value, str):
            return value
        raise _wrong(where, "one of " + ", ".join(map(str, args)), value)
    if origin is tuple:
        if isinstance(value, list):
            return tuple(_convert(args[0], item, where) for item in value)
        raise _wrong(where, "a list", value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        # Beyond any range that is checked later, and beyond what float() converts.
        return float(max(min(value, 10**300), -(10**300)))
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise _wrong(where, f"a value of type {hint.__name__}", value)


def _wrong(where: str, expected: str, value: Any) -> UserError:
    return UserError(expected=expected, got=repr(value)[:80], where=where, remedy="correct the value")


def _bad(name: str, expected: str, value: Any) -> UserError:
    return _wrong(name, expected, value)


def _check(record: Any, name: str, low: float, high: float, *, open_low: bool = False) -> None:
    value = getattr(record, name)
    # A comparison with NaN is false, and comparing never overflows as a conversion would.
    if not low <= value <= high or (open_low and value == low):
        bound = "above" if open_low else "from"
        raise _bad(name, f"a number {bound} {low:g} to {high:g}", value)


def _check_modes(modes: tuple[str, ...]) -> None:
    if not modes or len(set(modes)) != len(modes) or not set(modes) <= set(MODES):
        raise _bad("modes", f"some of {', '.join(MODES)}, each once", modes)
