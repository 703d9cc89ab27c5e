"""The effects tree as the report and the figures read it.

What enters: the `xarray.DataTree` of :mod:`phase7.effects.datasets`. What leaves: one :class:`Group` for
each (model, emotion), whose cells are plain NumPy arrays. What it refuses: a tree without a group,
and a group whose settings are not there. Nothing is computed here but which cells were tested.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from phase7.vocabulary.errors import UserError
from phase7.vocabulary.heads import format_heads, parse_heads
from phase7.vocabulary.metrics import METRICS
from phase7.vocabulary.modes import MODES

Floats = npt.NDArray[np.float64]

#: The GoEmotions label that stands for an emotion where it is not called the same (Demszky et al.
#: 2020 have no "apology"; remorse is what their raters gave apologies).
_GOEMOTIONS_OF = {"apology": "remorse"}


#: Below this a difference is rounding noise of the sum behind it: the scores were equal.
DUST = 1e-12


#: Characters of a label that a table or axis still takes.
_LONG_LABEL = 40


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What one patch did to one metric.

    Attributes
    ----------
    baseline, patched : float
        Mean score over the cell's prompts, in the metric's unit.
    delta, control_delta, net_delta : float
        Emotion donor - baseline, control donor - baseline, and their difference.
    low, high, p, q, d_z : float
        Interval, p, q and d_z of the *tested* effect: net where a control was run, else Δ.

    NaN means "not measured", or, beside a finite Δ, that there were too few prompts to test it.
    """

    baseline: float
    patched: float
    delta: float
    control_delta: float
    net_delta: float
    low: float
    high: float
    p: float
    q: float
    d_z: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """One patch: a head or a set of heads in one mode.

    Attributes
    ----------
    label : str
        Head spec, e.g. ``"3:5"`` or ``"3:5,7:2"``.
    mode : str
    arrays : mapping
        Variables of the tree at this cell: [metric], [metric, prompt], [prompt] or scalar.
    prefix : str
        ``"net_"`` where a control was run, else ``""``.
    """

    label: str
    mode: str
    arrays: Mapping[str, npt.NDArray[Any]]
    prefix: str

    @property
    def n_heads(self) -> int:
        """Heads patched together."""
        return self.label.count(",") + 1

    @property
    def n_prompts(self) -> int:
        """Prompts the cell was tested on."""
        return int(self.arrays["n_prompts"])

    def column(self, name: str) -> Floats:
        """A variable by metric, NaN where the tree does not have it."""
        found = self.arrays.get(name)
        return np.full(len(METRICS), np.nan) if found is None else np.asarray(found, float)

    def tested(self, name: str) -> Floats:
        """A statistic of the tested effect by metric, e.g. ``tested("q_value")``."""
        return self.column(f"{self.prefix}{name}")

    def effect(self, metric: str) -> Effect:
        """Everything about one metric."""
        m = METRICS.index(metric)
        baseline, patched = self._scores("baseline")[m], self._scores("patched")[m]
        both = np.isfinite(baseline) & np.isfinite(patched)
        names = {"low": "ci_low", "high": "ci_high", "p": "p_value", "q": "q_value"}
        return Effect(
            baseline=_mean(baseline[both]),
            patched=_mean(patched[both]),
            **{n: float(self.column(n)[m]) for n in ("delta", "control_delta", "net_delta")},
            **{short: float(self.tested(name)[m]) for short, name in names.items()},
            d_z=float(self.tested("effect_size")[m]),
        )

    def differences_by_metric(self) -> Floats:
        """The tested effect [metric, prompt], NaN for prompts of another stage."""
        other = "control_patched" if self.prefix else "baseline"
        difference: Floats = self._scores("patched") - self._scores(other)
        return difference

    def differences(self, metric: str) -> Floats:
        """The tested effect on one metric by prompt."""
        one: Floats = self.differences_by_metric()[METRICS.index(metric)]
        return one

    def mean_over_prompts(self, name: str) -> float:
        """Mean of a per-prompt variable such as ``kl_first_token``; NaN where not measured."""
        values = np.asarray(self.arrays.get(name, np.nan), float)
        return _mean(values[np.isfinite(values)]) if values.ndim else float("nan")

    def scalar(self, name: str) -> float:
        """A variable with one number a cell, such as ``changed_share``."""
        return float(self.arrays.get(name, np.array(np.nan)))

    def _scores(self, name: str) -> Floats:
        found = self.arrays.get(name)
        return np.full((len(METRICS), 1), np.nan) if found is None else np.asarray(found, float)


