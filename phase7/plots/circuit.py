"""The circuit of the heads found: heads by layer, and arrows for the paths of their effects."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from phase7.findings.circuit import HeadCircuit, Path, circuits_of, n_prompts
from phase7.findings.group import Group
from phase7.plots.style import CONTROL, EMOTION, NET
from phase7.vocabulary.circuits import LOGITS, MLP

_WIDEST = 4.0


def circuit(group: Group) -> Canvas:
    """Draw each head found, with the path to the logits and those through its main readers."""
    heads = circuits_of(group)
    paths = [path for one in heads for path in (one.direct, *one.through)]
    places = _places(heads, paths, group.main.sizes["layer"])
    columns = max(x for x, _ in places.values()) + 1
    canvas = Canvas(figsize=(max(7.2, 1.5 * columns), 7.0), layout="constrained")
    axis = canvas.subplots()
    largest = max((abs(path.delta) for path in paths), default=0.0) or 1.0
    for path in paths:
        _arrow(axis, path, places, largest, group.alpha)
    found = {one.label for one in heads}
    for name, (x, y) in places.items():
        color = EMOTION if name in found else CONTROL
        box = {"boxstyle": "round,pad=0.3", "facecolor": "white", "edgecolor": color, "linewidth": 1.5}
        axis.text(x, y, name, ha="center", va="center", fontsize=9, bbox=box, zorder=3)
    ticks = sorted({int(y) for name, (_, y) in places.items() if name != LOGITS})
    axis.set_yticks(ticks, [str(y) for y in ticks])
    low, high = min(ticks), places[LOGITS][1]
    margin = 0.06 * (high - low) + 0.3
    axis.set(ylabel="layer", xticks=[], xlim=(-0.7, columns - 0.3), ylim=(low - margin, high + margin))
    axis.spines[["top", "right", "bottom"]].set_visible(False)
    canvas.suptitle(
        f"{group.model} × {group.emotion}, mode {group.mode}: net effect on the words' logits by path"
        f" (nats), n = {n_prompts(group)} prompts",
        fontsize=10.5,
    )
    canvas.supxlabel(
        f"solid: q < {group.alpha:g}; orange raises the words, grey lowers; brackets: 95 % interval",
        fontsize=9,
    )
    return canvas


def _places(
    heads: Sequence[HeadCircuit], paths: Sequence[Path], n_layers: int
) -> dict[str, tuple[float, float]]:
    """Where each node stands: by layer upwards, the heads found first, the logits on top."""
    names = list(dict.fromkeys([*(one.label for one in heads), *(path.reader for path in paths)]))
    nodes = [name for name in names if name != LOGITS]
    places: dict[str, tuple[float, float]] = {}
    taken: dict[float, int] = {}
    ordered = sorted(nodes, key=lambda name: (_layer(name), names.index(name)))
    for number, name in enumerate(ordered):
        layer = _layer(name)
        taken[layer] = taken.get(layer, 0) + 1
        places[name] = (float(number % 5 + 0.35 * (taken[layer] % 2)), layer)
    middle = sum(x for x, _ in places.values()) / max(1, len(places))
    places[LOGITS] = (middle, n_layers + 0.06 * n_layers)
    return places


def _layer(name: str) -> float:
    """The layer of a reader; an MLP stands behind the heads of its layer."""
    if name.startswith(MLP):
        return int(name.split(":")[1]) + 0.5
    return float(name.split(":")[0])


def _arrow(
    axis: Axes, path: Path, places: dict[str, tuple[float, float]], largest: float, alpha: float
) -> None:
    start, end = places[path.head], places[path.reader]
    width = 0.4 + _WIDEST * abs(path.delta) / largest
    style = {
        "arrowstyle": "-|>",
        "linewidth": width,
        "color": NET if path.delta > 0 else CONTROL,
        "linestyle": "-" if path.q < alpha else ":",
        "shrinkA": 12,
        "shrinkB": 12,
        "connectionstyle": "arc3,rad=0.08",
    }
    axis.annotate("", xy=end, xytext=start, arrowprops=style, zorder=1)
    interval = f"\n[{path.low:.3f}, {path.high:.3f}]" if math.isfinite(path.low) else ""
    letter = f"{path.letter} " if path.letter else ""
    axis.text(
        0.45 * start[0] + 0.55 * end[0], 0.45 * start[1] + 0.55 * end[1],
        f"{letter}{path.delta:+.3f}{interval}", fontsize=6.5, ha="center", va="center", color="#333333",
        bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
        zorder=2,
    )  # fmt: skip
