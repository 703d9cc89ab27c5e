"""What a finished run found, in a few lines: the strongest effects, and a pair of texts."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import pandas as pd
import xarray as xr

from phase7.findings.group import Group, groups
from phase7.findings.pairs import pairs_of
from phase7.findings.reader import group_nodes
from phase7.findings.tables import top_heads
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.heads import HeadSet

#: How many single heads and how many sets are told.
_N_SINGLE, _N_SETS = 3, 3
_WIDTH = 100


def results_in_words(tree: xr.DataTree) -> Iterator[str]:
    """The lines, group after group.

    Parameters
    ----------
    tree : xarray.DataTree
        An effects tree.
    """
    for node, group in zip(group_nodes(tree), groups(tree), strict=True):
        yield from _group_in_words(node, group)


def _group_in_words(node: xr.DataTree, group: Group) -> Iterator[str]:
    metric = group.emotion_readout or group.emotion_metric or (*group.measured, "")[0]
    parts = [(node.to_dataset(), _N_SINGLE)]
    if "head_sets" in node.children:
        parts.append((node["head_sets"].to_dataset(), _N_SETS))
    found = [top_heads(one, metric, n) for one, n in parts if _is_measured(one, metric)]
    rows = [(_place(row), row) for frame in found for _, row in frame.iterrows()]
    if not rows:
        return
    what = "net of the control" if group.has_control else "patched less baseline"
    yield f"{group.model}/{group.emotion}, {metric} {what}, with 95 % intervals:"
    width = max(len(_short(place)) for place, _ in rows)
    for place, row in rows:
        yield (
            f"  {_short(place):<{width}} {row['mode']:<9} {row['effect']:+.3f}"
            f" [{row['ci_low']:+.3f}, {row['ci_high']:+.3f}]  {_q(row['q_value'])}"
        )
    for strongest in sorted(rows, key=lambda one: -abs(one[1]["effect"])):
        with contextlib.suppress(UserError):  # a set that was read alone has no texts
            yield from _texts(node, strongest)
            return


def _is_measured(effects: xr.Dataset, metric: str) -> bool:
    if metric not in effects["metric"].values:
        return False
    return bool(effects["delta"].sel(metric=metric).notnull().any())


def _q(value: float) -> str:
    if not math.isfinite(value):
        return "no test: too few prompts"
    return "q < 0.001" if value < 0.001 else f"q {value:.3f}"


def _place(row: pd.Series) -> str:
    return str(row["head_set"]) if "head_set" in row else f"{row['layer']}:{row['head']}"


def _short(place: str) -> str:
    """A set by its first head where it is long, and the units beside its heads."""
    names = HeadSet.parse(place)
    if names.n_heads <= 3:
        return place
    beside = "".join(f",{unit}" for unit in names.units)
    return f"{names.n_heads} heads from {names.heads[0]}{beside}"


def _texts(node: xr.DataTree, strongest: tuple[str, pd.Series]) -> Iterator[str]:
    """A pair of texts of the strongest: the first that differ, else the first."""
    place, row = strongest
    pairs = list(pairs_of([node["texts"].to_dataset()], place, str(row["mode"])))
    one = next((pair for pair in pairs if pair.baseline != pair.patched), pairs[0])
    yield f"  a text, {_short(place)} ({_cut(one.prompt)}):"
    yield f"    baseline: {_cut(one.baseline)}"
    yield f"    patched:  {_cut(one.patched)}"


def _cut(text: str) -> str:
    """The text on one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…"
