"""The facts of the comparison across groups: agreement of heads, shared heads, effect by layer.

Single heads of the sweep are compared where there was one (all heads), else the confirmed ones, in
each group's mode of that stage; which heads are significant comes from the confirmation alone. Each
column compares one *role* of metric: sentiment, politeness, or what stands for the emotion, which
differs between groups: a metric of the text, and a read-out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from phase7.findings.cells import Floats
from phase7.findings.figures import grid, heatmap_cells
from phase7.findings.group import Group
from phase7.statistics import (
    Agreement,
    Shared,
    agreement_by_depth,
    agreement_by_head,
    benjamini_hochberg,
    depth_bins,
    relative_depth,
    shared_heads,
)
from phase7.vocabulary.heads import HeadSet

Role = Literal["readout", "sentiment_positive", "politeness", "emotion"]
ROLES: tuple[Role, ...] = ("readout", "sentiment_positive", "politeness", "emotion")

#: Heads of the lists whose overlap is counted: at most so many, and a quarter of the heads.
MOST_TOP, TOP_SHARE = 10, 4


def role_metric(group: Group, role: Role) -> str | None:
    """The metric that plays a role in a group; None where its emotion has none."""
    own = {"emotion": group.emotion_metric, "readout": group.emotion_readout}
    return own.get(role, role)


def strengths(group: Group, role: Role) -> Floats:
    """|mean tested effect| of single heads, [layer, head]; NaN where not tested or measured."""
    metric = role_metric(group, role)
    mode = group.sweep_mode if group.sweep else group.mode
    cells = (
        [] if metric is None else [cell for cell in heatmap_cells(group, metric) if cell.mode == mode]
    )
    return grid(group, cells, lambda cell: abs(cell.tested_value("delta", str(metric))))


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two groups beside each other.

    Attributes
    ----------
    one, other : int
        Their places in the list of groups.
    by : {"head", "depth"}
        Head by head within one model, by relative depth between models.
    agreement : dict
        Role -> rank agreement of strengths.
    q_value : dict
        Role -> Benjamini-Hochberg q of the agreement's p over all pairs and roles; NaN without a p.
    shared : Shared or None
        Overlap of the strongest heads on the read-outs, where both groups have one, else on the
        emotion's metric of the text; None between models.
    both : tuple of (str, str)
        Significant heads of one direction in both groups: the same head, or heads of one depth bin.
    """

    one: int
    other: int
    by: Literal["head", "depth"]
    agreement: dict[Role, Agreement]
    q_value: dict[Role, float]
    shared: Shared | None
    both: tuple[tuple[str, str], ...]


def pairs(groups: Sequence[Group]) -> list[Pair]:
    """All pairs of groups, in their order."""
    grids = [{role: strengths(group, role) for role in ROLES} for group in groups]
    found: list[Pair] = []
    for i, j in combinations(range(len(groups)), 2):
        by = "head" if _same_heads(groups[i], groups[j]) else "depth"
        measure = agreement_by_head if by == "head" else agreement_by_depth
        agreement = {role: measure(grids[i][role], grids[j][role]) for role in ROLES}
        found.append(
            Pair(
                one=i,
                other=j,
                by="head" if by == "head" else "depth",
                agreement=agreement,
                q_value={},
                shared=_shared(grids[i], grids[j]) if by == "head" else None,
                both=_both(groups[i], groups[j]),
            )
        )
    p = np.array([[pair.agreement[role].p_value for role in ROLES] for pair in found])
    q = benjamini_hochberg(p.ravel()).reshape(p.shape)
    for pair, row in zip(found, q, strict=True):
        pair.q_value.update({role: float(one) for role, one in zip(ROLES, row, strict=True)})
    return found


@dataclass(frozen=True, kw_only=True)
class ByLayer:
    """Effect by layer of one group and role: arrays over the layers with a tested head.

    Attributes
    ----------
    layer : tuple of int
    depth : tuple of float
        (layer + 0.5) / layers.
    mean_size : tuple of float
        Mean |effect| over the layer's tested heads, in the metric's unit.
    """

    layer: tuple[int, ...]
    depth: tuple[float, ...]
    mean_size: tuple[float, ...]

    @property
    def peak(self) -> int | None:
        """Place of the largest mean; None where nothing was measured or nothing moved."""
        return int(np.argmax(self.mean_size)) if any(self.mean_size) else None


def by_layer(group: Group, role: Role) -> ByLayer:
    """Mean |effect| of each layer's heads."""
    sizes = strengths(group, role)
    layers = [int(layer) for layer in np.flatnonzero(np.isfinite(sizes).any(axis=1))]
    depth = relative_depth(len(sizes))
    return ByLayer(
        layer=tuple(layers),
        depth=tuple(float(depth[layer]) for layer in layers),
        mean_size=tuple(float(np.nanmean(sizes[layer])) for layer in layers),
    )


def measured_roles(groups: Sequence[Group]) -> list[Role]:
    """Roles with a number in at least one group."""
    return [role for role in ROLES if any(by_layer(group, role).layer for group in groups)]


def _same_heads(one: Group, other: Group) -> bool:
    sizes = [(group.main.sizes["layer"], group.main.sizes["head"]) for group in (one, other)]
    return one.model == other.model and sizes[0] == sizes[1]


def _shared(one: Mapping[Role, Floats], other: Mapping[Role, Floats]) -> Shared:
    both_read = all(np.isfinite(grids["readout"]).any() for grids in (one, other))
    return _overlap(*(grids["readout" if both_read else "emotion"] for grids in (one, other)))


def _overlap(one: Floats, other: Floats) -> Shared:
    n_both = int((np.isfinite(one) & np.isfinite(other)).sum())
    return shared_heads(one, other, min(MOST_TOP, n_both // TOP_SHARE))


def _both(one: Group, other: Group) -> tuple[tuple[str, str], ...]:
    """Pairs of single heads that are significant on a role, in one direction, at one place."""
    n_bins = min(one.main.sizes["layer"], other.main.sizes["layer"])
    same = _same_heads(one, other)
    found: dict[tuple[str, str], None] = {}
    for role in ROLES:
        for first, sign in _significant(one, role).items():
            for second, other_sign in _significant(other, role).items():
                here = (
                    first == second if same else _bin(one, first, n_bins) == _bin(other, second, n_bins)
                )
                if here and sign == other_sign:
                    found[first, second] = None
    return tuple(found)


def _significant(group: Group, role: Role) -> dict[str, float]:
    """Confirmed single heads with q below the level in the primary mode -> sign of the effect."""
    metric = role_metric(group, role)
    if metric is None:
        return {}
    _, confirmed = group.measured_cells(metric)
    return {
        cell.label: float(np.sign(cell.tested_value("delta", metric)))
        for cell in confirmed.values()
        if cell.heads.is_single
        and cell.mode == group.mode
        and cell.tested_value("q_value", metric) < group.alpha
    }


def _bin(group: Group, label: str, n_bins: int) -> int:
    """The bin of depth that a head lies in."""
    return int(depth_bins(group.main.sizes["layer"], n_bins)[HeadSet.parse(label).only.layer])