Cells = dict[tuple[str, str], Cell]


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
    """

    def __init__(self, node: xr.DataTree) -> None:
        main = node.to_dataset()
        model, _, self.emotion = node.path.strip("/").rpartition("/")
        self.model = model
        self.settings: dict[str, Any] = _settings(main, node.path)
        self._children = {name: child.to_dataset() for name, child in node.children.items()}
        self.prompt_texts = [str(text) for text in main["prompt_text"].values]
        self.prompts = [int(prompt) for prompt in main["prompt"].values]
        self.splits = [str(split) for split in main["split"].values]
        datasets = [main, *(self._children[n] for n in ("head_sets",) if n in self._children)]
        self.has_control = any(
            "net_delta" in one and bool(np.isfinite(one["net_delta"].values).any()) for one in datasets
        )
        self.prefix = "net_" if self.has_control else ""
        self.main = main
        self.confirmed: Cells = {}
        for dataset in datasets:
            self.confirmed |= self._cells(dataset)
        sweep = self.child("sweep")
        self.sweep: Cells = {} if sweep is None else self._cells(sweep)

    def child(self, name: str) -> xr.Dataset | None:
        """A child Dataset, or None where the profile did not make it."""
        return self._children.get(name)

    @property
    def alpha(self) -> float:
        """Level of q."""
        return float(self.settings.get("alpha", 0.05))

    @property
    def mode(self) -> str:
        """The primary mode, or the first tested one where the primary was not run."""
        primary = str(self.settings["patch_mode"])
        return primary if primary in self.modes or not self.modes else self.modes[0]

    @cached_property
    def modes(self) -> tuple[str, ...]:
        """Modes that were tested in the confirmation, in the order of every table."""
        run = {mode for _, mode in self.confirmed}
        return tuple(mode for mode in MODES if mode in run)

    @property
    def sweep_mode(self) -> str:
        """The primary mode where it was swept, else the first swept mode."""
        run = [mode for mode in MODES if any(m == mode for _, m in self.sweep)]
        return self.mode if self.mode in run or not run else run[0]

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Tested heads and sets: singles by place, then sets."""
        return tuple(dict.fromkeys(label for label, _ in self.confirmed))

    @cached_property
    def target_heads(self) -> tuple[str, ...]:
        """The target heads, one label each."""
        spec, size = str(self.settings["target_heads"]), self.main.sizes
        heads = parse_heads(
            spec, n_layers=size["layer"], n_heads=size["head"], where="settings.target_heads"
        )
        return tuple(str(head) for head in heads)

    @cached_property
    def target(self) -> str:
        """Label of the target heads together; of the first tested one where no set was run."""
        size = self.main.sizes
        joint = format_heads(
            parse_heads(str(self.settings["target_heads"]), n_layers=size["layer"], n_heads=size["head"])
        )
        if joint in self.labels:
            return joint
        return next((head for head in self.target_heads if head in self.labels), joint)

    @property
    def is_target_joint(self) -> bool:
        """Whether :attr:`target` means all target heads."""
        return self.target.count(",") + 1 == len(self.target_heads)

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

    def short(self, label: str) -> str:
        """What to call a head or set: its spec, and for a large set as little as tells it apart."""
        if len(label) <= _LONG_LABEL:
            return label
        spec = "".join(str(self.settings["target_heads"]).split())
        if label == self.target and self.is_target_joint and len(spec) <= _LONG_LABEL:
            return spec
        heads = label.split(",")
        return f"{heads[0]}...{heads[-1]}/{len(heads)}/{self.labels.index(label) + 1}"

    @cached_property
    def emotion_metric(self) -> str | None:
        """The metric that stands for the emotion.

        Its GoEmotions label where that was measured, else its keyword count, else the label
        again (as "not measured"); None for an emotion that has neither.
        """
        label = f"goemotions_{_GOEMOTIONS_OF.get(self.emotion, self.emotion)}"
        known = [m for m in (label, f"{self.emotion}_keywords") if m in METRICS]
        return next((m for m in known if m in self.measured), known[0] if known else None)

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
        return tuple(metric for metric, one in zip(METRICS, seen, strict=True) if one)

    @property
    def n_confirmation(self) -> int:
        """Prompts of the confirmation: the most that any confirmed cell was tested on."""
        return max((cell.n_prompts for cell in self.confirmed.values()), default=0)

    @property
    def n_discovery(self) -> int:
        """Prompts of the sweep; 0 without one."""
        return max((cell.n_prompts for cell in self.sweep.values()), default=0)

    def _cells(self, dataset: xr.Dataset) -> Cells:
        """Tested cells of a Dataset, singles or sets, in the order of its coordinates."""
        is_sets = "head_set" in dataset["n_prompts"].dims
        leading = ("head_set", "mode") if is_sets else ("layer", "head", "mode")
        arrays = {
            str(name): variable.transpose(*leading, ...).values
            for name, variable in dataset.data_vars.items()
            if set(leading) <= set(variable.dims)
        }
        baseline = dataset if "baseline" in dataset else self.main
        shared = {"baseline": baseline["baseline"].transpose("metric", "prompt").values}
        modes = [str(mode) for mode in dataset["mode"].values]
        cells: Cells = {}
        for place in _tested_places(arrays["n_prompts"]):
            if is_sets:
                label = str(dataset["head_set"].values[place[0]])
            else:
                label = f"{dataset['layer'].values[place[0]]}:{dataset['head'].values[place[1]]}"
            at = {name: values[place] for name, values in arrays.items()}
            mode = modes[place[-1]]
            cells[label, mode] = Cell(label=label, mode=mode, arrays=at | shared, prefix=self.prefix)
        return cells


