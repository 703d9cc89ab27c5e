"""What a group of results was made with, as its report and its pickle tell it.

One flat dict for each model and emotion, of built-in types: JSON can hold it, and a reader needs no
phase7 to read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from phase7.effects.families import families_rule
from phase7.effects.selection import selection_rule
from phase7.experiment.chosen_heads import random_heads
from phase7.experiment.halving import is_halved, rounds
from phase7.experiment.stages import Stage
from phase7.experiment.statistics import Statistics
from phase7.models.files import ModelFiles
from phase7.scoring.base import Scorer
from phase7.vocabulary.heads import Head, HeadSet


def group_settings(
    files: ModelFiles,
    confirm: Stage,
    sweep: Stage | None,
    *,
    strongest: Sequence[Head],
    first: Sequence[tuple[Head, ...]],
    drawn: Sequence[tuple[Head, ...]],
    selection_metrics: Sequence[str],
    scorers: Sequence[Scorer],
) -> dict[str, Any]:
    """The settings of one model and one emotion.

    Parameters
    ----------
    files : ModelFiles
    confirm : Stage
    sweep : Stage or None
        None where the profile has no sweep.
    strongest : sequence of Head
        The heads that the sweep chose, each tested alone.
    first, drawn : sequence of tuple of Head
        The sets of its first heads, and the random ones beside them.
    selection_metrics : sequence of str
        The metrics by which it chose them.
    scorers : sequence of Scorer
    """
    profile = confirm.profile
    return (
        _model(files)
        | _patching(confirm, first)
        | _prompts(confirm, sweep)
        | _sampling(confirm, sweep)
        | {
            **_framing(confirm),
            "dtype": profile.engine.dtype,
            "device": profile.engine.device,
            "scorers": [scorer.describe() for scorer in scorers],
            "families": families_rule(confirm),
            "alpha": profile.statistics.alpha,
            "random_heads": [str(head) for head in random_heads(profile, files)],
            "strongest_heads": [str(head) for head in strongest],
            "selection_rule": selection_rule(selection_metrics),
            "strongest_sets": [HeadSet(heads).label for heads in first],
            "random_sets": [HeadSet(heads).label for heads in drawn],
            "discovery_overlaps_confirmation": _overlap(confirm, sweep),
        }
    )


def _model(files: ModelFiles) -> dict[str, Any]:
    return {
        "model": files.name,
        "model_source": files.source,
        "fingerprint": files.fingerprint,
        "n_layers": files.n_layers,
        "n_heads": files.n_heads,
    }


def _patching(confirm: Stage, first: Sequence[tuple[Head, ...]]) -> dict[str, Any]:
    patching, tested = confirm.profile.patching, confirm.profile.confirm
    is_named = bool(tested.target_heads.strip())
    return {
        "emotion": confirm.emotion.name,
        "target_heads": tested.target_heads if is_named else HeadSet(first[-1]).label if first else "",
        "is_target_named": is_named,
        "patch_mode": patching.primary_mode,
        "modes": list(tested.modes),
        "donor": patching.donor,
        "control": None if patching.control == "none" else patching.control,
        "positions": patching.positions,
        "use_attn_result": patching.use_attn_result,
    }


def _prompts(confirm: Stage, sweep: Stage | None) -> dict[str, Any]:
    return {
        "n_neutral_prompts": len(confirm.neutral.prompts),
        "n_emotion_prompts": len(confirm.emotion.prompts),
        "n_discovery_prompts": len(sweep.recipients) if sweep else 0,
        "n_confirmation_prompts": len(confirm.recipients),
    }


def _framing(confirm: Stage) -> dict[str, Any]:
    framing = confirm.framing
    return {
        "prompt_format": framing.format,
        "system_message": framing.system or None,
        "template_arguments": dict(framing.arguments),
        "prompt_date": framing.date or None,
    }


def _sampling(confirm: Stage, sweep: Stage | None) -> dict[str, Any]:
    sampling, profile_sweep = confirm.sampling, confirm.profile.sweep
    screen = confirm.profile.screen
    return {
        "max_new_tokens": sampling.max_new_tokens,
        "sweep_readouts": profile_sweep.readouts if sweep and profile_sweep else "",
        "screen": asdict(screen) if sweep and screen else None,
        "sweep_max_new_tokens": sweep.sampling.max_new_tokens if sweep else 0,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "samples": sampling.samples,
        "seed": sampling.seed,
    }


def adaptive_settings(sweep: Stage | None, stats: Statistics, n_planned: int) -> dict[str, Any]:
    """The looks at the confirmation and the rounds of the search; nothing where all were run at once.

    Parameters
    ----------
    sweep : Stage or None
    stats : Statistics
        Of the look at which the confirmation stopped.
    n_planned : int
        Prompts that it could have had.
    """
    ends, found = stats.ends(n_planned), dict[str, Any]()
    if len(ends) > 1:
        found["looks"] = {"prompts": list(ends), "spending": stats.spending, "share": stats.share}
    if sweep is not None and is_halved(sweep):
        found["halving"] = [[len(one.recipients), one.n_heads] for one in rounds(sweep)]
    return found


def _overlap(confirm: Stage, sweep: Stage | None) -> bool:
    """Whether a prompt is used both to choose heads and to test them."""
    return bool(set(confirm.recipients) & set(sweep.recipients if sweep else ()))
