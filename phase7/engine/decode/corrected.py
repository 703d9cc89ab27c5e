"""Two corrections of first-order estimates: integrated steps, and gradients with one layer dropped.

A gradient says what the first small step towards the donor would do. Where a path saturates on the way,
the whole way does something else: :func:`integrated_effects` takes the gradient at several places of the
way. Where a head's direct effect and the one through a later layer cancel to first order,
:func:`dropped_slopes` takes that layer out of the backward pass.

The outputs of one layer's heads go to the donor together, so with many steps their effects sum to the
exact effect of patching that layer whole: the completeness of integrated gradients (Sundararajan, Taly &
Yan 2017). Marks et al. 2024 integrate layer by layer as well; the inputs between two prompts, which
EAP-IG goes through (Hanna, Pezzelle & Belinkov 2024), do not exist between a prompt and a mean over
prompts of other lengths.

Of AtP* (Kramár, Lieberum, Shah & Nanda 2024, arXiv:2403.00745) the second is GradDrop. Its query/key fix
needs no code here: what a mode writes is made of the exact attention, behind the head's softmax
(:meth:`phase7.engine.decode.attribution.Slopes.change`), so no softmax of the patched head is taken to
first order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phase7.engine.decode.attribution import Slopes, slopes_from, traced
from phase7.engine.decode.read_logits import ReadLogits
from phase7.engine.decode.readouts import Floats
from phase7.engine.decode.traced import TracedRun, run_behind
from phase7.engine.model.bridge import Model
from phase7.engine.model.gates import Hook
from phase7.engine.patch.donors import Donor
from phase7.vocabulary.modes import Mode, Positions, position_record
from phase7.vocabulary.sites import SiteName

#: Layers that are moved in one batch, each in a row of its own.
_N_ROWS = 8


def dropped_slopes(
    model: Model,
    tokens: Sequence[int],
    path: Sequence[int],
    read: ReadLogits,
    *,
    positions: Positions,
) -> Iterator[Slopes]:
    """The unpatched run's slopes, layer by layer without the gradient through what that layer writes.

    What layer l adds to the residual stream, attention and MLP, passes no gradient back: the one behind
    it reaches the stream before it unchanged. So heads above l keep their slopes, those in l have none,
    and those below lose what they do through l. Averaged over the other layers the absolute effects are
    GradDrop's.

    Yields
    ------
    Slopes
        For each layer from the lowest on, as of :func:`phase7.engine.decode.attribution.slopes_of`.
    """
    with torch.inference_mode(False), torch.enable_grad():
        run, values = traced(model, tokens, path, read, positions=positions, keeps_stream=True)
        baseline, n = read.summary(values), model.n_layers
        behind = [run.stream[layer + 1] for layer in range(n)]
        every = read.gradients(values, [*(run.z[layer] for layer in range(n)), *behind], keep_graph=True)
    whole, streams = every[:n], every[n:]
    for layer in range(n):
        kept = [torch.zeros_like(whole[layer]), *whole[layer + 1 :]]
        below = _through(run, layer, streams[layer])
        yield slopes_from(model, tokens, run, baseline, [*below, *kept], positions=positions)


def _through(run: TracedRun, layer: int, behind: Tensor) -> list[Tensor]:
    """Gradients by the outputs below a layer, of what has a gradient `behind` [R, ...] before it."""
    if not layer:
        return []
    below = [run.z[i] for i in range(layer)]
    with torch.inference_mode(False), torch.enable_grad():
        return [
            *torch.autograd.grad(
                run.stream[layer], below, behind, is_grads_batched=True, retain_graph=True
            )
        ]


def integrated_effects(
    model: Model,
    tokens: Sequence[int],
    path: Sequence[int],
    read: ReadLogits,
    given: Slopes,
    donor: Donor,
    mode: Mode,
    *,
    n_steps: int,
) -> Floats:
    """The effects of all heads by the mean gradient over `n_steps` places on the way to the donor.

    The places are (i - 1/2) / n_steps of the way (the midpoint rule); the outputs of one layer's heads
    go it together, the other layers' do not.

    Parameters
    ----------
    given : Slopes
        Of the same recipient, path and read-outs.
    n_steps : int
        At least 1. Takes n_steps passes with every layer in a row of its own.

    Returns
    -------
    float64 array [R, n_layers, n_heads]
        In nats.

    Raises
    ------
    ValueError
        If there is no step, or as of :meth:`Slopes.effect`.
    UserError
        As of :meth:`Slopes.effect`.
    """
    if n_steps < 1:
        raise ValueError(f"n_steps: expected at least 1, got {n_steps}")
    change = given.change(donor, mode)  # [layer, query, head, d_head]
    effects = np.zeros((len(given.gradient), *change.shape[:1], change.shape[2]))
    for start in range(0, model.n_layers, _N_ROWS):
        layers = range(start, min(start + _N_ROWS, model.n_layers))
        mean = np.zeros((len(layers), len(given.gradient), *change.shape[1:]))
        for step in range(n_steps):
            share = (step + 0.5) / n_steps
            moved = _Moved(model, layers, share * change)
            mean += moved.gradients(tokens, path, read, given.positions) / n_steps
        effects[:, start : layers.stop] = np.einsum("lrqhd,lqhd->rlh", mean, change[start : layers.stop])
    return effects


class _Moved:
    """A batch in which row i has the outputs of its own layer's heads moved."""

    def __init__(self, model: Model, layers: range, change: Floats) -> None:
        self._model, self._layers = model, layers
        self._change = torch.from_numpy(change[layers.start : layers.stop]).to(model.device, model.dtype)
        self._z: dict[int, Tensor] = {}

    def gradients(
        self, tokens: Sequence[int], path: Sequence[int], read: ReadLogits, positions: Positions
    ) -> Floats:
        """Each layer's gradient where it is moved, [layer, R, query, head, d_head]."""
        followed, cache = [*tokens, *path[:-1]], self._model.new_cache()
        first = 0 if position_record(positions).from_start else len(tokens) - 1
        hooks: dict[SiteName, dict[int, Hook]] = {"z": {i: self._move(i) for i in self._layers}}
        with torch.inference_mode(False), torch.enable_grad():
            if first:
                with torch.no_grad():
                    run_behind(self._model, cache, [followed[:first]], 0, 0, {})
                cache.batch_repeat_interleave(len(self._layers))
            rows = [followed[first:]] * len(self._layers)
            twin = self._model.differentiable
            logits = run_behind(twin, cache, rows, first, len(path), hooks).float()
            inputs = [self._z[layer] for layer in self._layers]
            found = read.gradients(read.values(logits), inputs)
        n = self._change.shape[1]
        by_layer = [one[:, row, :n].double().cpu().numpy() for row, one in enumerate(found)]
        return np.stack(by_layer)

    def _move(self, layer: int) -> Hook:
        def hook(z: Tensor, hook: Any) -> Tensor:
            row = layer - self._layers.start
            moved = z.clone() if z.requires_grad else z.detach().clone()
            moved[row, : self._change.shape[1]] += self._change[row]
            self._z[layer] = moved if moved.requires_grad else moved.requires_grad_()
            return self._z[layer]

        return hook
