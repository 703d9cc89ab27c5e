"""The facts behind the report's sentences: counts, medians and the cells they belong to.

Each fact is computed from a :class:`~phase7.findings.group.Group` and comes as a small record; the
report's languages word it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from phase7.findings.cells import DUST, Cell, Effect, Floats
from phase7.findings.group import Group
from phase7.vocabulary.metrics import METRICS
from phase7.vocabulary.modes import MODE_RECORDS

#: Part of a group's tests whose effect is 0 from which a length counts as "unseen".
MOSTLY = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Hit:
    """One metric of one cell, with its numbers."""

    cell: Cell
    metric: str
    effect: Effect


def hits(group: Group, cells: Iterable[Cell]) -> list[Hit]:
    """Significant effects (q < alpha) of some cells, largest |d_z| first."""
    found = [
        Hit(cell=cell, metric=metric, effect=cell.effect(metric))
        for cell in cells
        for metric in METRICS
        if cell.tested_value("q_value", metric) < group.alpha
    ]
    return sorted(found, key=lambda hit: -abs(hit.effect.d_z))


def nearest(cells: Iterable[Cell]) -> Hit | None:
    """The test with the smallest q (then p, then largest |d_z|); None where nothing was tested."""
    best: tuple[float, float, float] | None = None
    place: tuple[Cell, str] | None = None
    for cell in cells:
        for metric in METRICS:
            q, p, d_z = (cell.tested_value(n, metric) for n in ("q_value", "p_value", "effect_size"))
            key = (q, p, -abs(d_z))
            if not np.isnan(q) and (best is None or key < best):
                best, place = key, (cell, metric)
    if place is None:
        return None
    return Hit(cell=place[0], metric=place[1], effect=place[0].effect(place[1]))


def count_tests(cells: Iterable[Cell]) -> int:
    """Tests of some cells that are in a family: finite q-values."""
    return sum(int(np.isfinite(cell.tested("q_value")).sum()) for cell in cells)


def primary_tests(group: Group) -> tuple[int, int]:
    """How many tests the primary family has, and how many have an adjusted p below alpha."""
    adjusted = [
        cell.column("p_adjusted") for cell in (*group.confirmed.values(), *group.readouts.values())
    ]
    tests = [int(np.isfinite(one).sum()) for one in adjusted]
    return sum(tests), sum(int((one < group.alpha).sum()) for one in adjusted)


def nonzero_prompts(cell: Cell, metric: str) -> int:
    """Prompts whose effect is not 0: only they count, for a sign flip of 0 changes nothing."""
    differences = cell.differences(metric)
    return int((np.abs(differences) > DUST).sum())


@dataclass(frozen=True, kw_only=True)
class Strength:
    """How much some cells did, over all metrics."""

    mode: str
    n_cells: int
    n_tests: int
    n_significant: int
    median_size: float
    kl_nats: float
    control_kl_nats: float
    changed: float
    control_changed: float


def mode_strengths(group: Group) -> list[Strength]:
    """Strength of each mode, over the heads and sets that were tested in all of them."""
    return [strength(mode, common_cells(group, mode), group.alpha) for mode in group.modes]


def common_cells(group: Group, mode: str) -> list[Cell]:
    """The cells of one mode whose heads or sets were tested in all modes."""
    modes = group.modes
    common = [label for label in group.labels if all((label, m) in group.confirmed for m in modes)]
    return [group.confirmed[label, mode] for label in common]


def strength(mode: str, cells: Sequence[Cell], alpha: float) -> Strength:
    """Counts and means over some cells."""
    sizes = [np.abs(cell.tested("effect_size")) for cell in cells]
    return Strength(
        mode=mode,
        n_cells=len(cells),
        n_tests=count_tests(cells),
        n_significant=sum(int((cell.tested("q_value") < alpha).sum()) for cell in cells),
        median_size=_median(np.concatenate(sizes) if sizes else np.empty(0)),
        kl_nats=_mean([cell.mean_over_prompts("kl_first_token") for cell in cells]),
        control_kl_nats=_mean([cell.mean_over_prompts("control_kl_first_token") for cell in cells]),
        changed=_mean([cell.scalar("changed_share") for cell in cells]),
        control_changed=_mean([cell.scalar("control_changed_share") for cell in cells]),
    )


@dataclass(frozen=True, kw_only=True)
class Replication:
    """The sweep's strongest heads, searched and tested: pairs of mean effects on what was swept.

    `ratio` is mean |confirmation| over mean |discovery| of the pairs, averaged over metrics; NaN
    where the discovery's is 0.
    """

    n_heads: int
    n_pairs: int
    n_same_sign: int
    ratio: float


def replication(group: Group) -> Replication | None:
    """How the selected heads' discovery numbers held up; None where the sweep selected none."""
    name, mode, metrics = f"{group.prefix}delta", group.sweep_mode, group.swept_metrics
    chosen = [
        label
        for label in group.strongest
        if (label, mode) in group.sweep and (label, mode) in group.confirmed
    ]
    if not chosen:
        return None
    first, second = (
        np.array([[cells[label, mode].value(name, m) for m in metrics] for label in chosen])
        for cells in group.measured_cells(metrics[0])
    )
    both = np.isfinite(first) & np.isfinite(second)
    ratios = []
    for one, two, use in zip(first.T, second.T, both.T, strict=True):
        if use.any() and np.abs(one[use]).mean() > 0:
            ratios.append(float(np.abs(two[use]).mean() / np.abs(one[use]).mean()))
    same = both & (np.sign(first) == np.sign(second)) & (first != 0)
    return Replication(
        n_heads=len(chosen),
        n_pairs=int((both & (first != 0)).sum()),
        n_same_sign=int(same.sum()),
        ratio=_mean(ratios),
    )


