"""Path patching: one reader alone is given what a head writes more, and all else runs on from there.

The effect of the path from a head to one reader in the sense of Wang et al. (2023), with frozen
normalisation: the reader (queries, keys or values of a later head, an MLP, the logits) reads the stream
plus d, what the donor makes the head write less what the reference makes it write; everything else reads
the stream without it. What follows from the reader is computed anew. In grouped-query models keys and
values are changed for one query head alone: a helper row runs the attention with the changed keys or
values, and the row takes from it the output of that head.

Unlike the shares of :mod:`phase7.engine.decode.circuit`, these effects do not sum to the head's effect.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from phase7.engine.decode.readouts import Floats
from phase7.engine.decode.written import Direction, begun, written_outputs
from phase7.engine.model.bridge import Model, output_weight
from phase7.engine.model.frozen import Edit, FrozenRun, Part, by_head, linear_change
from phase7.engine.patch.donors import Donor
from phase7.vocabulary.circuits import LOGITS, MLP, Reader
from phase7.vocabulary.heads import Head
from phase7.vocabulary.modes import Mode, Positions


def patched_paths(
    model: Model,
    tokens: Sequence[int],
    path: Sequence[int],
    head: Head,
    readers: Sequence[Reader],
    *,
    donor: Donor,
    reference: Donor | None,
    weights: Floats,
    mode: Mode = "result",
    positions: Positions = "generated",
) -> Floats:
    """Measure the effect of the path from a head to each of some readers.

    Parameters
    ----------
    readers : sequence of Reader
        At least one.
    model, tokens, path, donor, reference, weights, mode, positions
        As of :func:`phase7.engine.decode.circuit.head_paths`.

    Returns
    -------
    float64 array [readers]
        In nats (logits).

    Raises
    ------
    ValueError
        If there is no reader, or one does not come after the head.
    UserError
        As of :func:`phase7.engine.decode.circuit.head_paths`.
    """
    for reader in readers:
        _check(model, head, reader)
    if not readers:
        raise ValueError("expected at least one reader")
    run, way = begun(model, tokens, path, weights, positions)
    with torch.inference_mode(False), torch.no_grad():
        written = written_outputs(
            run, [head], way, donor=donor, reference=reference, mode=mode, positions=positions,
            n_prompt=len(tokens),
        )  # fmt: skip
        weight = output_weight(run.model, head.layer)[head.head].float()
        added = (written.donor - written.reference)[0].float() @ weight
        return _effects(run, way, added, readers)


def _check(model: Model, head: Head, reader: Reader) -> None:
    behind = reader.layer > head.layer
    if reader.part == LOGITS:
        return
    if reader.part == MLP and (behind or (reader.layer == head.layer and not model.is_parallel)):
        return
    if not behind or reader.part not in ("q", "k", "v") or not 0 <= reader.head < model.n_heads:
        raise ValueError(f"{reader.label}: no reader behind head {head}")


def _effects(run: FrozenRun, way: Direction, added: Tensor, readers: Sequence[Reader]) -> Floats:
    """Row 0 is the unpatched run, row 1 + i is for reader i, and behind these each has its helper."""
    model, n = run.model, len(readers)
    base = run.run(1, {}).norms
    edits: dict[tuple[int, Part], list[Edit]] = {}
    group = model.n_heads // model.n_kv_heads
    for i, (part, layer, head) in enumerate(readers):
        row, helper = 1 + i, 1 + n + i
        if part == LOGITS:
            change = base[model.n_layers, "final"](added)
            edits.setdefault((model.n_layers, "final"), []).append(_adding(row, change[0]))
        elif part == MLP:
            edits.setdefault((layer, "mlp_in"), []).append(_adding(row, base[layer, MLP](added)[0]))
        else:
            projection = getattr(model.bridge.blocks[layer].attn, part)
            change = by_head(model, linear_change(projection, base[layer, "attn"](added)))[0]
            own, at = (row, head) if part == "q" else (helper, head // group)
            alone = torch.zeros_like(change)
            alone[:, at] = change[:, at]
            place: tuple[int, Any] = (layer, part)
            edits.setdefault(place, []).append(_adding(own, alone.flatten(1)))
            if part != "q":
                edits.setdefault((layer, "z"), []).append(_taking(model, row, helper, head))
    passed = run.run(1 + 2 * n, {place: _all(some) for place, some in edits.items()})
    values = way.of(passed.parts[model.n_layers, "final"]).cpu().double().numpy()
    effects: Floats = values[1 : 1 + n] - values[0]
    return effects


def _adding(row: int, change: Tensor) -> Edit:
    def edit(old: Tensor) -> Tensor:
        new = old.clone()
        new[row] += change.to(new.dtype)
        return new

    return edit


def _taking(model: Model, row: int, helper: int, head: int) -> Edit:
    """Let a row have one head's output of its helper's."""

    def edit(z: Tensor) -> Tensor:
        new = by_head(model, z).clone()
        new[row, :, head] = new[helper, :, head]
        return new.flatten(2)

    return edit


def _all(some: Sequence[Callable[[Tensor], Tensor]]) -> Edit:
    def edit(old: Tensor) -> Tensor:
        for one in some:
            old = one(old)
        return old

    return edit
