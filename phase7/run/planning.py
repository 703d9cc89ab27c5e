"""Plan a run from a pilot: what it would find, what a given effect takes, and what a budget buys.

The pilot is the last run of the same profile, if the store has its effects and only numbers of prompts
and samples differ; else the profile is run on a few prompts, whose entries the run itself will use
again. For a budget a few prompts are run once more, into a store of their own, so that nothing is found
finished.
"""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import xarray as xr

from phase7.effects.file import open_effects
from phase7.experiment.planned import with_numbers
from phase7.experiment.profile import Profile, load_profile, profile_path
from phase7.experiment.splits import confirmation_half
from phase7.findings.pilot import PilotTest, primary_tests
from phase7.run.backend import THREADS, Backend
from phase7.run.groups import Rehearsal
from phase7.run.inputs import read_prompts
from phase7.run.paths import Paths
from phase7.run.pipeline import Run
from phase7.run.plan import has_quick_scorers
from phase7.scoring.base import score_distinct
from phase7.scoring.choose import choose_scorers
from phase7.statistics import detectable_effect, detectable_shift, prompts_for, prompts_needed
from phase7.store import Store, write_text
from phase7.store.reading import read_text
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.readouts import is_readout

#: Prompts of a pilot, and of the run that tells what a prompt takes.
N_PILOT, N_TIMED = 8, 4
#: Samples of a prompt that are weighed against more prompts.
SAMPLES = (1, 2, 4, 8, 16)
POWER = 0.8
#: Stages that grow with the confirmation's prompts.
_ON_CONFIRMATION = ("confirm", "strengths", "against", "shift", "prompting", "curve")
#: Experiments that are resampled from the pilot for each test of the table.
_N_EXPERIMENTS = 500
#: Of a budget of time, the share that is planned with.
_SHARE = 0.9

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a run may take: `amount` seconds, or tokens of text."""

    amount: float
    unit: str

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read ``90s``, ``30m``, ``2h`` or ``200000tok``.

        Raises
        ------
        ValueError
            For anything else, or nothing above 0.
        """
        for suffix, factor, unit in (("tok", 1, "tok"), ("s", 1, "s"), ("m", 60, "s"), ("h", 3600, "s")):
            if text.endswith(suffix):
                amount = float(text.removesuffix(suffix)) * factor
                if not 0 < amount < math.inf:
                    break
                return cls(amount=amount, unit=unit)
        raise ValueError(f"expected a time or tokens, such as 30m, 2h or 200000tok, got {text!r}")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a run takes: of the whole, of each confirmed prompt, and of each sample of one."""

    fixed: float
    by_prompt: float
    by_sample: float

    def of(self, n_prompts: int, n_samples: int) -> float:
        """Of so many prompts and samples."""
        return self.fixed + n_prompts * (self.by_prompt + n_samples * self.by_sample)


@dataclass(frozen=True, kw_only=True)
class Design:
    """Numbers of prompts and samples, and what they cost."""

    n_prompts: int
    n_samples: int
    cost: float


class Planner:
    """Plans one profile.

    Parameters
    ----------
    profile : Profile
    paths : Paths
        Where a run of the profile reads and writes.
    backend : Backend
    say, warn : callable
        Called with lines about what is going on, and about what a user should see.
    """

    def __init__(self, profile: Profile, paths: Paths, backend: Backend, say: Say, warn: Say) -> None:
        self.profile, self._paths, self._backend = profile, paths, backend
        self._say, self._warn = say, warn
        self._scores: dict[str, Any] = {}

    def tests(self) -> tuple[str, list[PilotTest]]:
        """What the pilot was, in words, and its primary tests.

        Raises
        ------
        UserError
            If no primary test has two prompts.
        """
        known = self._finished
        if known is None:
            pilot = _to_the_end(_with(self.profile, n_prompts=N_PILOT))
            self._say(f"no finished run of this profile in the store: a pilot of {N_PILOT} prompts")
            known = self._run(pilot).rehearse().tree
        found = primary_tests(known, self._score)
        if not found:
            raise UserError(
                expected="a primary test with at least two prompts",
                got="none",
                where=f"profile {self.profile.name}",
                remedy="see [statistics] primary_metrics in docs/method.md",
            )
        n = max(test.spread.n_prompts for test in found)
        return f"pilot: {known.attrs['profile']}, {n} prompts", found

    def has_pilot(self) -> bool:
        """Whether the store has a pilot, so that :meth:`tests` runs nothing."""
        return self._finished is not None

    def cost(self, unit: str) -> Cost:
        """What a run of the profile takes, from one on a few prompts, in seconds or tokens of text."""
        n_prompts = min(N_TIMED, self._n_available)
        timed = _to_the_end(_with(self.profile, n_prompts=n_prompts))
        self._say(f"measuring what a run on {n_prompts} prompts takes")
        with tempfile.TemporaryDirectory() as folder:
            run = self._run(timed)
            run.store = Store(Path(folder), on_damage=self._warn)
            done = run.rehearse()
        return _cost(done, n_prompts, self.profile.sampling.samples, unit)

    def best(self, tests: Sequence[PilotTest], cost: Cost, budget: Budget) -> Design:
        """The prompts and samples that make the primary tests strongest for a budget.

        Strongest is where the effects that are found with 80 % power are smallest, in the geometric mean
        over the tests.

        Raises
        ------
        UserError
            If the budget does not pay for enough prompts for any test, or the pilot's arms never differ.
        """
        if not any(test.differences.any() for test in tests):
            raise UserError(
                expected="a pilot in which the emotion's donor makes a difference",
                got="the same scores in all primary tests",
                where="--budget",
                remedy="declare other primary_metrics, or read-outs, which need no text to change",
            )
        amount = budget.amount * (_SHARE if budget.unit == "s" else 1.0)
        designs = [
            Design(n_prompts=n, n_samples=samples, cost=cost.of(n, samples))
            for samples in SAMPLES
            for n in range(2, self._n_available + 1)
            if cost.of(n, samples) <= amount and math.isfinite(_strength(tests, n, samples, self._alpha))
        ]
        if not designs:
            n = prompts_needed(self._alpha)
            raise UserError(
                expected=f"a budget, and prompts to confirm with, for at least {n} prompts",
                got=f"{budget.amount:.0f} {budget.unit} and {self._n_available} prompts; {n} take about"
                f" {cost.of(n, 1):.0f} {budget.unit}",
                where="--budget",
                remedy="give more, or a profile with a shorter search",
            )
        return min(
            designs,
            key=lambda one: (_strength(tests, one.n_prompts, one.n_samples, self._alpha), one.cost),
        )

    def write(self, design: Design, name: str, output: Path) -> None:
        """Write the profile with a design's prompts and samples.

        Parameters
        ----------
        name : str
            The profile's name or file, as it was read.

        Raises
        ------
        UserError
            If its file is written in a way that numbers cannot be set in.
        """
        numbers = {("sampling", "samples"): design.n_samples, ("confirm", "n_prompts"): design.n_prompts}
        text = with_numbers(read_text(profile_path(name, self._paths.root)), numbers)
        meant, found = _with(self.profile, n_prompts=design.n_prompts, n_samples=design.n_samples), None
        with tempfile.TemporaryDirectory() as folder, contextlib.suppress(UserError):
            tried = Path(folder) / output.name
            tried.write_text(text, encoding="utf-8")
            found = load_profile(str(tried), self._paths.root)
        if found is None or replace(found, name=meant.name) != meant:
            raise UserError(
                expected="a profile with samples and n_prompts on lines of their own in their tables",
                got="another way of writing them",
                where=name,
                remedy=f"set samples = {design.n_samples} and n_prompts = {design.n_prompts} by hand",
            )
        write_text(output, text)

    @property
    def _n_available(self) -> int:
        """Prompts that a confirmation can have."""
        neutral = read_prompts(self.profile, self._paths.root).neutral
        return len(confirmation_half(neutral) if self.profile.sweep else neutral.prompts)

    @property
    def _alpha(self) -> float:
        return self.profile.statistics.alpha

    @cached_property
    def _finished(self) -> xr.DataTree | None:
        """The effects of the last run of this profile; None if there are none, or of other settings."""
        if not self._paths.effects.exists():
            return None
        tree = open_effects(self._paths.effects)
        ran = json.loads(tree.attrs["provenance"])["config"]
        same = _comparable(ran) == _comparable(json.loads(json.dumps(self.profile.as_dict())))
        return tree if same else None

    def _run(self, profile: Profile) -> Run:
        return Run(
            profile,
            self._paths,
            say=self._say,
            show_progress=False,
            warn=self._warn,
            backend=self._backend,
        )

    def _score(self, texts: Iterable[str]) -> Mapping[str, Any]:
        """Scores by text, each text scored once."""
        lacking = sorted({*texts} - self._scores.keys())
        if lacking:
            scorers = choose_scorers(
                self.profile.scorers, root=self._paths.root, store_root=self._paths.store
            )
            self._scores |= score_distinct(scorers, lacking)
        return self._scores


def from_store(name: str, profile: Profile, paths: Paths, *, effect: float = 0.1) -> list[str]:
    """The pilot and its table in lines, from what the store has; how to get them where it has nothing.

    Nothing is run, fetched or written.

    Parameters
    ----------
    name : str
        The profile's name or file, as it was read.
    effect : float
        As of :func:`table`.
    """
    planner = Planner(profile, paths, THREADS, lambda line: None, lambda line: None)
    with contextlib.suppress(UserError):  # a damaged file, or a pilot that tested nothing
        if has_quick_scorers(profile) and planner.has_pilot():
            pilot, tests = planner.tests()
            return [pilot, *table(tests, profile, effect)]
    return [f"power: no pilot in the store; `phase7 plan {name}` runs one and prints its table"]


def table(tests: Sequence[PilotTest], profile: Profile, effect: float) -> list[str]:
    """The pilot's tests in lines: spread, what is found, and what an effect takes.

    Parameters
    ----------
    effect : float
        In the metric's unit.
    """
    alpha, samples = profile.statistics.alpha, profile.sampling.samples
    heads = max(len(test.heads) for test in tests)
    metrics = max(len(test.metric) for test in tests)
    head = (
        f"{'heads':<{heads}}  {'metric':<{metrics}}  {'n':>3} {'mean':>8} {'between':>8} {'within':>8}"
    )
    counts = sorted({1, samples, 4 * samples})
    wanted = "".join(f" {f'{n} s.':>7}" for n in counts)
    lines = [
        f"one test at {alpha:g}; sd between prompts and within (of one sample); smallest effect found"
        f" with {POWER:.0%} power; prompts for an effect of {effect:g} with 1 and more samples (s.)",
        f"{head} {'found':>8}{wanted}",
    ]
    for test in tests:
        spread = test.spread
        means = test.differences.mean(axis=1)
        # Of the null: the pilot's own effect is taken out.
        found = detectable_shift(
            (means - means.mean())[None],
            spread.n_prompts,
            alpha=alpha,
            power=POWER,
            seed=0,
            n_experiments=_N_EXPERIMENTS,
        )[0]
        sizes = [1] if is_readout(test.metric) else counts
        needed = [prompts_for(effect, spread.sd(n), alpha=alpha, power=POWER) for n in sizes]
        columns = "".join(f" {_number(n, 7, 0)}" for n in needed)
        lines.append(
            f"{test.heads:<{heads}}  {test.metric:<{metrics}}  {spread.n_prompts:>3}"
            f" {_number(spread.mean, 8, 4)} {_number(math.sqrt(spread.between), 8, 4)}"
            f" {_number(math.sqrt(spread.within), 8, 4)} {_number(found, 8, 4)}{columns}"
        )
    return lines


def _number(value: float, width: int, places: int) -> str:
    return f"{'-':>{width}}" if math.isnan(value) else f"{value:>{width}.{places}f}"


def _strength(tests: Sequence[PilotTest], n_prompts: int, n_samples: int, alpha: float) -> float:
    """Mean logarithm of the effects that the tests find; infinite where sign flips reach no level."""
    effects = [
        float(detectable_effect(test.spread.sd(n_samples), n_prompts, alpha=alpha, power=POWER))
        for test in tests
    ]
    known = [effect for effect in effects if effect > 0]
    if 2.0 ** (1 - n_prompts) >= alpha or not known:
        return math.inf
    return sum(map(math.log, known)) / len(known)


def _with(profile: Profile, *, n_prompts: int, n_samples: int | None = None) -> Profile:
    """The profile with so many confirmed prompts, and samples."""
    samples = n_samples or profile.sampling.samples
    return replace(
        profile,
        sampling=replace(profile.sampling, samples=samples),
        confirm=replace(profile.confirm, n_prompts=n_prompts),
    )


def _to_the_end(profile: Profile) -> Profile:
    """The profile without looks, at which it could stop before its last prompt."""
    return replace(profile, statistics=replace(profile.statistics, looks=()))


def _comparable(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration without what a plan is about, and without what changes no number."""
    known = json.loads(json.dumps(config))
    del known["sampling"]["samples"], known["confirm"]["n_prompts"], known["engine"]["max_rows"]
    del known["name"]
    known["prompts"].pop("date", None)
    for key in ("looks", "spending"):
        known["statistics"].pop(key, None)
    if known["sweep"] and not known["sweep"].get("halving"):  # which older runs do not name
        known["sweep"].pop("halving", None)
    return dict(known)


def _cost(done: Rehearsal, n_prompts: int, n_samples: int, unit: str) -> Cost:
    """Cost by prompt from a run on a few: stages on the confirmation's prompts grow with these."""
    by_prompt, by_sample = 0.0, 0.0
    for name, amount in (done.seconds if unit == "s" else done.tokens).items():
        group = next((group for group in done.groups if name.startswith(f"{group} ")), None)
        stage = "" if group is None else name.removeprefix(f"{group} ")
        if stage.split(" ")[0] in _ON_CONFIRMATION:
            is_text = stage in _ON_CONFIRMATION
            by_sample += amount / n_prompts / n_samples if is_text else 0.0
            by_prompt += 0.0 if is_text else amount / n_prompts
    total = done.total_seconds if unit == "s" else sum(done.tokens.values())
    fixed = total - n_prompts * (by_prompt + n_samples * by_sample)
    return Cost(fixed=fixed, by_prompt=by_prompt, by_sample=by_sample)
