"""One (model, emotion) of the tree as the sections read it.

What enters: the group's node. What leaves: settings, and statistics by head or set and mode.
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from phase7.plots import headline_metrics, own_metric, tested_rows


class GroupView:
    """Named access to one group's Datasets."""

    def __init__(self, node: xr.DataTree) -> None:
        self.node, self.main = node, node.to_dataset()
        self.settings: dict[str, Any] = json.loads(self.main.attrs["settings"])
        self.emotion: str = self.settings["emotion"]
        self.alpha: float = self.settings["alpha"]
        self.mode: str = self.settings["patch_mode"]
        self.has_control: bool = self.settings["control"] is not None
        #: Prefix of the statistics that count: net of the control where one ran.
        self.prefix = "net_" if self.has_control else ""

    def child(self, name: str) -> xr.Dataset | None:
        """A child's Dataset, or None."""
        return self.node[name].to_dataset() if name in self.node.children else None

    @cached_property
    def rows(self) -> dict[str, dict[str, xr.Dataset]]:
        """mode -> label -> statistics of each tested head and set."""
        return {mode: dict(tested_rows(self.node, mode)) for mode in self.settings["modes"]}

    @cached_property
    def target(self) -> str:
        """Label of the target heads: the set where there are several, else the one head."""
        labels = list(self.rows[self.mode])
        wanted = self.settings["target_heads"].replace(" ", "")
        if wanted in labels:
            return str(wanted)
        sets = [label for label in labels if "," in label]
        return sets[-1] if sets else labels[0]

    @property
    def singles(self) -> list[str]:
        """Labels of the single heads tested."""
        return [label for label in self.rows[self.mode] if "," not in label]

    @property
    def sets(self) -> list[str]:
        """Labels of the head sets tested."""
        return [label for label in self.rows[self.mode] if "," in label]

    @property
    def own_metric(self) -> str | None:
        """The emotion's own GoEmotions metric."""
        return own_metric(self.emotion)

    def measured(self, metric: str) -> bool:
        """Whether some scorer measured the metric."""
        return bool(self.main.baseline.sel(metric=metric).notnull().any())

    @property
    def headline(self) -> list[str]:
        """Measured metrics of the short tables."""
        return headline_metrics(self.main, self.emotion)

    def stat(self, row: xr.Dataset, name: str, metric: str) -> float:
        """One number; `name` without prefix is taken net of the control where one ran."""
        return float(row[self.prefix + name].sel(metric=metric))

    def means(self, row: xr.Dataset, metric: str) -> tuple[float, float]:
        """Mean baseline and mean patched score over the prompts the row was tested on."""
        patched = row.patched.sel(metric=metric).values
        baseline = self.main.baseline.sel(metric=metric).values
        used = ~np.isnan(patched)
        if not used.any():
            return float("nan"), float("nan")
        return float(baseline[used].mean()), float(patched[used].mean())

    def discoveries(self, row: xr.Dataset) -> list[str]:
        """Metrics with q below the level, smallest q first."""
        q = row[self.prefix + "q_value"]
        found = [(float(q.sel(metric=m)), str(m)) for m in q.metric.values]
        return [metric for value, metric in sorted(found) if value < self.alpha]
