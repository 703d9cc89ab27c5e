"""What a screen says: scores of all heads, those it chose, and how far it agrees with exact patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from phase7.effects.attribution import StageAttribution
from phase7.effects.scores import Floats, StageScores
from phase7.effects.synergies import tested_effect
from phase7.experiment.screening import Group
from phase7.experiment.swept import swept_heads
from phase7.statistics.missed import largest_missed, n_larger, rank_correlation
from phase7.vocabulary.heads import Head, HeadSet, format_heads
from phase7.vocabulary.modes import MODES, mode_place


def predicted_effects(found: StageAttribution) -> Floats:
    """Mean predicted tested effects, [mode, metric, layer, head], in nats."""
    control = found.heads.get("control", 0.0)
    mean: Floats = (found.heads["emotion"] - control).mean(axis=-1)
    return mean


def screen_scores(found: StageAttribution) -> Floats:
    """What heads are chosen by, at least 0: [mode, metric, layer, head], in nats.

    The absolute mean over prompts of the predicted tested effect; with dropped gradients the mean over
    prompts of GradDrop's score.
    """
    if found.dropped is None:
        return np.abs(predicted_effects(found))
    mean: Floats = found.dropped.mean(axis=-1)
    return mean


def screened_heads(found: StageAttribution, metrics: Sequence[str], n: int) -> list[Head]:
    """The first `n` heads of a screen, strongest first.

    Each score is divided by its root mean square over the swept heads in that mode; the score of a head
    is the root mean square over `metrics`, of its strongest mode. Ties go to the lower head.
    """
    heads = swept_heads(found.stage)
    layers, numbers = np.array(heads).T
    rows = [found.metrics.index(metric) for metric in metrics]
    scores = screen_scores(found)[:, rows][:, :, layers, numbers]  # [mode, metric, swept head]
    scale = np.sqrt((scores**2).mean(axis=-1, keepdims=True))
    scaled = np.divide(scores, scale, out=np.zeros_like(scores), where=scale > 0)
    strength = np.sqrt((scaled**2).mean(axis=1)).max(axis=0)
    order = sorted(range(len(heads)), key=lambda i: (-strength[i], heads[i]))
    return [heads[i] for i in order[:n]]


@dataclass(frozen=True, kw_only=True, eq=False)
class ScreenScores:
    """A screen and the exact patches that it is judged by.

    Attributes
    ----------
    found : StageAttribution
        Estimates of all heads.
    metrics : tuple of str
        By which the heads were chosen.
    chosen : tuple of Head
        Strongest first.
    swept : StageScores
        Exact patches of the chosen heads.
    unchosen : StageScores or None
        Of a random sample of the others.
    groups : sequence of Group
    halves : StageScores or None
        Of the sides of their splits.
    """

    found: StageAttribution
    metrics: tuple[str, ...]
    chosen: tuple[Head, ...]
    swept: StageScores
    unchosen: StageScores | None
    groups: Sequence[Group]
    halves: StageScores | None

    @property
    def n_others(self) -> int:
        """Heads that were not chosen."""
        return len(swept_heads(self.found.stage)) - len(self.chosen)

    @property
    def n_drawn(self) -> int:
        """Of these, patched one by one."""
        return 0 if self.unchosen is None else len(swept_heads(self.unchosen.stage))


def screen_dataset(screened: ScreenScores, metrics: Sequence[str]) -> xr.Dataset:
    """The Dataset ``screen``: scores [layer, head, mode, metric] and the agreement [mode, metric].

    Everything is of the tested effect, the mean over the discovery prompts, in nats; NaN for modes that
    were not screened and metrics without a direction.

    Parameters
    ----------
    metrics : sequence of str
        The group's metric axis.
    """
    found, screen = screened.found, screened.found.stage.profile.screen
    assert screen is not None
    scores, predicted = screen_scores(found), predicted_effects(found)
    files, shape = found.stage.files, (len(MODES), len(metrics))
    score = np.full((files.n_layers, files.n_heads, *shape), np.nan)
    by_place: dict[str, Floats] = {}
    swept = swept_heads(found.stage)
    for m, mode in enumerate(found.modes):
        for r, metric in enumerate(found.metrics):
            place = mode_place(mode), metrics.index(metric)
            for head in swept:
                score[(*head, *place)] = scores[(m, r, *head)]
            for name, value in _agreement(screened, mode, metric, predicted[m, r]).items():
                by_place.setdefault(name, np.full(shape, np.nan))[place] = value
    dataset = xr.Dataset({name: (("mode", "metric"), values) for name, values in by_place.items()})
    dataset["screen_score"] = (("layer", "head", "mode", "metric"), score)
    return dataset.assign_attrs(
        by=screen.by,
        gradient=screen.gradient,
        metrics=",".join(screened.metrics),
        chosen=format_heads(screened.chosen),
        n_screened=len(swept),
        n_drawn=screened.n_drawn,
        n_larger=n_larger(screened.n_others, screened.n_drawn, confidence=screen.confidence),
        confidence=screen.confidence,
        n_splits=len(screened.groups[0].signs) if screened.groups else 0,
    )


def _agreement(screened: ScreenScores, mode: str, metric: str, predicted: Floats) -> dict[str, float]:
    """Of one mode and read-out; `predicted` [layer, head]."""
    chosen = _exact(screened.swept, mode, metric)
    drawn = {} if screened.unchosen is None else _exact(screened.unchosen, mode, metric)
    estimate = {heads: float(predicted[heads[0]]) for heads in (*chosen, *drawn)}

    def correlation(exact: dict[tuple[Head, ...], float]) -> float:
        return rank_correlation([estimate[h] for h in exact], [*exact.values()])

    return {
        "chosen_rank_correlation": correlation(chosen),
        "unchosen_rank_correlation": correlation(drawn),
        "rank_correlation": correlation(chosen | drawn),
        "largest_unchosen": max(map(abs, drawn.values()), default=np.nan),
        "largest_missed": _missed(screened, mode, metric, predicted),
    }


def _missed(screened: ScreenScores, mode: str, metric: str, predicted: Floats) -> float:
    """The bound on the largest effect of a head that was not chosen: the largest of all groups'."""
    if screened.halves is None:
        return np.nan if screened.n_others else 0.0
    exact = _exact(screened.halves, mode, metric) | {(): 0.0}
    bounds = []
    for group in screened.groups:
        differences = [
            exact[group.side(split, 1)] - exact[group.side(split, -1)]
            for split in range(len(group.signs))
        ]
        known = [predicted[head] for head in group.heads]
        bounds.append(float(largest_missed(known, group.signs, differences)))
    return max(bounds)


