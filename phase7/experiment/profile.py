"""The configuration of a run: frozen records, and the TOML profile that maps onto them.

An unknown key, a value of another type and a value out of range are refused, each with its place in the
file.
"""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from phase7.experiment.checked import (
    bad_value,
    build_record,
    check_ascending,
    check_modes,
    check_range,
    check_strengths,
)
from phase7.experiment.data_files import FOLDER, find_data, profile_names
from phase7.experiment.declared import Answer, Circuit, Readouts, Screen
from phase7.experiment.prompts import PromptFiles
from phase7.experiment.statistics import Statistics
from phase7.store.reading import read_text
from phase7.vocabulary.donors import DONOR_RECORDS, ControlKind, DonorKind
from phase7.vocabulary.errors import UserError, or_meant
from phase7.vocabulary.metrics import METRICS
from phase7.vocabulary.modes import MODES, Mode, Positions, position_record
from phase7.vocabulary.readouts import has_direction, is_readout

_PROFILES = Path(FOLDER) / "profiles"


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How both arms decode. `temperature` 0 is greedy; `seed` enters only the shared noise."""

    max_new_tokens: int = 30  #: Tokens of a text at most.
    temperature: float = 0.8  #: 0 is greedy.
    top_p: float = 0.9  #: The nucleus: the smallest set of tokens with so much probability.
    samples: int = 1  #: Texts of every prompt.
    seed: int = 0  #: Of the noise that both arms share, and of what is drawn at random.

    def __post_init__(self) -> None:
        check_range(self, "max_new_tokens", 1, 100_000)
        check_range(self, "temperature", 0.0, 100.0)
        check_range(self, "top_p", 0.0, 1.0, open_low=True)
        check_range(self, "samples", 1, 10_000)
        check_range(self, "seed", 0, 2**63 - 1)


@dataclass(frozen=True, kw_only=True)
class Patching:
    """What is transplanted where.

    `control` is the donor that replaces a head's output without the emotion: ``neutral``, the mean
    over the other neutral prompts; ``shuffled``, the mean over as many prompts as the emotion has,
    drawn from emotion and neutral prompts together; or ``none``. `positions` is ``generated``, the
    prompt's last token and all behind it, ``last``, it alone, ``all``, or a single query: ``step:3``,
    from which generated token 3 is drawn (the first is token 0), or ``prompt:-2``, the prompt's last
    token but one. `against` names other emotions whose
    donors are controls too; the run's own emotions are so without being named. In a profile they stand
    behind the control: ``control = ["neutral", "anger"]``.
    """

    donor: DonorKind = "mean"  #: Where the emotion's activations come from.
    control: ControlKind = "neutral"  #: Where those come from that effects are net of.
    positions: Positions = "generated"  #: Patched queries: generated, last, all, step:N or prompt:-N.
    primary_mode: Mode = "result"  #: The mode of the declared tests.
    use_attn_result: bool = False  #: Write at `hook_result`, where the architecture has it.
    against: tuple[str, ...] = ()  #: Other emotions whose donors are controls too.

    def __post_init__(self) -> None:
        position_record(self.positions)


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
    checked_heads : int
        How many heads, drawn by the seed, are patched on the same prompts to tell how well their effects
        were predicted; none where nothing is predicted.
    halving : tuple of int
        Numbers of prompts after each of which the weaker half of the heads is dropped; those beyond the
        prompts there are count for nothing. Empty: every head has all prompts.
    """

    heads: str = "all"
    modes: tuple[Mode, ...] = ("result",)  #: Modes in which every head is patched.
    n_prompts: int = 0
    max_new_tokens: int = 0
    text: bool = True
    readouts: Literal["exact", "attribution"] = "exact"
    checked_heads: int = 20
    halving: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_range(self, "checked_heads", 0, 100_000)
        check_ascending("halving", self.halving, 1)
        if self.halving and (self.text or self.readouts != "exact"):
            raise bad_value("halving", 'text = false and readouts = "exact"', self.halving)
        check_range(self, "n_prompts", 0, 1_000_000)
        check_range(self, "max_new_tokens", 0, 100_000)
        check_modes(self.modes)


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
    curve : tuple of int
        Sizes of the sweep's first sets that are read, without texts, beside random sets of each size;
        all swept heads are read too. Empty: no curve.
    curve_random_sets : int
        How many random sets of each of those sizes.
    curve_prompts : int
        On how many of the confirmation's prompts the curve is read; 0 means all of them.
    random_heads : int
        How many heads drawn at random (by the seed) to add as a control for the choice of heads.
    alone : bool
        Whether the heads of named sets are tested one by one too.
    strengths : tuple of float
        Strengths at which the named sets and the sweep's first ones are measured besides, in the primary
        mode; 1 replaces a head's output, 0 leaves it as it is.
    write : {"replace", "add"}
        What a strength multiplies: the way from the head's output to the donor's, or the difference of
        the emotion's donor and the control's, which is added.
    positive_controls : bool
        Whether prompting and the shift of all heads are measured on the same prompts.
    against_text : bool
        Whether the donors of other emotions generate texts too; else they are compared by read-outs.
    guard_samples : int
        Of how many samples a prompt the likelihood under the unpatched model is read, to tell whether
        the text still reads as the baseline's; 0: no fluency guards.
    lengths : tuple of int
        Continuation lengths in tokens at which the text is also scored; the full length always is.
    """

    target_heads: str = "3:5,7:2"
    head_sets: tuple[str, ...] = ()
    strongest: int = 0
    strongest_sets: tuple[int, ...] = ()
    random_sets: int = 0
    curve: tuple[int, ...] = ()
    curve_random_sets: int = 20
    curve_prompts: int = 0
    random_heads: int = 0
    alone: bool = True
    strengths: tuple[float, ...] = ()
    write: Literal["replace", "add"] = "replace"
    positive_controls: bool = True
    against_text: bool = True
    modes: tuple[Mode, ...] = MODES  #: Modes in which all of them are patched.
    n_prompts: int = 0  #: How many prompts to test on; 0 means all that the search left.
    guard_samples: int = 1
    lengths: tuple[int, ...] = (1, 5, 10)

    def __post_init__(self) -> None:
        check_range(self, "strongest", 0, 100_000)
        check_range(self, "random_heads", 0, 100_000)
        check_range(self, "random_sets", 0, 1_000)
        check_range(self, "curve_random_sets", 0, 10_000)
        check_range(self, "curve_prompts", 0, 1_000_000)
        check_range(self, "guard_samples", 0, 10_000)
        if any(size < 1 for size in self.curve):
            raise bad_value("curve", "numbers of heads of at least 1", self.curve)
        if any(size < 2 for size in self.strongest_sets):
            raise bad_value("strongest_sets", "numbers of heads of at least 2", self.strongest_sets)
        check_range(self, "n_prompts", 0, 1_000_000)
        check_modes(self.modes)
        check_strengths(self.strengths)
        if self.write == "add" and not self.strengths:
            raise bad_value("write", "strengths, if a difference is to be added", "none")
        if any(length < 1 for length in self.lengths):
            raise bad_value("lengths", "numbers of tokens of at least 1", self.lengths)


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Where and how the model runs.

    `max_rows` bounds the rows of one batch, baseline included; 0 chooses by the free memory.
    """

    device: str = "cpu"  #: `cpu`, `cuda`, or another that torch knows.
    dtype: Literal["float32", "bfloat16"] = "float32"  #: Type of numbers.
    max_rows: int = 0  #: Rows of one batch at most, baseline included; 0 chooses by the free memory.

    def __post_init__(self) -> None:
        check_range(self, "max_rows", 0, 1_000_000)
        if 0 < self.max_rows < 4:
            raise bad_value("max_rows", "0 (by the free memory) or at least 4 rows", self.max_rows)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One run: models × emotions, a sweep and its screen, a confirmation, an answer and a circuit."""

    name: str  #: What the run's files are called.
    models: tuple[str, ...]  #: Known names, folders or hub ids.
    emotions: tuple[str, ...]  #: Each with its prompts.
    scorers: tuple[str, ...] = ("embedded", "keywords")  #: Names, or ``module:attribute`` of one's own.
    prompts: PromptFiles = field(default_factory=PromptFiles)
    sampling: Sampling = field(default_factory=Sampling)
    patching: Patching = field(default_factory=Patching)
    sweep: Sweep | None = None
    screen: Screen | None = None
    confirm: Confirm = field(default_factory=Confirm)
    answer: Answer | None = None
    circuit: Circuit | None = None
    readouts: Readouts = field(default_factory=Readouts)
    statistics: Statistics = field(default_factory=Statistics)
    engine: Engine = field(default_factory=Engine)

    def __post_init__(self) -> None:
        if not self.models or not self.emotions:
            raise bad_value("models, emotions", "at least one of each", (self.models, self.emotions))
        for emotion in self.emotions:
            known = (*METRICS, *self.readouts.metrics(emotion))
            chosen = {
                "selection_metrics": self.statistics.selection_of(emotion),
                "primary_metrics": self.statistics.primary_of(emotion),
            }
            for key, metrics in chosen.items():
                for metric in metrics:
                    if metric not in known:
                        raise bad_value(key, "read-outs that [readouts] declares", metric)
        for mode in self.statistics.primary_modes:
            if mode not in self.confirm.modes:
                raise bad_value(
                    "primary_modes", f"modes of [confirm] ({', '.join(self.confirm.modes)})", mode
                )
        if self.readouts.continuations and self.sweep is None:
            raise bad_value(
                "readouts.continuations", "a [sweep], whose prompts are continued", "no [sweep]"
            )
        self._check_search()
        step = position_record(self.patching.positions).first or 0
        if step >= self._shortest:
            raise bad_value(
                "positions", f"a token before the {self._shortest} that are drawn or read at least",
                self.patching.positions,
            )  # fmt: skip
        if self.circuit is not None and not self.readouts.set_names:
            raise bad_value("circuit", "[readouts] whose words its read-out is made of", "none")
        if self.circuit is not None and DONOR_RECORDS[self.patching.donor].prompts is None:
            raise bad_value("circuit", "a donor made of prompts", self.patching.donor)
        if not self.name or any(c in self.name for c in "/\\\0") or self.name.startswith("."):
            raise bad_value("name", "a name that can be a file's", self.name)

    @property
    def _shortest(self) -> int:
        """Tokens of the run's shortest texts and paths, on any of which a patch has to act."""
        lengths = [self.sampling.max_new_tokens]
        lengths += [self.sweep.max_new_tokens or lengths[0]] if self.sweep and self.sweep.text else []
        lengths += [self.readouts.max_new_tokens] if self.readouts.metrics(self.emotions[0]) else []
        lengths += [self.circuit.max_new_tokens] if self.circuit else []
        return min(lengths)

    @property
    def _chosen(self) -> tuple[str, ...]:
        """The selection metrics of all emotions."""
        by_emotion = map(self.statistics.selection_of, self.emotions)
        return tuple(dict.fromkeys(metric for chosen in by_emotion for metric in chosen))

    def _check_search(self) -> None:
        """Refuse a search that could not order the heads, and sets that no search gives."""
        sweep, chosen = self.sweep, self._chosen
        if not self.confirm.target_heads.strip() and not self.confirm.strongest_sets:
            raise bad_value("target_heads", "a head spec, or strongest_sets in its place", "neither")
        if sweep is None:
            asked = {key: getattr(self.confirm, key) for key in ("strongest_sets", "curve")}
            for key, value in (asked | {"answer": self.answer, "screen": self.screen}).items():
                if value:
                    raise bad_value(key, "a [sweep] that orders the heads", "no [sweep]")
            return
        if self.confirm.curve and not self.readouts.metrics(self.emotions[0]):
            raise bad_value("curve", "[readouts], along which the sets are read", "none")
        by_readouts = bool(chosen) and all(map(is_readout, chosen))
        if self.answer is not None and not (by_readouts and self.confirm.guard_samples):
            raise bad_value(
                "answer", "selection_metrics that are read-outs, and guard_samples", "not both"
            )
        if not sweep.text and not by_readouts:
            got = ", ".join(chosen) or "none, which means metrics of text"
            raise bad_value("selection_metrics", "read-outs, as the sweep has no text", got)
        if self.screen is not None and sweep.readouts == "attribution":
            raise bad_value("sweep.readouts", "exact, as a [screen] predicts already", sweep.readouts)
        if self.screen is not None and sweep.halving:
            raise bad_value("sweep.halving", "none, as a [screen] chooses the heads", sweep.halving)
        if self.screen is not None and not by_readouts:
            got = ", ".join(chosen) or "none, which means metrics of text"
            raise bad_value("selection_metrics", "read-outs, by which a [screen] chooses", got)
        if self.screen is not None or sweep.readouts == "attribution":
            self._check_attributed("sweep.readouts" if self.screen is None else "screen")

    def _check_attributed(self, where: str) -> None:
        """Refuse to predict what has no gradient, or a donor that is not there beforehand."""
        if not self.readouts.metrics(self.emotions[0]):
            raise bad_value(where, "[readouts] that declares some", "none")
        if DONOR_RECORDS[self.patching.donor].prompts is None:
            raise bad_value(where, "a donor made of prompts", self.patching.donor)
        if any(is_readout(metric) and not has_direction(metric) for metric in self._chosen):
            raise bad_value(
                "selection_metrics", "read-outs with a direction, to be attributed", self._chosen
            )

    def others(self, emotion: str) -> tuple[str, ...]:
        """The emotions whose donors are controls of one emotion's effects, each once."""
        named = (*self.patching.against, *self.emotions)
        return tuple(dict.fromkeys(one for one in named if one != emotion))

    def as_dict(self) -> dict[str, Any]:
        """The whole configuration as built-in types, for the provenance."""
        return dataclasses.asdict(self)


