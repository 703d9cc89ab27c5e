"""Direct logit attribution: an unpatched read-out as the sum of what heads, MLPs and the rest write.

The residual stream before the last normalisation is the sum of the embeddings and of what every head,
every MLP and every bias adds. With the scale of that normalisation as it is, each of them has its own
share of a read-out that is linear in the logits, and the shares sum to the read-out (Elhage et al.
2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from phase7.engine.decode.readouts import Floats
from phase7.engine.decode.written import begun
from phase7.engine.model.bridge import Model, output_bias, output_weight
from phase7.engine.model.frozen import by_head


@dataclass(frozen=True, kw_only=True, eq=False)
class DirectAttribution:
    """The parts of an unpatched read-out, each as it reaches the logits directly. All in nats (logits).

    Attributes
    ----------
    heads : float64 array [n_layers, n_heads]
    mlps : float64 array [n_layers]
    biases : float64 array [n_layers]
        Of the attention's output projections.
    embedding : float
        Of what enters the first layer.
    constant : float
        The bias of the last normalisation, and that of the unembedding.
    total : float
        The read-out itself, of the model's logits.
    """

    heads: Floats
    mlps: Floats
    biases: Floats
    embedding: float
    constant: float
    total: float

    @property
    def gap(self) -> float:
        """The read-out less the sum of its parts."""
        parts = (self.heads, self.mlps, self.biases)
        found = sum(float(part.sum()) for part in parts) + self.embedding + self.constant
        return self.total - found


def direct_attribution(
    model: Model, tokens: Sequence[int], path: Sequence[int], *, weights: Floats
) -> DirectAttribution:
    """Take an unpatched read-out apart (direct logit attribution, with the last norm's scale frozen).

    Parameters and errors are those of :func:`head_paths`.
    """
    run, way = begun(model, tokens, path, weights, "generated")
    model = run.model
    with torch.no_grad():
        passed = run.run(1, {})
        parts, final = passed.parts, passed.norms[model.n_layers, "final"]

        def of(change: Tensor) -> float:
            return float(way.of(final(change)).sum())

        heads = np.zeros((model.n_layers, model.n_heads))
        mlps, biases = np.zeros(model.n_layers), np.zeros(model.n_layers)
        for layer in range(model.n_layers):
            z = by_head(model, parts[layer, "z"])[0].float()
            added = torch.einsum("thd,hdm->htm", z, output_weight(model, layer).float())
            heads[layer] = way.of(final(added)).cpu().double().numpy()
            mlps[layer] = of(parts[layer, "mlp_out"])
            bias = output_bias(model, layer)
            biases[layer] = 0.0 if isinstance(bias, float) else of(bias.expand(1, len(z), -1))
        offset = passed.offsets[model.n_layers, "final"].expand(1, way.n_steps, -1)
        logits = model.bridge.original_model.get_output_embeddings()(
            parts[model.n_layers, "final"][0, -way.n_steps :]
        )
        total = float((logits.cpu().double() @ torch.from_numpy(way.weights)).mean())
        return DirectAttribution(
            heads=heads,
            mlps=mlps,
            biases=biases,
            embedding=of(passed.entering[0]),
            constant=float(way.of(offset)) + way.constant,
            total=total,
        )
