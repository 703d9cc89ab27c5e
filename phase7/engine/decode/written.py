"""What two donors make some heads write, and what that does to a linear read-out, one head at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from phase7.engine.decode.forced import check_ids
from phase7.engine.decode.readouts import Floats
from phase7.engine.decode.running import step_of
from phase7.engine.model.bridge import Model, unembedding_weight
from phase7.engine.model.faithful import check_lengths
from phase7.engine.model.frozen import FrozenRun, Passed, has_known_parts
from phase7.engine.model.gates import Hook
from phase7.engine.patch.donors import Donor
from phase7.engine.patch.patching import BASELINE, Patch, Patcher
from phase7.engine.patch.step import Ints
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.heads import Head
from phase7.vocabulary.modes import Mode, Positions, position_record


@dataclass(frozen=True, kw_only=True, eq=False)
class Direction:
    """A read-out that is linear in the logits.

    Attributes
    ----------
    weights : float64 array [n_vocab]
        What each logit counts.
    of_states : float32 tensor [d_model]
        The same of what the unembedding is given.
    constant : float
        What the unembedding's bias adds.
    n_steps : int
        Queries that are read, the last ones; the mean over them.
    """

    weights: Floats
    of_states: Tensor
    constant: float
    n_steps: int

    def of(self, final: Float[Tensor, "rows tokens d_model"]) -> Float[Tensor, " rows"]:
        """The read-out of each row without the constant, in nats (logits)."""
        return (final[:, -self.n_steps :].float() @ self.of_states).mean(dim=1)


def direction(model: Model, weights: Floats, n_steps: int) -> Direction:
    """A read-out by what each logit counts.

    Raises
    ------
    ValueError
        If there is not one finite weight for each logit.
    """
    unembedding = unembedding_weight(model).float()
    if weights.shape != (len(unembedding),) or not np.isfinite(weights).all():
        raise ValueError(f"weights: expected {len(unembedding)} finite numbers, got {weights.shape}")
    own = torch.from_numpy(weights)
    bias = getattr(model.bridge.original_model.get_output_embeddings(), "bias", None)
    with torch.no_grad():
        of_states = unembedding.T @ own.float().to(model.device)
        constant = 0.0 if bias is None else float(bias.cpu().double() @ own)
    return Direction(weights=weights, of_states=of_states.clone(), constant=constant, n_steps=n_steps)


def begun(
    model: Model, tokens: Sequence[int], path: Sequence[int], weights: Floats, positions: Positions
) -> tuple[FrozenRun, Direction]:
    """A run over prompt and path, and the read-out at its steps.

    Parameters and errors are those of :func:`phase7.engine.decode.circuit.head_paths`.
    """
    require_known_parts(model)
    if path:
        check_ids("path", path, model)
    check_lengths(model, len(tokens), max(1, len(path)))
    first = 0 if position_record(positions).from_start else len(tokens) - 1
    run = FrozenRun(model, [*tokens, *path[:-1]], first)
    return run, direction(run.model, weights, max(1, len(path)))


def require_known_parts(model: Model) -> None:
    """Refuse a model that cannot be taken apart.

    Raises
    ------
    UserError
    """
    if not has_known_parts(model):
        raise UserError(
            expected="a model whose heads and MLPs add to the stream as they are",
            got=f"{model.name}, where norms, scales or caps stand behind them",
            where="circuit",
            remedy="leave out [circuit] for this model",
        )


def set_weights(n_vocab: int, ids: Sequence[int]) -> Floats:
    """The weights of a set of tokens: its mean logit less that of all tokens."""
    weights = np.full(n_vocab, -1.0 / n_vocab)
    weights[[*{*ids}]] += 1.0 / len({*ids})
    return weights


@dataclass(frozen=True, kw_only=True, eq=False)
class Written:
    """What S heads write with a reference and with a donor.

    Attributes
    ----------
    reference, donor : float tensor [S, T, d_head]
        Their outputs before W_O, at the tokens of the run.
    baseline : float
        The read-out of the unpatched run, in nats.
    at_reference, at_donor : float64 array [S]
        The read-out with one head patched, with frozen normalisation.
    """

    reference: Tensor
    donor: Tensor
    baseline: float
    at_reference: Floats
    at_donor: Floats


def written_outputs(
    run: FrozenRun,
    heads: Sequence[Head],
    way: Direction,
    *,
    donor: Donor,
    reference: Donor | None,
    mode: Mode,
    positions: Positions,
    n_prompt: int,
) -> Written:
    """Patch every head alone, by the reference (else its own activations), and by the donor."""
    donors = {"donor": donor} if reference is None else {"donor": donor, "reference": reference}
    names = ("self" if reference is None else "reference", "donor")
    patches = [
        Patch(heads=(head,), mode=mode, donor=name, positions=positions)
        for name in names
        for head in heads
    ]
    model = run.model
    patcher = Patcher(model, [BASELINE, *patches], n_samples=1, donors=donors, n_prompt=n_prompt)
    z: dict[int, Tensor] = {}

    def patched(cache: Any) -> contextlib.AbstractContextManager[None]:
        step = step_of(cache, first_query=run.first, rows=_EveryRow(1 + len(patches)))
        hooks = patcher.hooks(lambda: step)
        hooks["z"] = {layer: _keeping(hook, layer, z) for layer, hook in hooks["z"].items()}
        return model.hooked(hooks)

    with torch.no_grad():
        passed = run.run(1 + len(patches), {}, around=patched)
    n = len(heads)
    outputs = [z[h.layer][1 + i :: n][:2, :, h.head] for i, h in enumerate(heads)]
    at_reference, at_donor = torch.stack(outputs, dim=1)
    values = _values(passed, way, model)
    return Written(
        reference=at_reference,
        donor=at_donor,
        baseline=float(values[0]),
        at_reference=values[1 : 1 + n],
        at_donor=values[1 + n :],
    )


def _values(passed: Passed, way: Direction, model: Model) -> Floats:
    values: Floats = way.of(passed.parts[model.n_layers, "final"]).cpu().double().numpy() + way.constant
    return values


def _keeping(hook: Hook, layer: int, kept: dict[int, Tensor]) -> Hook:
    def keep(z: Tensor, hook_point: Any) -> Tensor:
        new = hook(z, hook_point)
        kept[layer] = z if new is None else new
        return kept[layer]

    # The bridge calls hooks with the name `hook`.
    return lambda z, hook: keep(z, hook)


class _EveryRow:
    """Rows that share nothing."""

    def __init__(self, n_rows: int) -> None:
        self._rows: Ints = np.arange(n_rows)

    def slots(self, layer: int) -> Ints:
        """Each its own."""
        return self._rows

    def attention_slots(self, layer: int) -> Ints:
        """Each its own."""
        return self._rows