Circuit = Literal["ov", "qk", "fixed", "none", "unknown"]


def circuit(group: Group, label: str) -> tuple[Circuit, list[str]]:
    """What the modes say about where a head's effect sits, and the modes with a significant effect.

    ``ov``: the donor's values alone (such as v_only) do it. ``qk``: they do not, but with the donor's
    attention (pattern_v) they do. ``fixed``: only the donor's output itself (result). ``none``: no
    mode has a significant effect. ``unknown``: the deciding mode was not run.
    """
    acting = [
        mode
        for mode in group.modes
        if (label, mode) in group.confirmed
        and bool((group.confirmed[label, mode].tested("q_value") < group.alpha).any())
    ]
    if not acting:
        return "none", acting
    shown = {MODE_RECORDS[mode].circuit for mode in acting}
    if "ov" in shown:
        return "ov", acting
    if not {"ov", "qk"} <= {MODE_RECORDS[mode].circuit for mode in group.modes}:
        return "unknown", acting
    return ("qk" if "qk" in shown else "fixed"), acting


@dataclass(frozen=True, kw_only=True)
class AtLength:
    """All confirmed cells and metrics at one generation length.

    Attributes
    ----------
    length : int
        Tokens.
    changed : float
        Mean share of texts that differ from the baseline's.
    n_significant, n_tests : int
        Of the tests in a family: those that could have p below the level.
    n_left_out : int
        Tests in no family.
    smallest_q : float
    median_size : float
        Median |d_z|.
    zero_share : float
        Share of the tests whose mean effect is exactly 0.
    """

    length: int
    changed: float
    n_significant: int
    n_tests: int
    n_left_out: int
    smallest_q: float
    median_size: float
    zero_share: float


def by_length(group: Group) -> list[AtLength]:
    """What each length detects, shortest first; empty where lengths were not measured."""
    data = group.child("lengths")
    if data is None:
        return []
    q, p, size, delta = (
        data[f"{group.prefix}{name}"].values for name in ("q_value", "p_value", "effect_size", "delta")
    )
    rows = []
    for i, length in enumerate(data["length"].values):
        tests = np.isfinite(p[i])
        in_family = np.isfinite(q[i])
        rows.append(
            AtLength(
                length=int(length),
                changed=_mean(data["changed_share"].values[i].ravel()),
                n_significant=int((q[i] < group.alpha).sum()),
                n_tests=int(in_family.sum()),
                n_left_out=int((tests & ~in_family).sum()),
                smallest_q=float(q[i][in_family].min()) if in_family.any() else float("nan"),
                median_size=_median(np.abs(size[i])),
                zero_share=float((np.abs(delta[i][tests]) <= DUST).mean())
                if tests.any()
                else float("nan"),
            )
        )
    return sorted(rows, key=lambda row: row.length)


Reason = Literal["few_texts", "unseen", "inconsistent", "no_gain", "nothing", "untested"]


def length_reason(rows: Sequence[AtLength]) -> Reason:
    """Why the shortest length detects fewer effects than the full one, or that it does not.

    ``few_texts``: at most half as many texts have changed yet. ``unseen``: texts have changed, but
    most scores are exactly the same. ``inconsistent``: scores moved, but in no common direction.
    ``no_gain``: the full length detects no more. ``nothing``: neither detects anything.
    """
    first, last = rows[0], rows[-1]
    if not last.n_tests + last.n_left_out:
        return "untested"
    if not any(row.n_significant for row in rows):
        return "nothing"
    if first.n_significant >= last.n_significant:
        return "no_gain"
    if first.changed <= MOSTLY * last.changed:
        return "few_texts"
    return "unseen" if first.zero_share > MOSTLY else "inconsistent"


Silence = Literal["blocked", "few_texts", "unseen", "inconsistent"]


def silence(row: AtLength, apart: float) -> Silence:
    """Why the full length detects nothing.

    ``blocked``: no test has differences enough for a p below alpha. ``few_texts``: less than half of
    the texts differ from those they are compared with (`apart`,
    :func:`phase7.findings.donors.apart_share`).
    ``unseen``: they do, but most effects are 0. ``inconsistent``: effects have no common direction.
    """
    if not row.n_tests:
        return "blocked"
    if apart < MOSTLY:
        return "few_texts"
    return "unseen" if row.zero_share > MOSTLY else "inconsistent"


def _median(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if known.size else float("nan")


def _mean(values: Sequence[float] | Floats) -> float:
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    return float(known.mean()) if known.size else float("nan")
