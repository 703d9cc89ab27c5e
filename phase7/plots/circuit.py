"""The circuit of the heads found: arrows from the heads to what reads them, numbers beside the heads.

Heads stand on the left, their readers on the right, both by layer upwards and evenly spaced, so that no
two names share a place. What an arrow measures is written in the lines beside its head and not on the
arrow, where the numbers of several would cover each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from phase7.findings.circuit import HeadCircuit, Path, circuits_of, n_prompts
from phase7.findings.group import Group
from phase7.plots.style import CONTROL, EMOTION, NET
from phase7.vocabulary.circuits import LOGITS, MLP

_WIDEST = 4.0
#: Where the columns stand, and where the numbers end; of the axis' width.
_NUMBERS, _HEADS, _READERS = 0.38, 0.46, 0.93
_HALF_A_BOX = 0.04
_LINE_INCHES, _READER_INCHES, _AROUND_INCHES = 0.18, 0.36, 1.5
_BOX = {"boxstyle": "round,pad=0.3", "facecolor": "white", "linewidth": 1.5}


def circuit(group: Group) -> Canvas:
    """Draw each head found, with its path to the logits and the clear ones of its main readers."""
    heads = sorted(circuits_of(group), key=lambda one: _layer(one.label))
    shown = {one.label: _shown(one, group.alpha) for one in heads}
    found = [path for some in shown.values() for path in some]
    readers = sorted({path.reader for path in found}, key=lambda name: (_layer(name), name))
    inside = max(_LINE_INCHES * (len(found) + len(heads)), _READER_INCHES * len(readers))
    canvas = Canvas(figsize=(8.6, inside + _AROUND_INCHES), layout="constrained")
    axis = canvas.subplots()
    axis.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    starts = _beside_their_lines([len(shown[one.label]) for one in heads])
    places = dict(zip(readers, _spread(len(readers)), strict=True))
    largest = max((abs(path.delta) for path in found), default=0.0) or 1.0
    for one, y in zip(heads, starts, strict=True):
        for path in shown[one.label]:
            _arrow(axis, path, y, places[path.reader], abs(path.delta) / largest, group.alpha)
        _name(axis, one.label, _HEADS, y, EMOTION)
        lines = "\n".join(map(_line, shown[one.label]))
        axis.text(_NUMBERS, y, lines, fontsize=8, ha="right", va="center", linespacing=1.35)
    labels = {one.label for one in heads}
    for name, y in places.items():
        _name(axis, name, _READERS, y, EMOTION if name in labels else CONTROL)
    canvas.suptitle(
        f"{group.model} × {group.emotion}, mode {group.mode}: net effect on the words' logits by path"
        f" (nats), n = {n_prompts(group)} prompts",
        fontsize=10.5,
    )
    canvas.supxlabel(
        "left: the heads found, and the mean and 95 % interval of each of their arrows; right: the"
        f" logits, and the main readers\nwith q < {group.alpha:g}, by layer upwards; orange raises the"
        f" words, grey lowers them; dotted: q ≥ {group.alpha:g}",
        fontsize=8.5,
    )
    return canvas


def _shown(one: HeadCircuit, alpha: float) -> list[Path]:
    """The path to the logits, and of the main readers' those that are told from 0."""
    return [one.direct, *(path for path in one.through if path.q < alpha)]


def _beside_their_lines(n_lines: Sequence[int]) -> list[float]:
    """Heights of heads that stand in the middle of so many lines each, an empty line between them."""
    sizes = np.array(n_lines, dtype=float) + 1
    ends = np.cumsum(sizes)
    return [float(y) for y in (ends - sizes / 2) / ends[-1]]


def _spread(n: int) -> list[float]:
    return [float(y) for y in (np.arange(n) + 0.5) / n]


def _layer(name: str) -> float:
    """The layer of a reader; an MLP stands behind the heads of its layer, the logits behind all."""
    if name == LOGITS:
        return math.inf
    if name.startswith(MLP):
        return int(name.split(":")[1]) + 0.5
    return float(name.split(":")[0])


def _line(path: Path) -> str:
    """What was measured of a path."""
    interval = f"  [{path.low:.3f}, {path.high:.3f}]" if math.isfinite(path.low) else ""
    return f"{path.label}  {path.delta:+.3f}{interval}"


def _name(axis: Axes, name: str, x: float, y: float, color: str) -> None:
    axis.text(
        x, y, name, ha="center", va="center", fontsize=9, bbox=_BOX | {"edgecolor": color}, zorder=3
    )


def _arrow(axis: Axes, path: Path, start: float, end: float, share: float, alpha: float) -> None:
    style = {
        "arrowstyle": "-|>",
        "linewidth": 0.5 + _WIDEST * share,
        "color": NET if path.delta > 0 else CONTROL,
        "linestyle": "-" if path.q < alpha else ":",
        "shrinkA": 0,
        "shrinkB": 0,
    }
    from_, to = (_HEADS + _HALF_A_BOX, start), (_READERS - _HALF_A_BOX, end)
    axis.annotate("", xy=to, xytext=from_, arrowprops=style, zorder=1)
