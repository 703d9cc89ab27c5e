"""What the emotion's donor does beyond the donors of other emotions, and the verdict that follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from phase7.effects.inference import CellStatistics, cell_statistics
from phase7.effects.scores import Floats, Scores, StageScores
from phase7.experiment.statistics import Statistics
from phase7.vocabulary.verdicts import ANY_EMOTION, NO_EFFECT, SPECIFIC, UNDETERMINED

#: Statistics of Δ(emotion) - Δ(other), by what they are called among those of net Δ.
_OF_NET = {
    "specific_delta": "net_delta",
    "specific_ci_low": "net_ci_low",
    "specific_ci_high": "net_ci_high",
    "specific_p_value": "net_p_value",
    "specific_q_value": "net_q_value",
    "specific_effect_size": "net_effect_size",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Against:
    """What the donors of other emotions did through the confirmation's cells.

    Attributes
    ----------
    names : tuple of str
        The other emotions.
    patched : float64 array [against, cell, metric, prompt]
    donor_shares : float64 array [against, cell, metric, pair] or None
        What each pair of the other emotion's donor prompt and the neutral one adds to its net Δ.
    """

    names: tuple[str, ...]
    patched: Floats
    donor_shares: Floats | None


def gather_against(others: Sequence[StageScores]) -> Against | None:
    """Put the stages of other emotions beside each other; None without any."""
    if not others:
        return None
    shares = [one.full.donor_shares for one in others]
    known = [one for one in shares if one is not None]
    return Against(
        names=tuple(one.stage.emotion.name for one in others),
        patched=np.stack([one.full.patched["emotion"] for one in others]),
        donor_shares=np.stack(known) if len(known) == len(shares) else None,
    )


def specificity(confirm: Scores, against: Against, stats: Statistics, seed: int) -> dict[str, Floats]:
    """Statistics of the specific Δ, and of what each other emotion does itself.

    The tests are those of net Δ, with the other emotion's run in the place of the control's; all cells,
    metrics and other emotions are one family. `other_delta` and `other_q_value` are of the other
    emotion's own tested effect (net Δ where a control ran).

    Returns
    -------
    dict of str to float64 array [against, cell, metric]
    """
    n_others, n_cells = against.patched.shape[:2]
    emotion = np.broadcast_to(confirm.patched["emotion"], against.patched.shape)
    shares = _beyond(confirm.donor_shares, against.donor_shares)
    specific = _tested({"emotion": emotion, "control": against.patched}, confirm, shares, stats, seed)
    arms = {"emotion": against.patched}
    if "control" in confirm.patched:
        arms["control"] = np.broadcast_to(confirm.patched["control"], against.patched.shape)
    other = _tested(arms, confirm, against.donor_shares, stats, seed)
    prefix = "net_" if "control" in arms else ""
    columns = {name: specific.column(of) for name, of in _OF_NET.items()}
    columns |= {f"other_{name}": other.column(prefix + name) for name in ("delta", "q_value")}
    return {name: one.reshape(n_others, n_cells, -1) for name, one in columns.items()}


def verdicts(
    own: CellStatistics, found: Mapping[str, Floats], *, has_control: bool, alpha: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.str_]]:
    """Whether each effect is specific to the emotion: words [cell, metric].

    Specific: the tested effect and the specific Δ against every other emotion agree in sign, each with q
    below the level. Any emotion: the tested effect and those of all other emotions do, and no specific Δ
    does. Undetermined: neither. Without a tested effect with q below the level there is nothing that
    could be specific.
    """
    prefix = "net_" if has_control else ""
    delta, q = own.column(f"{prefix}delta"), own.column(f"{prefix}q_value")
    there = q < alpha
    agrees = (found["specific_q_value"] < alpha) & (found["specific_delta"] * delta > 0)
    shared = (found["other_q_value"] < alpha) & (found["other_delta"] * delta > 0)
    words = np.full(delta.shape, NO_EFFECT, dtype="<U16")
    words[there] = UNDETERMINED
    words[there & shared.all(axis=0) & ~agrees.any(axis=0)] = ANY_EMOTION
    words[there & agrees.all(axis=0)] = SPECIFIC
    return words


def _beyond(own: Floats | None, other: Floats | None) -> Floats | None:
    """The pairs' shares of the specific Δ: of emotion prompt j and the other emotion's prompt j."""
    if own is None or other is None:
        return None
    n_pairs = min(own.shape[-1], other.shape[-1])
    shares: Floats = own[..., :n_pairs] - other[..., :n_pairs]
    return shares


def _tested(
    arms: Mapping[str, Floats], confirm: Scores, shares: Floats | None, stats: Statistics, seed: int
) -> CellStatistics:
    """Statistics of arms [against, cell, metric, prompt], others and cells on one axis."""

    def flat(array: Floats) -> Floats:
        return array.reshape(-1, *array.shape[2:])

    scores = Scores(
        baseline=confirm.baseline,
        patched={role: flat(array) for role, array in arms.items()},  # type: ignore[misc]
        changed={},
        metrics=confirm.metrics,
        donor_shares=None if shares is None else flat(shares),
    )
    return cell_statistics(scores, stats, seed)
