"""What is read of logits along a path in a way that can be differentiated.

The same read-outs as :mod:`phase7.engine.decode.readouts`, in the model's own precision and by functions
of torch, so that gradients flow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from phase7.engine.decode.forced import check_ids
from phase7.engine.model.bridge import Model


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadLogits:
    """Some values of every step's logits, and how they are put together over the steps.

    There are R = 2 * n_values read-outs, in nats: all values over the path, then all at its first step.

    Attributes
    ----------
    values : callable
        Logits [..., steps, n_vocab] to values [..., steps, n_values].
    by_token : bool
        Whether the path's value is the mean over its steps; else it is the sum.
    """

    values: Callable[[Tensor], Tensor]
    by_token: bool

    def summary(self, values: Float[Tensor, "*rows steps n_values"]) -> Float[Tensor, "*rows readouts"]:
        """The read-outs."""
        whole = values.mean(dim=-2) if self.by_token else values.sum(dim=-2)
        return torch.cat([whole, values[..., 0, :]], dim=-1)

    def gradients(
        self,
        values: Float[Tensor, "*rows steps n_values"],
        inputs: Sequence[Tensor],
        *,
        keep_graph: bool = False,
    ) -> tuple[Tensor, ...]:
        """Gradients of all read-outs by each input, [R, *input], in one batch.

        Rows do not depend on each other, so an input's row has the gradient of its own row's read-outs.
        """
        n_steps, n_values = values.shape[-2:]
        weights = torch.zeros((2, n_values, *values.shape), dtype=values.dtype, device=values.device)
        for number in range(n_values):
            weights[0, number, ..., number] = 1 / n_steps if self.by_token else 1.0
            weights[1, number, ..., 0, number] = 1.0
        return torch.autograd.grad(
            values, [*inputs], weights.flatten(0, 1), is_grads_batched=True, retain_graph=keep_graph
        )


def log_odds_of(
    model: Model, path: Sequence[int], token_sets: Mapping[str, Sequence[int]]
) -> ReadLogits:
    """ln(P(S) / (1 - P(S))) of each token set.

    Raises
    ------
    ValueError
        If there is no set, the path is empty, a set is empty or holds every token, or an id is no token.
    """
    check_ids("path", path, model)
    if not token_sets:
        raise ValueError("expected at least one token set")
    for name, ids in token_sets.items():
        check_ids(f"token set {name!r}", ids, model)
        if len({*ids}) == int(model.bridge.cfg.d_vocab):
            raise ValueError(f"token set {name!r} holds every token")
    sets = [sorted({*ids}) for ids in token_sets.values()]
    return ReadLogits(
        values=lambda logits: torch.stack([_log_odds(logits, ids) for ids in sets], dim=-1),
        by_token=True,
    )


def log_likelihood_of(model: Model, path: Sequence[int], *, by_token: bool) -> ReadLogits:
    """ln P_t(y_t) of the path's own tokens.

    Raises
    ------
    ValueError
        If the path is empty or holds the id of no token.
    """
    check_ids("path", path, model)
    said = torch.tensor([*path], dtype=torch.long, device=model.device)[:, None]

    def values(logits: Tensor) -> Tensor:
        return logits.log_softmax(dim=-1).gather(-1, said.expand(*logits.shape[:-1], 1))

    return ReadLogits(values=values, by_token=by_token)


def _log_odds(logits: Float[Tensor, "*steps n_vocab"], ids: Sequence[int]) -> Float[Tensor, "*steps"]:
    """The others are summed by themselves, since 1 - P would cancel."""
    is_inside = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
    is_inside[ids] = True
    others = logits.masked_fill(is_inside, -torch.inf)
    return logits[..., is_inside].logsumexp(dim=-1) - others.logsumexp(dim=-1)