def groups(tree: xr.DataTree) -> list[Group]:
    """All (model, emotion) of a tree, in its order.

    Raises
    ------
    UserError
        If the tree holds none with settings.
    """
    nodes = [node for node in tree.subtree if "settings" in node.attrs]
    if not nodes:
        raise UserError(
            expected="at least one /<model>/<emotion> group with settings",
            got="none",
            where="effects tree",
            remedy="open an effects file that `python -m phase7 build` wrote",
        )
    return [Group(node) for node in nodes]


def root_record(tree: xr.DataTree) -> dict[str, Any]:
    """The provenance of a tree; empty where it has none."""
    record: dict[str, Any] = json.loads(str(tree.attrs.get("provenance") or "{}"))
    return record


def by_mode(cells: Cells, labels: Sequence[str], mode: str) -> list[Cell]:
    """Cells of some labels in one mode, those that were tested."""
    return [cells[label, mode] for label in labels if (label, mode) in cells]


def _tested_places(n_prompts: npt.NDArray[Any]) -> Iterator[tuple[int, ...]]:
    for place in np.argwhere(np.nan_to_num(n_prompts) > 0):
        yield tuple(int(i) for i in place)


def _settings(dataset: xr.Dataset, where: str) -> dict[str, Any]:
    try:
        settings: dict[str, Any] = json.loads(str(dataset.attrs["settings"]))
    except ValueError as error:
        raise UserError(
            expected="an attribute `settings` that holds JSON",
            got=type(error).__name__,
            where=where,
            remedy="build the effects file again",
        ) from error
    return settings


def _mean(values: Floats) -> float:
    return float(values.mean()) if values.size else float("nan")
