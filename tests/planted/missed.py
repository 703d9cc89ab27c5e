"""A screen of the cancelling model, by the engine alone: estimates, exact effects and the bound."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from phase7.engine.decode.attribution import slopes_of
from phase7.engine.decode.corrected import dropped_slopes
from phase7.engine.decode.forced import forced_pass
from phase7.engine.decode.read_logits import log_odds_of
from phase7.engine.model.loading import load_model
from phase7.engine.model.tokens import encode
from phase7.engine.patch.capture import capture
from phase7.engine.patch.donors import DonorSum
from phase7.engine.patch.patching import Patch
from phase7.models.files import find_model
from phase7.statistics.missed import largest_missed, n_splits, random_signs
from phase7.vocabulary.heads import Head, parse_heads
from tests.planted import cancelling, model

HEADS = parse_heads("all", n_layers=model.N_LAYERS, n_heads=model.N_HEADS)
PATH = (3, 9, 17)
SETS = {"gratitude": [model.WORDS.index(word) for word in model.GRATITUDE_WORDS]}
N_CHOSEN, N_DRAWN, CONFIDENCE = 2, 3, 0.95
_ROLES = ("emotion", "control")


@dataclass(frozen=True, kw_only=True)
class Planted:
    """Tested effects of one model's heads on the log-odds of gratitude, in the order of `HEADS`.

    Attributes
    ----------
    plain, dropped, exact : float64 array [head]
        Predicted, GradDrop's score, and measured.
    bound : float
        On the largest effect of a head that is not among the first `N_CHOSEN` by `plain`.
    missed : float
        That largest effect.
    largest_drawn : float
        The largest of `N_DRAWN` of these heads, drawn at random.
    """

    plain: np.ndarray
    dropped: np.ndarray
    exact: np.ndarray
    bound: float
    missed: float
    largest_drawn: float

    def first(self, scores: np.ndarray, n: int) -> list[Head]:
        """The heads with the largest scores."""
        return [HEADS[i] for i in np.argsort(-np.abs(scores), kind="stable")[:n]]


def planted(folder: Path, seed: int, *, n_prompts: int = 3) -> Planted:
    """Build a model, screen it, and patch everything."""
    cancelling.save(folder / "model", seed)
    loaded = load_model(find_model(str(folder / "model"), store_root=folder / "store"))
    prompts = {}
    for role, share in zip(_ROLES, (0.5, 0.0), strict=True):
        path = folder / f"{role}.json"
        model.write_prompts(path, seed=seed, n_prompts=4 + n_prompts, share_of_markers=share)
        texts = json.loads(path.read_text(encoding="utf-8"))["prompts"]
        prompts[role] = [encode(loaded, text, "raw") for text in texts]
    recipients, donors_of = prompts["control"][:n_prompts], {}
    for role, tokens in prompts.items():
        kept = tokens[n_prompts:] if role == "control" else tokens
        donors_of[role] = DonorSum(capture(loaded, one, all_queries=False) for one in kept).mean()
    read, donors = log_odds_of(loaded, PATH, SETS), [donors_of[role] for role in _ROLES]
    plain, dropped = [], []
    for tokens in recipients:
        given = slopes_of(loaded, tokens, PATH, read, positions="generated")
        plain.append(_net(given.effects(donors, "result")))
        by_layer = dropped_slopes(loaded, tokens, PATH, read, positions="generated")
        each = [np.abs(_net(one.effects(donors, "result"))) for one in by_layer]
        dropped.append(np.sum(each, axis=0) / (len(each) - 1))

    def exactly(sets: list[tuple[Head, ...]]) -> np.ndarray:
        """Mean net effect of each set; of no heads it is 0."""
        some = [heads for heads in sets if heads]
        patches = [Patch(heads=heads, donor=role) for role in _ROLES for heads in some]
        net = []
        for tokens in recipients:
            got = forced_pass(loaded, tokens, PATH, patches, donors=donors_of, token_sets=SETS)
            emotion, control = np.split(got.patched.log_odds["gratitude"].mean(axis=1), 2)
            net.append(emotion - control)
        means = iter(np.mean(net, axis=0))
        return np.array([next(means) if heads else 0.0 for heads in sets])

    mean, exact = np.mean(plain, axis=0), exactly([(head,) for head in HEADS])
    others = np.argsort(-np.abs(mean), kind="stable")[N_CHOSEN:]
    signs = random_signs(len(others), n_splits(CONFIDENCE), seed=seed)
    sides = [tuple(HEADS[i] for i in others[one == k]) for one in signs for k in (1, -1)]
    halves = exactly([tuple(sorted(side)) for side in sides]).reshape(-1, 2)
    drawn = np.random.default_rng(seed).choice(others, size=N_DRAWN, replace=False)
    return Planted(
        plain=mean,
        dropped=np.mean(dropped, axis=0),
        exact=exact,
        bound=float(largest_missed(mean[others], signs, halves[:, 0] - halves[:, 1])),
        missed=float(np.abs(exact[others]).max()),
        largest_drawn=float(np.abs(exact[drawn]).max()),
    )


def _net(effects: np.ndarray) -> np.ndarray:
    """From [donor, read-out, layer, head] to the net effect along the path, by head."""
    return (effects[0, 0] - effects[1, 0]).ravel()
