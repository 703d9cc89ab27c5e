"""The effects tree as the report and the figures read it.

Each (model, emotion) of the tree becomes a :class:`Group` of tested :class:`Cell` objects. Nothing is
computed here but which cells were tested; the order of the axes is that of
:mod:`phase7.findings.reader`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from phase7.effects.texts import SWEPT_TEXTS
from phase7.findings.cells import Cell, Cells
from phase7.findings.reader import (
    control_ran,
    fitted,
    grid_size,
    group_nodes,
    guards_of,
    in_order,
    level_of,
    main_mode,
    modes_in_order,
    on_text,
    readouts_of,
    settings_of,
    share_of_level,
)
from phase7.vocabulary.emotions import goemotions_metric, keywords_metric
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.heads import HeadSet, parse_set
from phase7.vocabulary.metrics import METRICS, metric_place
from phase7.vocabulary.modes import MODES
from phase7.vocabulary.readouts import OWN_WORDS, has_direction, is_readout, log_odds_metric

#: Characters of a label that a table or axis still takes.
_LONG_LABEL = 40

#: Children of a group that hold numbers on the group's own axes.
_NUMBERS = ("sweep", "head_sets", "lengths")


class Group:
    """One (model, emotion) of the tree.

    Parameters
    ----------
    node : xarray.DataTree
        ``/<model>/<emotion>``.

    Attributes
    ----------
    model, emotion : str
    settings : dict
        The profile's settings, as CLI and pipeline recorded them.
    has_control : bool
        Whether net effects were measured; significance is of them, else of Δ itself.
    confirmed : dict
        (label, mode) -> tested cell of the numbers to defend: single heads, then sets.
    sweep : dict
        The same for the search on the discovery prompts; empty without a sweep.
    readout_metrics : tuple of str
        The group's read-outs; none where its profile declared none.
    readouts, readout_sweep : dict
        As `confirmed` and `sweep`, with the read-outs as the metrics of their cells.
    guards : dict
        As `confirmed`, with the fluency guards as the metrics of its cells; empty without any.
    """

    def __init__(self, node: xr.DataTree) -> None:
        main = in_order(on_text(node.to_dataset()))
        self.model, _, self.emotion = node.path.strip("/").rpartition("/")
        self.settings = settings_of(main, node.path)
        axes = {
            **grid_size(main, self.settings), "mode": MODES, "metric": METRICS,
            "prompt": main.indexes["prompt"].tolist(),
        }  # fmt: skip
        main = fitted(main, **axes)
        self._children = {
            name: fitted(in_order(on_text(child.to_dataset())), **axes) if name in _NUMBERS
            else in_order(child.to_dataset())
            for name, child in node.children.items()
        }  # fmt: skip
        swept = node.children.get("sweep")
        if swept is not None and "texts" in swept.children:
            self._children[SWEPT_TEXTS] = in_order(node[SWEPT_TEXTS].to_dataset())
        self.prompt_texts = [str(text) for text in main["prompt_text"].values]
        self.prompts = [int(prompt) for prompt in main["prompt"].values]
        self.splits = [str(split) for split in main["split"].values]
        head_sets = self.child("head_sets")
        datasets = [main] if head_sets is None else [main, head_sets]
        self.has_control = control_ran(*datasets)
        self.prefix = "net_" if self.has_control else ""
        self.main = main
        self.confirmed: Cells = {}
        for dataset in datasets:
            self.confirmed |= self._cells(dataset)
        sweep = self.child("sweep")
        self.sweep: Cells = {} if sweep is None else self._cells(sweep)
        self.readout_metrics, self.readouts, self.readout_sweep = self._read(node, readouts_of)
        _, self.guards, _ = self._read(node, guards_of)

    def shown(self, metric: str | None) -> Cells:
        """The cells that maps of a metric (None: of KL) show: the sweep's, else the confirmed."""
        swept, confirmed = self.measured_cells(metric)
        return swept if self.is_swept(metric) else confirmed

    def is_swept(self, metric: str | None) -> bool:
        """Whether the cells that maps of a metric (None: of KL) show are the sweep's."""
        swept, _ = self.measured_cells(metric)
        return bool(swept) and (swept is self.readout_sweep or self.has_swept_text)

    def is_predicted(self, metric: str) -> bool:
        """Whether the cells that maps of a metric show are predictions and not measurements."""
        by_attribution = self.settings.get("sweep_readouts") == "attribution"
        return by_attribution and is_readout(metric) and self.is_swept(metric)

    @property
    def is_sweep_read(self) -> bool:
        """Whether the sweep measured read-outs alone."""
        return bool(self.readout_sweep) and not self.has_swept_text

    @property
    def swept_metrics(self) -> tuple[str, ...]:
        """What tables of the sweep show: a read-out where it measured no text, else the key metrics."""
        if not self.is_sweep_read:
            return self.key_metrics
        directed = [metric for metric in self.readout_metrics if has_direction(metric)]
        return (self.emotion_readout or [*directed, *self.readout_metrics][0],)

    def measured_cells(self, metric: str | None) -> tuple[Cells, Cells]:
        """The sweep's and the confirmed cells that can be asked for a metric (None: for KL)."""
        if metric is not None and is_readout(metric):
            return self.readout_sweep, self.readouts
        return self.sweep, self.confirmed

    @cached_property
    def has_swept_text(self) -> bool:
        """Whether there was a sweep that generated texts."""
        return any(np.isfinite(cell.column("delta")).any() for cell in self.sweep.values())

    def child(self, name: str) -> xr.Dataset | None:
        """A child Dataset, or None where the profile did not make it."""
        return self._children.get(name)

    @property
    def alpha(self) -> float:
        """Level of q."""
        return level_of(self.settings)

    @property
    def test_alpha(self) -> float:
        """What a p must be below before it is divided by its look's share of the level."""
        return self.alpha * share_of_level(self.settings)

    @property
    def mode(self) -> str:
        """The primary mode, or the first tested one where the primary was not run."""
        return main_mode(str(self.settings["patch_mode"]), self.modes)

    @cached_property
    def modes(self) -> tuple[str, ...]:
        """Modes that were tested in the confirmation, in the order of every table."""
        return modes_in_order([mode for _, mode in self.confirmed])

    @property
    def sweep_mode(self) -> str:
        """The primary mode where it was swept, else the first swept mode."""
        return main_mode(self.mode, modes_in_order([mode for _, mode in self.sweep]))

    @property
    def sweep_read_mode(self) -> str:
        """The primary mode where read-outs were swept in it, else the first mode that was."""
        return main_mode(self.mode, modes_in_order([mode for _, mode in self.readout_sweep]))

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Tested heads and sets: singles by place, then sets."""
        return tuple(dict.fromkeys(label for label, _ in self.confirmed))

    @cached_property
    def _targets(self) -> HeadSet:
        size = self.main.sizes
        return parse_set(
            str(self.settings["target_heads"]),
            n_layers=size["layer"],
            n_heads=size["head"],
            where="settings.target_heads",
        )

    @cached_property
    def target_heads(self) -> tuple[str, ...]:
        """The target heads and units, one label each; none where the profile named none in advance."""
        if not self.settings.get("is_target_named", True):
            return ()
        return tuple(one.label for one in self._targets.members)

    @cached_property
    def target(self) -> str:
        """Label of the target heads together; of the first tested one where no set was run."""
        joint = self._targets.label
        if joint in self.labels:
            return joint
        return next((head for head in self.target_heads if head in self.labels), joint)

    @property
    def is_target_joint(self) -> bool:
        """Whether :attr:`target` means all target heads."""
        return self.target == self._targets.label

    @property
    def target_cell(self) -> Cell | None:
        """The target heads in the primary mode."""
        return self.confirmed.get((self.target, self.mode))

    @property
    def strongest(self) -> tuple[str, ...]:
        """Heads that the sweep selected, strongest first."""
        return tuple(str(head) for head in self.settings.get("strongest_heads") or ())

    @property
    def random_heads(self) -> tuple[str, ...]:
        """Heads drawn at random as a control for the choice of heads."""
        return tuple(str(head) for head in self.settings.get("random_heads") or ())

    @cached_property
    def _sized(self) -> dict[str, str]:
        names: dict[str, str] = {}
        for kind, key in (("first", "strongest_sets"), ("random", "random_sets")):
            for label in self.settings.get(key) or ():
                plain = f"{kind} {len(HeadSet.parse(str(label)).heads)}"
                n_before = sum(name.partition(" (")[0] == plain for name in names.values())
                names.setdefault(str(label), f"{plain} ({n_before + 1})" if n_before else plain)
        return names

    def short(self, label: str) -> str:
        """What to call a head or set: its spec, and for a large set as little as tells it apart.

        Sets of the sweep's first heads, and random ones beside them, are called by their size.
        """
        if label in self._sized:
            return self._sized[label]
        if len(label) <= _LONG_LABEL:
            return label
        spec = "".join(str(self.settings["target_heads"]).split())
        if label == self.target and self.is_target_joint and len(spec) <= _LONG_LABEL:
            return spec
        heads = HeadSet.parse(label).members
        number = f"/{self.labels.index(label) + 1}" if label in self.labels else ""
        return f"{heads[0]}...{heads[-1]}/{len(heads)}{number}"

    @cached_property
    def emotion_metric(self) -> str | None:
        """The metric that stands for the emotion.

        Its GoEmotions label where that was measured, else its keyword count, else the label
        again (as "not measured"); None for an emotion that has neither.
        """
        own = (goemotions_metric(self.emotion), keywords_metric(self.emotion))
        known = [metric for metric in own if metric is not None]
        return next((m for m in known if m in self.measured), known[0] if known else None)

    @property
    def emotion_readout(self) -> str | None:
        """The read-out that stands for the emotion: the log-odds of its words, else of one's own."""
        wanted = (log_odds_metric(self.emotion), log_odds_metric(OWN_WORDS))
        return next((one for one in wanted if one in self.readout_metrics), None)

    @property
    def key_metrics(self) -> tuple[str, ...]:
        """Sentiment, politeness and the emotion's metric: what the tables by head show."""
        own = () if self.emotion_metric is None else (self.emotion_metric,)
        return ("sentiment_positive", "politeness", *own)

    @cached_property
    def measured(self) -> tuple[str, ...]:
        """Metrics with a number in at least one confirmed cell."""
        seen = np.zeros(len(METRICS), bool)
        for cell in self.confirmed.values():
            seen |= np.isfinite(cell.column("delta"))
        return tuple(metric for metric in METRICS if seen[metric_place(metric)])

    @property
    def n_confirmation(self) -> int:
        """Prompts of the confirmation: the most that any confirmed cell was tested on."""
        return max((cell.n_prompts for cell in self.confirmed.values()), default=0)

    @property
    def n_discovery(self) -> int:
        """Prompts of the sweep; 0 without one."""
        return max((cell.n_prompts for cell in self.sweep.values()), default=0)

    def _read(
        self, node: xr.DataTree, chosen: Callable[[xr.Dataset], xr.Dataset]
    ) -> tuple[tuple[str, ...], Cells, Cells]:
        """The names of some metrics, and a group's confirmed and swept cells with them as metrics."""
        main = in_order(chosen(node.to_dataset()))
        metrics = tuple(map(str, main.indexes.get("metric", ())))
        cells: Cells = {}
        swept: Cells = {}
        if metrics:
            cells |= self._cells(main, main, metrics)
            if "sweep" in node.children:
                sweep = in_order(chosen(node["sweep"].to_dataset()))
                swept |= self._cells(sweep, sweep, metrics)
            if "head_sets" in node.children:
                sets = in_order(chosen(node["head_sets"].to_dataset()))
                cells |= self._cells(sets, main, metrics)
        return metrics, cells, swept

    def _cells(
        self, dataset: xr.Dataset, main: xr.Dataset | None = None, metrics: tuple[str, ...] = METRICS
    ) -> Cells:
        """Tested cells of a Dataset, singles or sets, in the order of its coordinates.

        The baseline is the Dataset's own, or else that of `main` (the group's, by default).
        """
        is_sets = "head_set" in dataset["n_prompts"].dims
        leading = ("head_set", "mode") if is_sets else ("layer", "head", "mode")
        arrays = {
            str(name): variable.transpose(*leading, "against", ..., missing_dims="ignore").values
            for name, variable in dataset.data_vars.items()
            if set(leading) <= set(variable.dims)
        }
        baseline = dataset if "baseline" in dataset else (self.main if main is None else main)
        shared = {"baseline": baseline["baseline"].transpose("metric", "prompt").values}
        labels = [dataset.indexes[dim].tolist() for dim in leading]
        cells: Cells = {}
        for place in _tested_places(arrays["n_prompts"]):
            *heads, mode = (str(one[i]) for one, i in zip(labels, place, strict=True))
            at = {name: values[place] for name, values in arrays.items()}
            cell = Cell(
                heads=HeadSet.parse(":".join(heads)), mode=mode, arrays=at | shared,
                prefix=self.prefix, metrics=metrics,
            )  # fmt: skip
            cells[cell.label, mode] = cell
        return cells


def groups(tree: xr.DataTree) -> list[Group]:
    """All (model, emotion) of a tree, in its order.

    Raises
    ------
    UserError
        If the tree holds none with settings.
    """
    nodes = group_nodes(tree)
    if not nodes:
        raise UserError(
            expected="at least one /<model>/<emotion> group with settings",
            got="none",
            where="effects tree",
            remedy="open an effects file that `python -m phase7 build` wrote",
        )
    return [Group(node) for node in nodes]


def _tested_places(n_prompts: npt.NDArray[Any]) -> Iterator[tuple[int, ...]]:
    for place in np.argwhere(np.nan_to_num(n_prompts) > 0):
        yield tuple(int(i) for i in place)
