"""What the figures show: their names, rows and colour scales, shared by the plots and the report.

A figure without data has no name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from phase7.findings.cells import Cell, Floats
from phase7.findings.doses import dose_metrics, sources
from phase7.findings.group import Group

#: With fewer heads tested, a heatmap is nearly all "not tested" and says less than the tables.
ENOUGH_HEADS = 10

#: File stem of the figure that compares all groups.
GROUPS_STEM = "groups_compared"

#: Rows of the interval plot at most; the tables have every head.
_MOST_ROWS = 16

Kind = Literal[
    "heatmap", "kl", "intervals", "curve", "strengths", "choice", "lengths", "circuit", "groups"
]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of one group; `metric` is that of a heatmap, else ``""``."""

    kind: Kind
    stem: str
    metric: str = ""


def figures(groups: Sequence[Group]) -> list[list[Figure]]:
    """The figures of each group, in the order in which the report shows them."""
    slugs: list[str] = []
    for group in groups:
        slug = re.sub(r"[^A-Za-z0-9_.+-]+", "-", f"{group.model}_{group.emotion}".replace("/", "-"))
        slugs.append(slug if slug not in slugs else f"{slug}-{len(slugs) + 1}")
    return [_of_group(group, slug) for group, slug in zip(groups, slugs, strict=True)]


def heatmap_cells(group: Group, metric: str | None) -> list[Cell]:
    """Single heads that a heatmap of a metric (None: of KL) shows."""
    return [cell for cell in group.shown(metric).values() if cell.heads.is_single]


def grid(group: Group, cells: Sequence[Cell], value: Callable[[Cell], float]) -> Floats:
    """A value of single heads, float64 [layer, head]; NaN where none of the cells lies."""
    values = np.full((group.main.sizes["layer"], group.main.sizes["head"]), np.nan)
    for cell in cells:
        values[cell.heads.only] = value(cell)
    return values


def _of_group(group: Group, slug: str) -> list[Figure]:
    name = f"{group.prefix}delta"
    found: list[Figure] = []
    first = () if group.emotion_readout is None else (group.emotion_readout,)
    for metric in (*first, *group.key_metrics):
        measured = [
            cell
            for cell in heatmap_cells(group, metric)
            if np.isfinite(getattr(cell.effect(metric), name))
        ]
        if len({cell.label for cell in measured}) >= ENOUGH_HEADS:
            found.append(Figure(kind="heatmap", stem=f"{slug}_heatmap_{metric}", metric=metric))
    cells = heatmap_cells(group, None)
    if len({cell.label for cell in cells}) < ENOUGH_HEADS:
        cells = []
    if any(np.isfinite(cell.mean_over_prompts("kl_first_token")) for cell in cells):
        found.append(Figure(kind="kl", stem=f"{slug}_heatmap_kl_first_token"))
    if interval_metrics(group):
        found.append(Figure(kind="intervals", stem=f"{slug}_intervals"))
    if group.child("curve") is not None and group.emotion_readout is not None:
        found.append(Figure(kind="curve", stem=f"{slug}_curve"))
    found += [
        Figure(kind=source, stem=f"{slug}_{source}")
        for source in sources(group)
        if dose_metrics(group, source)
    ]
    if group.child("lengths") is not None:
        found.append(Figure(kind="lengths", stem=f"{slug}_lengths"))
    if group.child("circuit") is not None:
        found.append(Figure(kind="circuit", stem=f"{slug}_circuit"))
    return found


def largest_value(groups: Sequence[Group], metric: str | None) -> float:
    """End of a heatmap's colour scale: one for a metric, over all groups and modes.

    Parameters
    ----------
    groups : sequence of Group
    metric : str or None
        None: the first token's KL.

    Returns
    -------
    float
        Largest |tested effect|, or largest mean KL in nats; 0 where nothing was measured.
    """
    largest = 0.0
    for group in groups:
        for cell in heatmap_cells(group, metric):
            value = (
                cell.mean_over_prompts("kl_first_token")
                if metric is None
                else cell.tested_value("delta", metric)
            )
            if np.isfinite(value):
                largest = max(largest, abs(value))
    return largest


def interval_metrics(group: Group) -> list[str]:
    """Panels of the interval plot: the emotion's read-out, then the key metrics of the text."""
    readouts = () if group.emotion_readout is None else (group.emotion_readout,)
    return [*readouts, *(metric for metric in group.key_metrics if metric in group.measured)]


def interval_labels(group: Group) -> list[str]:
    """Rows of the interval plot: sets, targets, then the sweep's strongest, then other heads.

    Heads that nothing puts first come by their largest |d_z|. At most 16, all in the primary mode.
    """
    here = [label for label in group.labels if (label, group.mode) in group.confirmed]
    sets = [label for label in here if not group.confirmed[label, group.mode].heads.is_single]

    def size(label: str) -> float:
        sizes = np.abs(group.confirmed[label, group.mode].tested("effect_size"))
        return float(np.nanmax(sizes)) if np.isfinite(sizes).any() else -1.0

    others = sorted(here, key=lambda label: (-size(label), here.index(label)))
    wanted = dict.fromkeys([group.target, *sets, *group.target_heads, *group.strongest, *others])
    return [label for label in wanted if label in here][:_MOST_ROWS]
