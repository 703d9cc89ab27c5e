"""Names of the figures: shared by the report that links and the plots that draw them.

What enters: the tree's groups. What leaves: file stems. A figure without data has no name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from phase7.report.view import Cell, Group

#: With fewer heads tested, a heatmap is nearly all "not tested" and says less than the tables.
ENOUGH_HEADS = 10

Kind = Literal["heatmap", "kl", "intervals", "lengths"]


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


def heatmap_cells(group: Group) -> list[Cell]:
    """Single heads that a heatmap shows: the sweep's where there is one, else the confirmed."""
    cells = group.sweep or group.confirmed
    return [cell for cell in cells.values() if cell.n_heads == 1]


def _of_group(group: Group, slug: str) -> list[Figure]:
    cells = heatmap_cells(group)
    if len({cell.label for cell in cells}) < ENOUGH_HEADS:
        cells = []
    name = f"{group.prefix}delta"
    found: list[Figure] = []
    for metric in group.key_metrics:
        if any(np.isfinite(getattr(cell.effect(metric), name)) for cell in cells):
            found.append(Figure(kind="heatmap", stem=f"{slug}_heatmap_{metric}", metric=metric))
    if any(np.isfinite(cell.mean_over_prompts("kl_first_token")) for cell in cells):
        found.append(Figure(kind="kl", stem=f"{slug}_heatmap_kl_first_token"))
    if set(group.key_metrics) & set(group.measured):
        found.append(Figure(kind="intervals", stem=f"{slug}_intervals"))
    if group.child("lengths") is not None:
        found.append(Figure(kind="lengths", stem=f"{slug}_lengths"))
    return found
