"""Indirect-object identification beside transformer-lens: `python -m tests.programs.measurements.ioi`.

Every head's output z is replaced by that of the corrupted prompt, at the last or at all positions, and
the difference of the logits of the two names at the last position is read. In one run, on one thread:

- exactly, by phase7 (mode result, a paired donor of equal length) and by `transformer_lens.patching`;
- to first order, by phase7 and by `attribution_patch` of transformer-lens.

transformer-lens patches "corrupted" tokens from the cache of "clean" ones: here these are the original
and the corrupted prompt. It runs on a bridge of its own, of the same files. Prints, and writes to
`docs/measurements/ioi.json` under the model's name, the largest difference between the two, Spearman's
correlation over heads, and the times of the processor, as ratios of each repeat.

`--model NAME` takes another model than the planted one (`tests/planted/ioi.py`): any name that
`phase7 build` knows, such as smollm2 or gpt2. `--prompts` and `--repeats` say how many.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformer_lens import patching
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.tools.analysis.attribution_patching import attribution_patch
from transformers import AutoModelForCausalLM

from phase7.engine.decode.attribution import slopes_of
from phase7.engine.decode.forced import forced_pass
from phase7.engine.decode.read_logits import ReadLogits
from phase7.engine.model.bridge import Model
from phase7.engine.model.loading import load_model
from phase7.engine.patch.capture import capture
from phase7.engine.patch.donors import Donor, single
from phase7.engine.patch.patching import Patch
from phase7.models.files import find_model
from phase7.run.executor import one_thread
from phase7.run.provenance import machine
from phase7.statistics.missed import rank_correlation
from phase7.store import write_text
from phase7.vocabulary.modes import Positions
from tests.planted import ioi
from tests.planted.ioi import Pair
from tests.programs.measurements.ioi_page import RECORD
from tests.programs.measurements.readouts import ROOT, all_heads

PLACES: tuple[Positions, ...] = ("last", "all")

#: From the pairs to effects [pair, layer, head], in nats.
Arm = Callable[[Sequence[Pair]], np.ndarray]


def difference_of_names(logits: torch.Tensor, one: Pair) -> torch.Tensor:
    """The logit of the name less that of the repeated one; [..., n_vocab] to [...]."""
    return logits[..., one.name] - logits[..., one.repeated]


def donor_of(model: Model, one: Pair, positions: Positions) -> Donor:
    return single(capture(model, one.corrupted, all_queries=positions == "all"))


def patched(model: Model, positions: Positions) -> Arm:
    """phase7: all heads of a pair in one batch."""
    patches = [Patch(heads=(head,), donor="other", positions=positions) for head in all_heads(model)]

    def arm(some: Sequence[Pair]) -> np.ndarray:
        return np.stack([of(one) for one in some])

    def of(one: Pair) -> np.ndarray:
        found = forced_pass(
            model, one.original, [one.name], patches,
            donors={"other": donor_of(model, one, positions)},
            token_sets={"name": (one.name,), "repeated": (one.repeated,)},
        )  # fmt: skip
        before, after = (_difference(arms.log_odds)[..., 0] for arms in (found.baseline, found.patched))
        effects: np.ndarray = (after - before).reshape(model.n_layers, model.n_heads)
        return effects

    return arm


def _difference(log_odds: Any) -> np.ndarray:
    """ln P(name) - ln P(repeated), which is the difference of their logits, from their log-odds."""
    log_p = {name: -np.logaddexp(0.0, -odds) for name, odds in log_odds.items()}
    result: np.ndarray = log_p["name"] - log_p["repeated"]
    return result


def attributed(model: Model, positions: Positions) -> Arm:
    """phase7's first-order estimate."""

    def of(one: Pair) -> np.ndarray:
        read = ReadLogits(
            values=lambda logits: difference_of_names(logits, one)[..., None], by_token=True
        )
        found = slopes_of(model, one.original, [one.name], read, positions=positions)
        return found.effect(donor_of(model, one, positions), "result")[0]

    return lambda some: np.stack([of(one) for one in some])


def patched_by_transformer_lens(bridge: Any, positions: Positions) -> Arm:
    """transformer-lens: head after head, all pairs of equal length in one batch."""

    def arm(some: Sequence[Pair]) -> np.ndarray:
        original, corrupted = (
            torch.tensor([getattr(one, which) for one in some]) for which in ("original", "corrupted")
        )
        rows = torch.arange(len(some))
        names, repeated = (
            torch.tensor([getattr(one, which) for one in some]) for which in ("name", "repeated")
        )

        def metric(logits: torch.Tensor) -> torch.Tensor:
            return logits[rows, -1, names] - logits[rows, -1, repeated]

        with torch.inference_mode(), contextlib.redirect_stderr(io.StringIO()):
            _, cache = bridge.run_with_cache(corrupted)
            given = (bridge, original, cache, metric)
            if positions == "all":
                found = patching.get_act_patch_attn_head_out_all_pos(
                    *given, reduce="none", baseline=True
                )
            else:  # the utility by position would patch every position
                found = patching.generic_activation_patch(
                    *given, patching.layer_pos_head_vector_patch_setter, "z",
                    index_df=_at(bridge, original.shape[1] - 1), reduce="none", baseline=True,
                )  # fmt: skip
        effects: np.ndarray = found.effect().numpy().astype(float)
        return effects.reshape(bridge.cfg.n_layers, bridge.cfg.n_heads, -1).transpose(2, 0, 1)

    return _by_length(arm)


def _at(bridge: Any, position: int) -> pd.DataFrame:
    """Every head at one position."""
    heads = [(i, position, j) for i in range(bridge.cfg.n_layers) for j in range(bridge.cfg.n_heads)]
    return pd.DataFrame(heads, columns=["layer", "pos", "head"])


