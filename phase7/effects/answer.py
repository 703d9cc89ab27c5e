"""What was chosen to move the text, and what its tests found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from phase7.effects.guards import guards_kept
from phase7.effects.inference import cell_statistics, mean_over_prompts
from phase7.effects.scores import Floats, Scores, StageScores, on_prompts
from phase7.effects.strengths import strengths_dataset, with_control
from phase7.effects.synergies import tested_effect
from phase7.experiment.stages import Cell
from phase7.experiment.statistics import Statistics
from phase7.statistics import benjamini_hochberg
from phase7.vocabulary.emotions import goemotions_metric, keywords_metric
from phase7.vocabulary.readouts import is_readout

#: Statistics of an effect, as :func:`phase7.effects.inference.cell_statistics` names those of net Δ.
_NAMES = ("delta", "ci_low", "ci_high", "p_value", "effect_size")


@dataclass(frozen=True, kw_only=True, eq=False)
class Tried:
    """What one test of the chosen cell measured.

    Attributes
    ----------
    name : {"confirmation", "fresh"}
    own : StageScores
        Of one cell.
    rivals : mapping of str to StageScores
        The same cell with the donors of other emotions, by their names.
    """

    name: str
    own: StageScores
    rivals: Mapping[str, StageScores]


@dataclass(frozen=True, kw_only=True, eq=False)
class AnswerScores:
    """The candidates, the chosen one, and its tests.

    Attributes
    ----------
    candidates : StageScores
        On discovery prompts.
    chosen : Cell or None
        None where no candidate's text still read as the baseline's while the metric rose.
    metric : str
        By which it was chosen.
    tried : tuple of Tried
    """

    candidates: StageScores
    chosen: Cell | None
    metric: str
    tried: tuple[Tried, ...] = ()


def choose(candidates: StageScores, metric: str) -> Cell | None:
    """The candidate with the largest mean tested effect on a read-out, among those that keep the guards.

    None where none of them raises it. Ties go to the smaller set, then the lower strength.
    """
    scores = with_control(candidates)
    effect = mean_over_prompts(tested_effect(scores)[:, scores.metrics.index(metric)])
    kept = guards_kept(scores, candidates.stage.sampling)
    cells = candidates.stage.cells
    able = [c for c in range(len(cells)) if kept[c] == 1 and effect[c] > 0]
    return (
        cells[min(able, key=lambda c: (-effect[c], len(cells[c].heads), cells[c].strength))]
        if able
        else None
    )


def choice_dataset(
    found: AnswerScores, stats: Statistics, seed: int, prompts: Sequence[int]
) -> xr.Dataset:
    """The Dataset ``choice``: the candidates [head_set, strength, metric], and which was chosen."""
    dataset = strengths_dataset(found.candidates, stats.at_once(), seed, prompts)
    chosen = np.zeros((dataset.sizes["head_set"], dataset.sizes["strength"]), dtype=bool)
    if found.chosen is not None:
        labels = dataset.indexes["head_set"].tolist()
        strengths = dataset.indexes["strength"].tolist()
        chosen[labels.index(found.chosen.label), strengths.index(found.chosen.strength)] = True
    dataset["chosen"] = (("head_set", "strength"), chosen)
    return dataset.assign_attrs(chosen_by=found.metric)


def answer_dataset(
    found: AnswerScores, stats: Statistics, seed: int, prompts: Sequence[int]
) -> xr.Dataset | None:
    """The Dataset ``answer``: the chosen cell by trial; None where nothing was chosen.

    Statistics of the tested effect [trial, metric], and of the specific Δ [trial, against, metric]. Of
    each trial the tests of the emotion's own metrics of text, net and specific, are one family. Other
    metrics of text are given with p alone, read-outs with their mean net Δ alone: their p would have to
    hold over donor pairs, which nobody asked here.
    """
    if found.chosen is None or not found.tried:
        return None
    metrics = found.candidates.full.metrics
    rivals = list(found.tried[0].rivals)
    own = np.array([metric in text_metrics(found.candidates.stage.emotion.name) for metric in metrics])
    dataset = xr.Dataset(coords={"trial": [one.name for one in found.tried], "against": rivals})
    parts = [_trial(one, stats, seed, own) for one in found.tried]
    for name in parts[0]:
        values = np.stack([part[name] for part in parts])
        dims = ("trial", "against", "metric") if name.startswith("specific_") else ("trial", "metric")
        dataset[name] = (dims[: values.ndim], values)
    dataset["is_of_emotion"] = ("metric", own)
    kept = [guards_kept(with_control(one.own), one.own.stage.sampling)[0] for one in found.tried]
    dataset["guards_kept"] = ("trial", kept)
    for name, values in _scores(found.tried, prompts).items():
        extra = ("against",) if name == "against_patched" else ()
        dataset[name] = (("trial", *extra, "metric", "prompt"), values)
    cell = found.chosen
    return dataset.assign_attrs(
        heads=cell.label, strength=cell.strength, write=cell.write, mode=cell.mode
    )


def text_metrics(emotion: str) -> tuple[str, ...]:
    """The metrics of text that stand for an emotion: its GoEmotions label and its words."""
    both = (goemotions_metric(emotion), keywords_metric(emotion))
    return tuple(metric for metric in both if metric is not None)


def _trial(
    one: Tried, stats: Statistics, seed: int, own: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> dict[str, Floats]:
    """Statistics of one trial: [metric], and [against, metric] of the specific Δ."""
    scores = with_control(one.own)
    tested = cell_statistics(scores, stats, seed)
    prefix = "net_" if "control" in scores.patched else ""
    found = {f"net_{name}": tested.column(prefix + name)[0] for name in _NAMES}
    found["delta"] = tested.column("delta")[0]
    specific = [
        cell_statistics(_against(scores, _patched(other, len(own))), stats, seed)
        for other in one.rivals.values()
    ]
    for name in _NAMES:
        rows = [of.column(f"net_{name}")[0] for of in specific]
        found[f"specific_{name}"] = np.array(rows).reshape(len(rows), len(own))
    logits = np.array([is_readout(metric) for metric in scores.metrics])
    for name, values in found.items():
        if not name.endswith("delta"):
            values[..., logits] = np.nan
    net, against = found["net_p_value"], found["specific_p_value"]
    q = benjamini_hochberg(np.concatenate([net[own], against[:, own].ravel()]))
    found["net_q_value"], found["specific_q_value"] = (
        np.full_like(net, np.nan),
        np.full_like(against, np.nan),
    )
    found["net_q_value"][own] = q[: own.sum()]
    found["specific_q_value"][:, own] = q[own.sum() :].reshape(len(specific), -1)
    return found


def _against(scores: Scores, other: Floats) -> Scores:
    """The scores with another donor's run in the place of the control's."""
    arms = {"emotion": scores.patched["emotion"], "control": other}
    return Scores(baseline=scores.baseline, patched=arms, changed={}, metrics=scores.metrics)  # type: ignore[arg-type]


def _patched(rival: StageScores, n_metrics: int) -> Floats:
    """A rival's scores [cell, metric, prompt]; NaN for the read-outs, which stand behind the text."""
    values = rival.full.patched["emotion"]
    missing = np.full((len(values), n_metrics - values.shape[1], values.shape[2]), np.nan)
    return np.concatenate([values, missing], axis=1)


def _scores(tried: Sequence[Tried], prompts: Sequence[int]) -> dict[str, Floats]:
    """Scores by prompt of all trials; NaN for prompts of other stages."""
    rows: dict[str, list[Floats]] = {}
    for one in tried:
        scores, recipients = with_control(one.own), one.own.stage.recipients
        arms = {"baseline": scores.baseline, "patched": scores.patched["emotion"][0]}
        if "control" in scores.patched:
            arms["control_patched"] = scores.patched["control"][0]
        others = [_patched(other, len(scores.metrics))[0] for other in one.rivals.values()]
        arms["against_patched"] = np.array(others).reshape(len(others), *scores.baseline.shape)
        for name, values in arms.items():
            rows.setdefault(name, []).append(on_prompts(values, recipients, prompts))
    return {name: np.stack(values) for name, values in rows.items()}
