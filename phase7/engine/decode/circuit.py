"""How much of a head's effect goes straight to the logits, and through which later parts the rest.

The read-out is linear in the logits: R is the mean over the steps of a path of logits · weights, such
as the logits of an emotion's words less those of all tokens. All of it is measured with frozen
normalisation (:mod:`phase7.engine.model.frozen`).

**Effect.** A head's output z is written twice: as its mode makes it of a reference donor, z_0, and of
the donor, z_1. The effect is R(z_1) - R(z_0), with all that follows computed anew; without a reference,
z_0 is the head's own output.

**Path effects.** What is written adds d = (z_1 - z_0) W_O to the stream, which the logits read, and so
do the queries, keys and values of every later head, and the later MLPs. The effect through one reader is

    integral over a from 0 to 1 of  d · dR/d(what this reader reads)  at  z_0 + a (z_1 - z_0)

where the derivative runs through all that follows the reader. By the chain rule the derivatives by all
readers add up to that by the stream, and by the fundamental theorem the integral of that is the effect:
so path effects over all readers sum to the effect exactly, not only to first order. (This is the
Aumann-Shapley share of a reader; with one step at a = 0 it is edge attribution patching, Nanda 2023 and
Syed et al. 2023, and with steps EAP-IG, Hanna et al. 2024.) The integral is taken by Gauss-Legendre
quadrature; what it leaves is the difference of the effect and the sum.

Keys and values that query heads share are told apart: what one query head makes of them counts for it.

:func:`patched_paths` is the other definition in use (Wang et al. 2023): one reader alone is given d, all
else runs on from there. It needs a row for each reader, and its effects do not add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from phase7.engine.decode.readouts import Floats
from phase7.engine.decode.written import Direction, Written, begun, written_outputs
from phase7.engine.model.bridge import Model, output_weight
from phase7.engine.model.frozen import Edit, FrozenRun, Part, Passed, by_head, linear_change
from phase7.engine.patch.donors import Donor
from phase7.vocabulary.circuits import LETTERS, Letter
from phase7.vocabulary.heads import Head
from phase7.vocabulary.modes import Mode, Positions

#: Nodes of the quadrature. What four leave of the effect is measured in every run (`gap`).
N_NODES = 4
#: Heads of one pass; each takes a row for each node.
_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadPaths:
    """The effects of S heads on one recipient's read-out, by reader. All in nats (logits).

    Attributes
    ----------
    baseline : float
        The unpatched read-out.
    effect : float64 array [S]
        R(donor) - R(reference), one head at a time, measured.
    direct : float64 array [S]
        Straight to the logits.
    mlps : float64 array [S, n_layers]
        Through what the MLPs read; 0 for those before the head.
    heads : float64 array [S, n_layers, n_heads, 3]
        Through what the queries, keys and values of later heads read, by query head.
    """

    baseline: float
    effect: Floats
    direct: Floats
    mlps: Floats
    heads: Floats

    @cached_property
    def gap(self) -> Floats:
        """What the quadrature leaves: the effect less the sum over all readers, [S]."""
        through = self.mlps.sum(axis=1) + self.heads.sum(axis=(1, 2, 3))
        left: Floats = self.effect - self.direct - through
        return left


def head_paths(
    model: Model,
    tokens: Sequence[int],
    path: Sequence[int],
    heads: Sequence[Head],
    *,
    donor: Donor,
    reference: Donor | None,
    weights: Floats,
    mode: Mode = "result",
    positions: Positions = "generated",
    n_nodes: int = N_NODES,
) -> HeadPaths:
    """Measure how the effect of each head, patched alone, reaches the logits.

    Parameters
    ----------
    tokens, path : sequence of int
        The recipient prompt, and the T tokens that follow it. Without any the first step is read.
    heads : sequence of Head
        At least one.
    donor, reference : Donor
        Between which the head's output is moved; without a reference from what it is.
    weights : float64 array [n_vocab]
        What each logit counts.
    mode, positions : as of :class:`phase7.engine.patch.patching.Patch`
    n_nodes : int
        Of the quadrature, at least 1.

    Raises
    ------
    ValueError
        If there is no head, the weights do not fit, or an id is no token.
    UserError
        If the model's parts are not known (:func:`phase7.engine.model.frozen.has_known_parts`), or as of
        :func:`phase7.engine.decode.forced.forced_pass`.
    """
    if not heads:
        raise ValueError("expected at least one head")
    run, way = begun(model, tokens, path, weights, positions)
    pieces: list[HeadPaths] = []
    with torch.inference_mode(False):
        for start in range(0, len(heads), _AT_ONCE):
            some = heads[start : start + _AT_ONCE]
            written = written_outputs(
                run, some, way, donor=donor, reference=reference, mode=mode, positions=positions,
                n_prompt=len(tokens),
            )  # fmt: skip
            pieces.append(_Shares(run, some, written, way, n_nodes).measured())
    return _joined(pieces)


def _joined(pieces: Sequence[HeadPaths]) -> HeadPaths:
    """The paths of all heads, measured piece by piece."""
    arrays = ("effect", "direct", "mlps", "heads")
    whole = {name: np.concatenate([getattr(one, name) for one in pieces]) for name in arrays}
    return HeadPaths(baseline=pieces[0].baseline, **whole)


class _Shares:
    """The quadrature: one pass with all heads at all nodes, and its derivatives."""

    def __init__(
        self, run: FrozenRun, heads: Sequence[Head], written: Written, way: Direction, n_nodes: int
    ) -> None:
        self._run, self._heads, self._way, self._model = run, heads, way, run.model
        self._written = written
        nodes, weights = np.polynomial.legendre.leggauss(n_nodes)
        self._n_nodes, self._node_weights = n_nodes, torch.from_numpy(weights / 2)
        change = (written.donor - written.reference).float()
        at = torch.tensor((nodes + 1) / 2, dtype=torch.float32, device=run.model.device)
        between = written.reference.float()[:, None] + at[:, None, None] * change[:, None]
        self._outputs = between.flatten(0, 1)  # [S * nodes, T, d]
        weight = [output_weight(run.model, head.layer)[head.head].float() for head in heads]
        self._added = torch.stack([c @ w for c, w in zip(change, weight, strict=True)])  # [S, T, D]
        self._lowest = min(head.layer for head in heads)

    def measured(self) -> HeadPaths:
        """The effects of these heads by reader."""
        model, n = self._model, len(self._heads)
        with torch.enable_grad():
            passed = self._run.run(1 + len(self._outputs), self._edits())
            total = self._way.of(passed.parts[model.n_layers, "final"])[1:].sum()
            attending = range(self._lowest + 1, model.n_layers)
            reading = range(self._lowest + model.is_parallel, model.n_layers)
            wanted = [passed.parts[layer, part] for layer in attending for part in ("q", "z")]
            wanted += [passed.parts[layer, "mlp_in"] for layer in reading]
            slopes = torch.autograd.grad(total, wanted, retain_graph=True) if wanted else ()
            heads = np.zeros((n, model.n_layers, model.n_heads, len(LETTERS)))
            for place, layer in enumerate(attending):
                query, output = slopes[2 * place : 2 * place + 2]
                heads[:, layer] = self._through_heads(passed, layer, query, output)
        mlps = np.zeros((n, model.n_layers))
        for layer, slope in zip(reading, slopes[2 * len(attending) :], strict=True):
            given = passed.norms[layer, "mlp"](self._added)
            mlps[:, layer] = self._integral(slope[..., None, :], given[..., None, :])[:, 0]
        for s, head in enumerate(self._heads):
            heads[s, : head.layer + 1] = 0.0
            mlps[s, : head.layer + model.is_parallel] = 0.0
        direct = self._way.of(passed.norms[model.n_layers, "final"](self._added))
        return HeadPaths(
            baseline=self._written.baseline,
            effect=self._written.at_donor - self._written.at_reference,
            direct=direct.detach().cpu().double().numpy(),
            mlps=mlps,
            heads=heads,
        )

    def _edits(self) -> dict[tuple[int, Part], Edit]:
        """Write every head's outputs at every node; the graph starts at the lowest of them."""
        edits: dict[tuple[int, Part], Edit] = {}
        for layer in sorted({head.layer for head in self._heads}):
            of_layer = [s for s, head in enumerate(self._heads) if head.layer == layer]
            heads = torch.tensor([self._heads[s].head for s in of_layer for _ in range(self._n_nodes)])
            rows = torch.tensor([s * self._n_nodes + k for s in of_layer for k in range(self._n_nodes)])
            edits[layer, "z"] = self._edit(layer, rows, heads)
        return edits

    def _edit(self, layer: int, rows: Tensor, heads: Tensor) -> Edit:
        def edit(z: Tensor) -> Tensor:
            new = by_head(self._model, z).clone()
            new[1 + rows, :, heads] = self._outputs[rows].to(new.dtype)
            whole = new.flatten(2)
            return whole.detach().requires_grad_() if layer == self._lowest else whole

        return edit

    def _through_heads(self, passed: Passed, layer: int, query: Tensor, output: Tensor) -> Floats:
        """Effects through one layer's heads, [S, n_heads, 3], by derivatives of queries and outputs."""
        model, attention = self._model, self._model.bridge.blocks[layer].attn
        given = passed.norms[layer, "attn"](self._added)
        group = model.n_heads // model.n_kv_heads
        by_letter: dict[Letter, tuple[Tensor, Tensor]] = {}
        by_letter["q"] = by_head(model, query), by_head(model, linear_change(attention.q, given))
        slopes = self._shared_slopes(passed, layer, by_head(model, output), group)
        for letter, slope in zip(LETTERS[1:], slopes, strict=True):
            projected = by_head(model, linear_change(getattr(attention, letter), given))
            by_letter[letter] = slope, projected.repeat_interleave(group, dim=2)
        return np.stack([self._integral(*by_letter[letter]) for letter in LETTERS], axis=-1)

    def _shared_slopes(
        self, passed: Passed, layer: int, output: Tensor, group: int
    ) -> list[Float[Tensor, "rows tokens heads d"]]:
        """Derivatives of keys and values by query head: each head of a group in turn runs alone."""
        z, given = passed.parts[layer, "z"], [passed.parts[layer, "k"], passed.parts[layer, "v"]]
        by_member: list[list[Tensor]] = []
        for member in range(group):
            alone = torch.zeros_like(output)
            alone[:, :, member::group] = output[:, :, member::group]
            found = torch.autograd.grad(z, given, alone.flatten(2), retain_graph=True)
            by_member.append([by_head(self._model, one) for one in found])
        return [torch.stack(one, dim=3).flatten(2, 3) for one in zip(*by_member, strict=True)]

    def _integral(self, slope: Tensor, given: Tensor) -> Floats:
        """Slopes [1 + S * nodes, T, H, d] times what is given [S, T, H, d]: [S, H]."""
        by_node = slope[1:].detach().cpu().double().unflatten(0, (-1, self._n_nodes))
        given = given.detach().cpu().double()
        products = torch.einsum("snthd,sthd,n->sh", by_node, given, self._node_weights)
        integral: Floats = products.numpy()
        return integral