def attributed_by_transformer_lens(bridge: Any, positions: Positions) -> Arm:
    """transformer-lens's first-order estimate, a pair at a time: the metric knows the pair's names."""

    def of(one: Pair) -> np.ndarray:
        found = attribution_patch(
            bridge, torch.tensor([one.corrupted]), torch.tensor([one.original]),
            lambda logits: difference_of_names(logits[0, -1], one),
        )  # fmt: skip
        effects = np.zeros((bridge.cfg.n_layers, bridge.cfg.n_heads))
        for node, score in found.node_scores.items():
            is_read = positions == "all" or node.position == len(one.original) - 1
            if node.kind == "attn_head_out" and is_read:
                effects[node.layer, node.head] += score
        return effects

    return lambda some: np.stack([of(one) for one in some])


def _by_length(arm: Arm) -> Arm:
    """Give an arm the pairs of one length at a time."""

    def whole(some: Sequence[Pair]) -> np.ndarray:
        places = defaultdict(list)
        for place, one in enumerate(some):
            places[len(one.original)].append(place)
        found = {
            place: effects
            for mine in places.values()
            for place, effects in zip(mine, arm([some[i] for i in mine]), strict=True)
        }
        return np.stack([found[place] for place in range(len(some))])

    return whole


def bridge_of(model: Model) -> Any:
    """The model's files as transformer-lens loads them, without what phase7 changes."""
    hf_model = AutoModelForCausalLM.from_pretrained(
        model.files.folder, attn_implementation="eager", dtype=torch.float32
    )
    with contextlib.redirect_stdout(io.StringIO()):
        bridge = TransformerBridge.boot_transformers(
            str(model.files.folder), hf_model=hf_model.eval(), tokenizer=model.tokenizer
        )
    bridge.eval()
    return bridge


def arms_of(model: Model, bridge: Any, positions: Positions) -> dict[str, Arm]:
    """The four ways, by what they are called in the record."""
    return {
        "phase7": patched(model, positions),
        "transformer_lens": patched_by_transformer_lens(bridge, positions),
        "phase7_attribution": attributed(model, positions),
        "transformer_lens_attribution": attributed_by_transformer_lens(bridge, positions),
    }


def compared(
    model: Model, bridge: Any, some: Sequence[Pair], positions: Positions, n_repeats: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Agreement and times of the four ways, and their mean effects [layer, head]."""
    arms, effects, seconds = arms_of(model, bridge, positions), {}, defaultdict(list)
    for arm in arms.values():
        arm(some[:1])  # the first call makes what is kept
    for _ in range(n_repeats):
        for name, arm in arms.items():
            started = time.process_time()
            effects[name] = arm(some)
            seconds[name].append(time.process_time() - started)
    means = {name: found.mean(axis=0) for name, found in effects.items()}
    exact, estimate = "phase7", "phase7_attribution"

    def ratio(slow: str, fast: str) -> float:
        return float(np.median(np.array(seconds[slow]) / seconds[fast]))

    figures = {
        "largest_effect_nats": float(np.abs(effects[exact]).max()),
        "largest_effect_attribution_nats": float(np.abs(effects[estimate]).max()),
        "gap_nats": _gap(effects, exact),
        "gap_attribution_nats": _gap(effects, estimate),
        "spearman": _alike(means[exact], means["transformer_lens"]),
        "spearman_attribution": _alike(means[estimate], means["transformer_lens_attribution"]),
        "spearman_attribution_exact": _alike(means[estimate], means[exact]),
        "seconds": {name: float(np.median(some)) for name, some in seconds.items()},
        "times_faster": ratio("transformer_lens", exact),
        "times_faster_attribution": ratio("transformer_lens_attribution", estimate),
    }
    return figures, means


def _gap(effects: dict[str, np.ndarray], name: str) -> float:
    other = name.replace("phase7", "transformer_lens")
    return float(np.abs(effects[name] - effects[other]).max())


def _alike(one: np.ndarray, other: np.ndarray) -> float:
    return float(rank_correlation(one.ravel(), other.ravel()))


def measured(model: Model, n_prompts: int, n_repeats: int) -> dict[str, Any]:
    """The record of one model."""
    some = ioi.pairs(model.tokenizer, n_prompts)
    bridge = bridge_of(model)
    with torch.inference_mode():
        right = [
            difference_of_names(bridge(torch.tensor([one.original]))[0, -1], one).item() for one in some
        ]
    record: dict[str, Any] = {
        "prompts": n_prompts,
        "repeats": n_repeats,
        "tokens": sorted({len(one.original) for one in some}),
        "heads": model.n_layers * model.n_heads,
        "processor": machine()["processor"] or machine()["architecture"],
        "mean_difference_nats": float(np.mean(right)),
        "share_right": float(np.mean(np.array(right) > 0)),
    }
    for positions in PLACES:
        record[positions], means = compared(model, bridge, some, positions, n_repeats)
        first = np.argsort(-np.abs(means["phase7"]).ravel(), kind="stable")[:5]
        record[positions]["first_heads"] = {
            str(all_heads(model)[i]): float(means["phase7"].ravel()[i]) for i in first
        }
    return record


def main(arguments: Sequence[str]) -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="planted")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args(arguments)
    with TemporaryDirectory() as folder, one_thread():
        root, name = Path(os.environ.get("PHASE7_STORE") or ROOT / "store"), asked.model
        if name == "planted":
            root, name = Path(folder), str(ioi.save(Path(folder) / "planted", seed=0))
        found = measured(load_model(find_model(name, store_root=root)), asked.prompts, asked.repeats)
    before = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    write_text(RECORD, json.dumps(before | {asked.model: found}, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
