"""One architecture: loaded, patched in every mode, and compared with transformers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from phase7.engine.decode.loop import Continuations, generate
from phase7.engine.model.bridge import Model
from phase7.engine.model.kv_cache import shares_layers
from phase7.engine.model.loading import load_model
from phase7.engine.model.tokens import encode
from phase7.engine.patch.capture import capture
from phase7.engine.patch.donors import single
from phase7.engine.patch.patching import Patch
from phase7.experiment.profile import Sampling
from phase7.models.files import find_model, require_heads
from phase7.models.quiet import quiet
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.heads import parse_heads
from phase7.vocabulary.modes import MODES, Mode
from tests.programs.models.architectures import save

PROMPT, OTHER = "The kettle is on the second shelf", "Thank you so much for the lift, I am grateful"
#: Patched separately: heads of one layer, whose rows share the layers below, and all heads.
HEADS = ("1:2", "2:0,2:3", "all")
_GREEDY = Sampling(max_new_tokens=8, temperature=0.0)
#: Below this share, the divergences of two patches are the same up to rounding.
_SAME = 2e-3


class Wrong(Exception):
    """What runs, and not rightly."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one architecture does.

    Attributes
    ----------
    modes : dict of str to str
        By mode and for ``attn_result``: ``yes``, or why it is refused.
    largest_gap : float
        Of the logits of rows patched with their own activations; 0.0 is equal to the bit.
    shares_layers : bool
    seconds : float
    refused : str
        The line with which the model is refused; empty for one that runs.
    """

    name: str
    modes: dict[str, str]
    largest_gap: float = 0.0
    shares_layers: bool = False
    seconds: float = 0.0
    refused: str = ""


def measure(name: str, folder: Path) -> Row:
    """Run one architecture.

    Raises
    ------
    Wrong
        If it runs, and something is not as it must be.
    """
    save(name, folder)
    start = time.perf_counter()
    try:
        files = find_model(str(folder), store_root=folder.parent)
        require_heads(files)
        model = load_model(files)
        tokens = encode(model, PROMPT, "raw")
        _compare_text(model, tokens)
    except UserError as error:
        return Row(name=name, modes={}, refused=str(error), seconds=time.perf_counter() - start)
    modes, gaps, kl = {}, [0.0], {}
    for mode in MODES:
        try:
            ran = _run(model, tokens, mode)
        except UserError as error:
            modes[mode] = str(error)
            continue
        modes[mode], kl[mode] = "yes", ran.kl_first_token_nats
        gaps.append(ran.max_self_logit_gap)
        _check(mode, ran)
    if "pattern_v" in kl:
        _same("pattern_v is not result for one donor", kl["pattern_v"][2::3], kl["result"][2::3])
    try:
        literally = _run(model, tokens, "result", use_attn_result=True)
        modes["attn_result"] = "yes"
        _same("hook_result is not z", literally.kl_first_token_nats, kl["result"])
    except UserError as error:
        modes["attn_result"] = str(error)
    return Row(
        name=name,
        modes=modes,
        largest_gap=max(gaps),
        shares_layers=model.shortcuts.shared_layers and _can_share(model),
        seconds=time.perf_counter() - start,
    )


def _can_share(model: Model) -> bool:
    """Sliding windows cannot."""
    cache = model.new_cache()
    with torch.inference_mode():
        model.bridge(torch.zeros((1, 2), dtype=torch.long), past_key_values=cache, use_cache=True)
    return shares_layers(cache)


def _compare_text(model: Model, tokens: tuple[int, ...]) -> None:
    """Greedy text of the baseline against transformers' own generation."""
    ran = generate(model, PROMPT, tokens, [Patch(heads=())], donors={}, sampling=_GREEDY)
    with torch.inference_mode(), quiet():
        whole = model.pristine.generate(
            torch.tensor([tokens]), max_new_tokens=8, do_sample=False, pad_token_id=0
        )
    expected = [int(token) for token in whole[0, len(tokens) :]]
    ends = [i for i, token in enumerate(expected) if token in model.eos_ids]
    expected = expected[: ends[0]] if ends else expected
    got = [int(token) for token in ran.baseline_tokens[0] if token >= 0]
    if got != expected:
        raise Wrong(f"greedy text {got}, transformers gives {expected}")


def _run(model: Model, tokens: tuple[int, ...], mode: Mode, **options: bool) -> Continuations:
    """Donors self, zero and one prompt at each set of heads; rows share layers, then they do not."""
    donor = single(capture(model, encode(model, OTHER, "raw"), all_queries=False))
    sets = [parse_heads(text, n_layers=model.n_layers, n_heads=model.n_heads) for text in HEADS]
    patches = [Patch(heads=heads, mode=mode, donor=d) for heads in sets for d in ("self", "zero", "d")]
    ran = [
        generate(
            model, PROMPT, tokens, patches, donors={"d": donor}, sampling=_GREEDY, share_layers=share,
            **options,
        )
        for share in (True, False)
    ]  # fmt: skip
    if not np.array_equal(ran[0].patched_tokens, ran[1].patched_tokens):
        raise Wrong(f"{mode}: rows that share layers give other texts")
    return ran[0]


def _check(mode: str, ran: Continuations) -> None:
    kl = ran.kl_first_token_nats
    if not (kl[::3] < 1e-9).all():
        raise Wrong(f"{mode}: the self donor changes the first token's distribution: {kl[::3]}")
    if not (ran.patched_tokens[::3] == ran.baseline_tokens).all():
        raise Wrong(f"{mode}: the self donor changes the text")
    if not ((kl[1::3] > 1e-6) & (kl[2::3] > 1e-6)).all():
        raise Wrong(f"{mode}: a patch does nothing: {kl}")


def _same(what: str, got: np.ndarray, expected: np.ndarray) -> None:
    if not np.allclose(got, expected, rtol=_SAME, atol=1e-7):
        raise Wrong(f"{what}: {got} against {expected}")
