"""The Datasets of the effects store: labelled arrays of what every patch did, with their statistics.

One (model, emotion) has several, by the name of their node: ``""`` (the confirmation, the numbers to
defend), ``sweep``, ``head_sets``, ``positive_controls``, ``attribution``, ``lengths``, ``circuit``,
``texts``, ``sweep/texts`` and ``ov``. Cells that were not tested are NaN. docs/effects.md lists the
variables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from phase7.effects.answer import AnswerScores, answer_dataset, choice_dataset
from phase7.effects.attributes import label
from phase7.effects.attribution import StageAttribution, attribution_dataset
from phase7.effects.circuit import StageCircuit, circuit_dataset
from phase7.effects.curve import curve_dataset
from phase7.effects.families import KINDS, primary_tests, q_values
from phase7.effects.guards import guards_kept
from phase7.effects.inference import CellStatistics, cell_statistics
from phase7.effects.places import index_of, labels_of, scatter, set_place, single_place
from phase7.effects.positive_controls import PositiveControls, controls_dataset, prompting_shares
from phase7.effects.scores import Floats, StageScores, StageTexts, on_prompts
from phase7.effects.screening import ScreenScores, screen_dataset
from phase7.effects.specificity import Against, specificity, verdicts
from phase7.effects.strengths import strengths_dataset
from phase7.effects.synergies import synergies, tested_effect
from phase7.effects.texts import SWEPT_TEXTS, texts_dataset
from phase7.experiment.curve import Curve
from phase7.experiment.halving import is_halved
from phase7.experiment.statistics import Statistics
from phase7.vocabulary.modes import MODES
from phase7.vocabulary.readouts import measured_on


@dataclass(frozen=True, kw_only=True, eq=False)
class Beside:
    """What was measured beside a confirmation, as far as it was.

    Attributes
    ----------
    controls : PositiveControls or None
    attributed : mapping of str to StageAttribution
        By the split of the prompts.
    checked : StageScores or None
        Of heads that were patched to check what the sweep predicted.
    screened : ScreenScores or None
        The screen that chose the sweep's heads, and what it is judged by.
    against : Against or None
        What the donors of other emotions did through the confirmation's cells.
    doses : StageScores or None
        Of the declared sets at the profile's strengths.
    curve : tuple of (Curve, StageScores) or None
        Sets of growing size, and what was read of them.
    answer : AnswerScores or None
        The set and strength that were chosen to move the text, and their tests.
    circuit : StageCircuit or None
        How the effects of the heads found reach the logits.
    """

    controls: PositiveControls | None = None
    attributed: Mapping[str, StageAttribution] = field(default_factory=dict)
    checked: StageScores | None = None
    screened: ScreenScores | None = None
    against: Against | None = None
    doses: StageScores | None = None
    curve: tuple[Curve, StageScores] | None = None
    answer: AnswerScores | None = None
    circuit: StageCircuit | None = None


class GroupBuilder:
    """Makes the Datasets of one (model, emotion).

    Parameters
    ----------
    confirm : StageScores
    sweep : StageScores or None
        None where the profile has no sweep.
    stats : Statistics
    swept : CellStatistics, optional
        Of the sweep, where that is known already.
    beside : Beside, optional
    """

    def __init__(
        self,
        confirm: StageScores,
        sweep: StageScores | None,
        stats: Statistics,
        swept: CellStatistics | None = None,
        beside: Beside | None = None,
    ) -> None:
        self._confirm, self._sweep, self._stats, self._swept = confirm, sweep, stats, swept
        self._beside = beside or Beside()
        self._seed = confirm.stage.profile.sampling.seed
        stage = confirm.stage
        used = set(stage.recipients) | set(sweep.stage.recipients if sweep else ())
        for tried in self._beside.answer.tried if self._beside.answer else ():
            used |= set(tried.own.stage.recipients)
        self._prompts = sorted(used)
        self._size = (stage.files.n_layers, stage.files.n_heads)
        self._metrics = confirm.full.metrics
        self._primary = primary_tests(stage, self._metrics)

    def datasets(
        self, texts: StageTexts, ov: xr.Dataset | None, swept_texts: StageTexts | None = None
    ) -> dict[str, xr.Dataset]:
        """All Datasets by their name below ``/<model>/<emotion>``; ``""`` is the main one."""
        stage = self._confirm.stage
        result = self._result
        singles = [c for c, cell in enumerate(stage.cells) if cell.head_set.is_single]
        sets = [c for c, cell in enumerate(stage.cells) if not cell.head_set.is_single]
        datasets = {"": self._grid(self._confirm, result, singles)}
        if self._sweep is not None:
            swept = self._swept or cell_statistics(self._sweep.full, self._stats.at_once(), self._seed)
            datasets["sweep"] = self._grid(self._sweep, swept, range(len(self._sweep.stage.cells)))
        if sets:
            datasets["head_sets"] = self._head_sets(result, sets)
        if self._beside.controls is not None:
            tested = self._beside.controls.statistics(self._stats, self._seed)
            datasets["positive_controls"] = controls_dataset(
                self._beside.controls, self._prompts, stage.recipients, tested
            )
        if self._beside.attributed:
            datasets["attribution"] = attribution_dataset(
                self._beside.attributed, self._metrics, self._beside.checked
            )
        if self._beside.screened is not None:
            datasets["screen"] = screen_dataset(self._beside.screened, self._metrics)
        if self._beside.curve is not None:
            (curve, read), controls = self._beside.curve, self._beside.controls
            datasets["curve"] = curve_dataset(read, curve, self._stats, self._seed, controls)
        if self._beside.doses is not None:
            datasets["strengths"] = strengths_dataset(
                self._beside.doses, self._stats, self._seed, self._prompts
            )
        datasets |= self._answer()
        if self._beside.circuit is not None:
            datasets["circuit"] = circuit_dataset(
                self._beside.circuit, self._stats.at_once(), self._seed, self._prompts
            )
        datasets["lengths"] = self._lengths()
        for name, one in (("texts", texts), (SWEPT_TEXTS, swept_texts)):
            if one is not None:
                datasets[name] = texts_dataset(one, self._prompts)
        if ov is not None:
            datasets["ov"] = ov
        coords = self._coords()
        named = {"model": stage.files.name, "emotion": stage.emotion.name}
        kinds = {"donor": stage.donor_kind("emotion"), "control": stage.donor_kind("control")}
        return {
            name: label(_with_coords(one, coords).assign_attrs(named), **kinds)
            for name, one in datasets.items()
        }

    def _answer(self) -> dict[str, xr.Dataset]:
        """``choice`` and ``answer``, as far as there are both."""
        found = self._beside.answer
        if found is None:
            return {}
        made = {
            "choice": choice_dataset(found, self._stats, self._seed, self._prompts),
            "answer": answer_dataset(found, self._stats, self._seed, self._prompts),
        }
        return {name: one for name, one in made.items() if one is not None}

    def _coords(self) -> dict[str, Any]:
        stage = self._confirm.stage
        neutral = stage.neutral.prompts
        swept = () if self._sweep is None else self._sweep.stage.recipients
        halves = [
            "all" if self._sweep is None
            else "confirmation" if p in stage.recipients
            else "discovery" if p in swept else "fresh"
            for p in self._prompts
        ]  # fmt: skip
        return {
            "layer": np.arange(self._size[0]),
            "head": np.arange(self._size[1]),
            "mode": list(MODES),
            "metric": list(self._metrics),
            "measured_on": ("metric", [measured_on(metric) for metric in self._metrics]),
            "prompt": self._prompts,
            "prompt_text": ("prompt", [neutral[p] for p in self._prompts]),
            "split": ("prompt", halves),
            "against": list(self._beside.against.names) if self._beside.against else [],
        }

    def _grid(self, scores: StageScores, result: CellStatistics, cells: Sequence[int]) -> xr.Dataset:
        """Statistics and scores of single heads on (layer, head, mode)."""
        stage = scores.stage
        index = index_of([single_place(stage.cells[c]) for c in cells], n_axes=3)
        shape, dims = (*self._size, len(MODES)), ("layer", "head", "mode")
        return self._variables(scores, result, cells, index, shape, dims)

    def _head_sets(self, result: CellStatistics, cells: Sequence[int]) -> xr.Dataset:
        stage = self._confirm.stage
        labels = labels_of([stage.cells[c] for c in cells])
        index = index_of([set_place(stage.cells[c], labels) for c in cells])
        shape, dims = (len(labels), len(MODES)), ("head_set", "mode")
        dataset = self._variables(self._confirm, result, cells, index, shape, dims)
        found = synergies(stage.cells, self._confirm.full, result, cells, self._stats, self._seed)
        for name, values in found.items():
            missing: Any = "undetermined" if values.dtype.kind in "UT" else np.nan
            whole = np.full((*shape, len(self._metrics)), missing, dtype=values.dtype)
            whole[index] = values
            dataset[name] = ((*dims, "metric"), whole)
        return dataset.assign_coords(head_set=labels)

    @cached_property
    def _result(self) -> CellStatistics:
        return cell_statistics(self._confirm.full, self._stats, self._seed, self._primary)

    @cached_property
    def _specific(self) -> tuple[dict[str, Floats], Any] | None:
        """Statistics by other emotion, each [against, cell, metric], and verdicts [cell, metric]."""
        if self._beside.against is None:
            return None
        full, stats = self._confirm.full, self._stats
        found = specificity(full, self._beside.against, stats, self._seed)
        has_control = "control" in full.patched
        return found, verdicts(self._result, found, has_control=has_control, alpha=stats.alpha)

    def _specificity(
        self, cells: Sequence[int], index: tuple[Any, ...], shape: tuple[int, ...], dims: tuple[str, ...]
    ) -> dict[str, Any]:
        """Variables of some confirmed cells along `against`; none without other emotions."""
        if self._beside.against is None or self._specific is None:
            return {}
        (found, words), chosen, variables = self._specific, list(cells), {}
        for name, values in found.items():
            by_other = np.stack([scatter(shape, index, one[chosen]) for one in values])
            variables[name] = (("against", *dims, "metric"), by_other)
        patched = on_prompts(self._beside.against.patched, self._confirm.stage.recipients, self._prompts)
        by_other = np.stack([scatter(shape, index, one[chosen]) for one in patched])
        variables["against_patched"] = (("against", *dims, "metric", "prompt"), by_other)
        whole = np.full((*shape, len(self._metrics)), "", dtype=words.dtype)
        whole[index] = words[chosen]
        variables["specificity"] = ((*dims, "metric"), whole)
        return variables

    @cached_property
    def _shares(self) -> dict[str, Floats]:
        """The confirmed effects as shares of prompting's, each [cell, metric]."""
        effects = tested_effect(self._confirm.full)
        return prompting_shares(self._beside.controls, effects, self._stats, self._seed)

    def _variables(
        self,
        scores: StageScores,
        result: CellStatistics,
        cells: Sequence[int],
        index: tuple[Any, ...],
        shape: tuple[int, ...],
        dims: tuple[str, ...],
    ) -> xr.Dataset:
        """Statistics and per-prompt scores of `cells`, each at its place; NaN elsewhere."""
        chosen, full = list(cells), scores.full
        variables: dict[str, Any] = {}
        for name, column in result.values.items():
            if name != "p_adjusted" or scores is self._confirm:
                variables[name] = ((*dims, "metric"), scatter(shape, index, column[chosen]))
        if scores is self._confirm:
            variables |= self._of_confirmed(chosen, index, shape, dims)
        recipients = scores.stage.recipients
        for name, by_role, with_metric in (
            ("patched", full.patched, True),
            ("kl_first_token", scores.kl_first_token_nats, False),
            ("changed_share", full.changed, False),
        ):
            for role, prefix in (("emotion", ""), ("control", "control_")):
                values = by_role.get(role)  # type: ignore[call-overload]
                if values is None:
                    values = np.full_like(by_role["emotion"], np.nan)
                if name == "changed_share":
                    spread = scatter(shape, index, values[chosen].mean(axis=-1))
                    variables[prefix + name] = (dims, spread)
                    continue
                wide = on_prompts(values, recipients, self._prompts)
                extra = ("metric", "prompt") if with_metric else ("prompt",)
                spread = scatter(shape, index, wide[chosen])
                variables[prefix + name] = ((*dims, *extra), spread)
        baseline = on_prompts(full.baseline, recipients, self._prompts)
        variables["baseline"] = (("metric", "prompt"), baseline)
        counts = np.zeros(shape, dtype=np.int64)
        counts[index] = _n_prompts(scores)[chosen]
        variables["n_prompts"] = (dims, counts)
        return xr.Dataset(variables)

    def _of_confirmed(
        self, cells: Sequence[int], index: tuple[Any, ...], shape: tuple[int, ...], dims: tuple[str, ...]
    ) -> dict[str, Any]:
        """Variables of confirmed cells alone: families, shares of prompting, other emotions."""
        chosen = list(cells)
        is_primary = np.zeros((*shape, len(self._metrics)), dtype=bool)
        is_primary[index] = self._primary[chosen]
        kept = guards_kept(self._confirm.full, self._confirm.stage.sampling)[chosen]
        variables: dict[str, Any] = {
            "is_primary": ((*dims, "metric"), is_primary),
            "guards_kept": (dims, scatter(shape, index, kept)),
        }
        if self._beside.controls is not None:
            for name, column in self._shares.items():
                variables[name] = ((*dims, "metric"), scatter(shape, index, column[chosen]))
        return variables | self._specificity(cells, index, shape, dims)

    def _lengths(self) -> xr.Dataset:
        """The tests at each length; lengths and cells are one family of cells."""
        stage, lengths = self._confirm.stage, sorted(self._confirm.by_length)
        labels = labels_of(stage.cells)
        index = index_of([set_place(cell, labels) for cell in stage.cells])
        shape, dims = (len(labels), len(MODES)), ("head_set", "mode")
        by_length = [
            cell_statistics(self._confirm.by_length[n], self._stats, self._seed, confidence=None)
            for n in lengths
        ]
        names = ["delta", "p_value", "n_nonzero", "effect_size"]
        names += [f"net_{name}" for name in names]
        variables: dict[str, Any] = {}
        columns = {name: np.stack([one.column(name) for one in by_length]) for name in names}
        for prefix in ("", "net_"):
            columns[f"{prefix}q_value"] = q_values(
                columns[f"{prefix}p_value"], columns[f"{prefix}n_nonzero"], self._metrics, self._stats,
                cell_p={k: np.stack([one.cell_p[prefix][k] for one in by_length]) for k in KINDS},
            )  # fmt: skip
        for name, column in columns.items():
            spread = np.stack([scatter(shape, index, one) for one in column])
            variables[name] = (("length", *dims, "metric"), spread)
        changed = [
            scatter(shape, index, self._confirm.by_length[n].changed["emotion"].mean(axis=-1))
            for n in lengths
        ]
        variables["changed_share"] = (("length", *dims), np.stack(changed))
        return xr.Dataset(variables, coords={"length": lengths, "head_set": labels})


def _n_prompts(scores: StageScores) -> npt.NDArray[np.int64]:
    """Prompts of each cell, int64 [cell]: fewer where a search dropped it before the last."""
    n = len(scores.stage.recipients)
    if not is_halved(scores.stage):
        return np.full(len(scores.stage.cells), n)
    measured: npt.NDArray[np.int64] = (
        np.isfinite(scores.full.patched["emotion"]).any(axis=1).sum(axis=-1)
    )
    return measured


def _with_coords(dataset: xr.Dataset, coords: Mapping[str, Any]) -> xr.Dataset:
    """The Dataset with those of the group's coordinates whose dimension it has."""
    own = {
        name: coord
        for name, coord in coords.items()
        if (coord[0] if isinstance(coord, tuple) else name) in dataset.dims
    }
    return dataset.assign_coords(own)
