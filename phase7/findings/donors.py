"""How often the two donors write different texts: without that, a net effect is 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from phase7.findings.cells import DUST, Cell
from phase7.findings.group import Group

Mask = npt.NDArray[np.bool_]


def apart_share(group: Group, cells: Sequence[Cell]) -> float:
    """Share of (cell, prompt) pairs in which the donor's text differs from what it is compared with.

    That is the control donor's text, and the baseline's where no control ran. A pair differs where any
    of the prompt's samples does. Texts are compared where the tree has them; else a pair differs where
    the tested effect on any metric is not 0.

    Returns
    -------
    float
        In [0, 1]; NaN without a measured pair.
    """
    texts = group.child("texts")
    found = [_apart(group, cell, texts) for cell in cells]
    n_pairs = sum(one.size for one in found)
    return float(sum(int(one.sum()) for one in found) / n_pairs) if n_pairs else float("nan")


def _apart(group: Group, cell: Cell, texts: xr.Dataset | None) -> Mask:
    """Whether the texts differ, for each prompt of one cell."""
    used = cell.prompts()
    other = "control_text" if group.has_control else "baseline_text"
    if texts is None or not _has(texts, cell, other):
        moved: Mask = np.any(np.abs(cell.differences_by_metric()) > DUST, axis=0)
        return moved[used]
    prompts = [prompt for prompt, is_used in zip(group.prompts, used, strict=True) if is_used]
    place: dict[str, Any] = {"head_set": cell.label, "mode": cell.mode}
    one = texts["patched_text"].sel(place, drop=True).sel(prompt=prompts)
    two = texts[other]
    if other == "control_text":
        two = two.sel(place, drop=True)
    differ: Mask = one.values != two.sel(prompt=prompts).transpose(*one.dims).values
    return np.asarray(differ.any(axis=one.get_axis_num("sample")), bool)


def _has(texts: xr.Dataset, cell: Cell, other: str) -> bool:
    return (
        {"patched_text", other} <= set(texts.data_vars)
        and cell.label in texts.indexes["head_set"]
        and cell.mode in texts.indexes["mode"]
    )