def profile_path(name_or_path: str, root: Path) -> Path:
    """The file of a profile: of `root` or else packaged, or the TOML file itself."""
    is_path = name_or_path.endswith(".toml")
    return Path(name_or_path) if is_path else find_data(_PROFILES / f"{name_or_path}.toml", root)


def load_profile(name_or_path: str, root: Path) -> Profile:
    """Read the profile ``data/profiles/<name>.toml``, of `root` or else packaged, or a TOML file.

    Raises
    ------
    UserError
        If there is no such file, or a key or value in it is not right.
    """
    path = profile_path(name_or_path, root)
    try:
        table = tomllib.loads(read_text(path).replace("\r\n", "\n"))
    except OSError as error:
        names = profile_names(root)
        remedy = "name one of these profiles or give the path of a .toml file"
        raise UserError(
            expected=f"a readable profile (in {_PROFILES}: {', '.join(names) or 'none'})",
            got=error.strerror or type(error).__name__,
            where=str(path),
            remedy=or_meant(path.stem, names, remedy),
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(
            expected="TOML in UTF-8", got=str(error), where=str(path), remedy="correct the file"
        ) from error
    table.setdefault("name", path.stem)
    _split_controls(table)
    profile: Profile = build_record(Profile, table, str(path))
    return profile


def _split_controls(table: dict[str, Any]) -> None:
    """Take a list of controls apart: the first is the control, the others are emotions."""
    patching = table.get("patching")
    if isinstance(patching, dict) and isinstance(patching.get("control"), list) and patching["control"]:
        control, *against = patching["control"]
        patching |= {"control": control, "against": [*patching.get("against", []), *against]}