def _exact(scores: StageScores, mode: str, metric: str) -> dict[tuple[Head, ...], float]:
    """Mean tested effects of a stage's cells in one mode, by their heads."""
    stage, at = scores.stage, scores.full.metrics.index(metric)
    effects = tested_effect(scores.full)[:, at].mean(axis=-1)
    return {cell.heads: float(effects[c]) for c, cell in enumerate(stage.cells) if cell.mode == mode}


def screen_lines(dataset: xr.Dataset) -> list[str]:
    """What a Dataset ``screen`` says, in a line for each mode and selection metric."""
    at, n_chosen, lines = dataset.attrs, len(HeadSet.parse(dataset.attrs["chosen"]).heads), []
    others = at["n_screened"] - n_chosen
    for metric in str(at["metrics"]).split(","):
        for mode in MODES:
            one = dataset.isel(mode=mode_place(mode)).sel(metric=metric)
            if np.isnan(one["screen_score"]).all():
                continue
            value = {name: float(one[name]) for name in one.data_vars if name != "screen_score"}
            lines.append(
                f"screen of {at['n_screened']} heads, {mode} {metric}: rank correlation with exact"
                f" patches {value['chosen_rank_correlation']:.3f} over the {n_chosen} chosen,"
                f" {value['unchosen_rank_correlation']:.3f} over {at['n_drawn']} others drawn at"
                f" random, whose largest effect is {value['largest_unchosen']:.4f} nats; with confidence"
                f" {at['confidence']:g} at most {at['n_larger']} of the {others} others have a larger"
                f" one, and none one above {value['largest_missed']:.4f} where effects add up"
            )
    return lines
