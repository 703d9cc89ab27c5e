"""A prompt's text without and with a patch, at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phase7.api.models import LoadedModel, as_sampling
from phase7.api.patched import AnyDonor, patched
from phase7.api.settings import Heads, head_spec
from phase7.experiment.profile import Sampling
from phase7.findings.pairs import TextPair, TextPairs
from phase7.vocabulary.modes import Mode, Positions


def compare_texts(
    model: LoadedModel,
    prompt: str,
    heads: Heads,
    donor: AnyDonor,
    *,
    strength: float = 1.0,
    mode: Mode = "result",
    positions: Positions = "generated",
    sampling: Sampling | Mapping[str, Any] | None = None,
) -> TextPairs:
    """Generate a prompt's text without and with a patch, and show where they part.

    Parameters
    ----------
    model : LoadedModel
    prompt : str
    heads, donor, strength, mode, positions
        As of :class:`phase7.patched`.
    sampling : Sampling or mapping, optional
        Both texts are drawn with its noise.

    Returns
    -------
    TextPairs
        One pair for each sample. It prints as two columns, and shows as a table in a notebook; the first
        word that differs is marked.

    Raises
    ------
    UserError
        As :class:`phase7.patched` and ``model.generate``.
    """
    what = patched(model, heads, donor, strength=strength, mode=mode, positions=positions, tell=None)
    baseline, other, _ = what.generate(prompt, as_sampling(sampling))
    return TextPairs(
        [
            TextPair(
                baseline=one, patched=two, prompt=prompt, heads=head_spec(heads), mode=mode, sample=i
            )
            for i, (one, two) in enumerate(zip(baseline, other, strict=True))
        ]
    )
