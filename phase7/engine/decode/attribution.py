"""First-order estimates of what patching each head would change, from one pass and its gradients.

A patch writes a head's output z at some queries. To first order it changes a read-out R by the sum over
these queries of dR/dz · (what is written - z), with the derivative taken in the unpatched run through
all that follows. The derivative does not depend on the donor, so one pass over a recipient serves all
donors and modes; summed by donor offset, it leaves one product for each donor. The divergence from the
baseline is not estimated: its derivative at the baseline is 0.

Read-outs, modes and positions are defined in docs/method.md. What is estimated here,
:func:`phase7.engine.decode.forced.forced_pass` measures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phase7.engine.decode.read_logits import ReadLogits, log_likelihood_of, log_odds_of
from phase7.engine.decode.readouts import Floats
from phase7.engine.decode.traced import TracedRun, by_layers, patterns
from phase7.engine.model.bridge import Model
from phase7.engine.model.faithful import check_lengths
from phase7.engine.patch.donors import Array, Donor
from phase7.engine.patch.patching import unreadable_pattern
from phase7.engine.patch.recipes import recipe_of
from phase7.vocabulary.modes import MODE_RECORDS, Mode, Positions, position_record


@dataclass(frozen=True, kw_only=True, eq=False)
class Slopes:
    """How the read-outs of one recipient change with its heads' outputs.

    The R read-outs, in nats, are the log-odds of the token sets, or the log-likelihood of the path:
    first all of them over the path, then all at the first step. This is the order of
    :func:`phase7.vocabulary.readouts.readout_metrics`, without the divergences. Q queries are held, from
    the first that a policy of several can patch on, and S tokens of prompt and path are read.

    Attributes
    ----------
    model : str
        Its name.
    positions : str
        Which of these queries are patched; at the others the gradient is 0.
    n_prompt : int
        Tokens of the recipient prompt.
    baseline : float64 array [R]
        The unpatched read-outs.
    gradient : float32 array [R, n_layers, Q, n_heads, d_head]
        dR/dz at each patched query, in nats for each unit of z.
    z : float32 array [n_layers, Q, n_heads, d_head]
        The unpatched head outputs at these queries.
    value : float32 array [n_layers, S, n_kv_heads, d_head]
        The unpatched values of all tokens.
    pattern : float32 array [n_layers, n_heads, Q, S] or None
        The unpatched attention of these queries; None where the model's pattern cannot be read.
    """

    model: str
    positions: Positions
    n_prompt: int
    baseline: Floats
    gradient: Array
    z: Array
    value: Array
    pattern: Array | None

    def effect(self, donor: Donor, mode: Mode) -> Floats:
        """The first-order change of every read-out when one head at a time is patched.

        Queries whose offset the donor does not reach stay unpatched.

        Returns
        -------
        float64 array [R, n_layers, n_heads]
            In nats.

        Raises
        ------
        UserError
            If the mode needs an attention pattern that the model does not show.
        ValueError
            If the mode needs a pattern of the donor, which has none.
        NotImplementedError
            For a mode without a recipe.
        """
        change: Floats = self.effects([donor], mode)[0]
        return change

    def effects(self, donors: Sequence[Donor], mode: Mode) -> Floats:
        """The same for many donors, which takes less time than one after the other.

        Returns
        -------
        float64 array [n_donors, R, n_layers, n_heads]
        """
        recipe_of(mode)
        record = MODE_RECORDS[mode]
        if record.reads_pattern and self.pattern is None:
            raise unreadable_pattern(self.model, mode)
        n_layers, _, n_heads, _ = self.z.shape
        changes = np.empty((len(donors), len(self.gradient), n_layers, n_heads))
        by_reach: dict[int, list[int]] = {}
        for number, donor in enumerate(donors):
            by_reach.setdefault(self._reach(donor), []).append(number)
        for reach, numbers in by_reach.items():
            linear = _LINEAR[mode](self, reach)
            for number in numbers:
                changes[number] = linear.at(_GIVEN[mode](donors[number]))
        return changes

    def change(self, donor: Donor, mode: Mode) -> Floats:
        """What a patch adds to every head's output, exactly: what the mode writes minus the output.

        It does not depend on the other heads of the layer, nor on what is patched above. 0 at queries
        that the donor does not reach.

        Returns
        -------
        float64 array [n_layers, Q, n_heads, d_head]

        Raises
        ------
        UserError, ValueError, NotImplementedError
            As of :meth:`effect`.
        """
        recipe_of(mode)
        if MODE_RECORDS[mode].reads_pattern and self.pattern is None:
            raise unreadable_pattern(self.model, mode)
        change, first = _CHANGE[mode](self, donor, _GIVEN[mode](donor)), self.n_prompt - self._n_offsets
        queries = range(first, first + change.shape[1])
        patched = np.array(position_record(self.positions).among(self.n_prompt, queries))
        change[:, ~patched] = 0.0
        return change

    def _changed_outputs(self, given: Array) -> Floats:
        """Where outputs are written whole."""
        reached = self._query_offsets < given.shape[1]
        change = np.zeros(self.z.shape)
        change[:, reached] = given[:, self._query_offsets[reached]].astype(np.float64)
        change[:, reached] -= self.z[:, reached]
        return change

    def _changed_values(self, donor: Donor, given: Array) -> Floats:
        """Where the recipient's own attention reads the donor's values."""
        assert self.pattern is not None
        offsets = np.maximum(0, self.n_prompt - 1 - np.arange(self.value.shape[1]))
        reached, held = offsets < given.shape[1], np.zeros(self.value.shape)
        held[:, reached] = given[:, offsets[reached]].astype(np.float64)
        held[:, reached] -= self.value[:, reached]
        group = self.z.shape[2] // self.value.shape[2]
        by_head = np.repeat(held, group, axis=2).transpose(0, 2, 1, 3)
        change: Floats = (self.pattern.astype(np.float64) @ by_head).swapaxes(1, 2)
        change[:, self._query_offsets >= self._reach(donor)] = 0.0
        return change

    @property
    def _query_offsets(self) -> Any:
        """The donor's offset of each patched query: int64 [Q]."""
        return np.maximum(0, self._n_offsets - 1 - np.arange(self.z.shape[1]))

    @property
    def _n_offsets(self) -> int:
        """Offsets of the patched queries: 0 up to one less than this."""
        return self.n_prompt if position_record(self.positions).from_start else 1

    def _reach(self, donor: Donor) -> int:
        """Offsets of the queries that may change: queries from this offset on stay as they are.

        A query that a donor does not reach attends to no key that it reaches, unless its values reach
        further than its outputs; so for most donors this need not be told apart.
        """
        n_outputs, n_values = donor.z.shape[1], donor.value.shape[1]
        return min(n_outputs, self._n_offsets) if n_outputs < n_values else self._n_offsets

    @cached_property
    def _outputs(self) -> _Linear:
        """As a function of outputs that are written whole."""
        by_query = self.gradient.astype(np.float64)
        own = np.einsum("rlqhd,lqhd->lhqr", by_query, self.z.astype(np.float64))
        slope = _by_offset(by_query.transpose(1, 3, 2, 0, 4), self._n_offsets)
        return _linear(slope, _by_offset(own, self._n_offsets), n_groups=self.z.shape[2])

    def _values(self, reach: int) -> _Linear:
        """As a function of the values that the recipient's own attention reads."""
        return self._all_values if reach == self._n_offsets else self._values_of(reach)

    @cached_property
    def _all_values(self) -> _Linear:
        return self._values_of(self._n_offsets)

    def _values_of(self, reach: int) -> _Linear:
        """The same where queries from offset `reach` on stay unpatched."""
        assert self.pattern is not None
        first = self._n_offsets - reach
        n_readouts, n_layers, _, n_heads, d_head = self.gradient.shape
        n_kv_heads, group = self.value.shape[2], n_heads // self.value.shape[2]
        weights = self.pattern[:, :, first:].swapaxes(2, 3).astype(np.float64)
        by_query = self.gradient[:, :, first:].transpose(1, 3, 2, 0, 4).astype(np.float64)
        by_key = weights @ by_query.reshape(n_layers, n_heads, by_query.shape[2], -1)
        by_key = by_key.reshape(n_layers, n_kv_heads, group, -1, n_readouts, d_head)
        own = np.einsum("lmgkrd,lkmd->lmgkr", by_key, self.value.astype(np.float64))
        by_head = (n_layers, n_heads, -1, n_readouts)
        slope = _by_offset(by_key.reshape(*by_head, d_head), self.n_prompt)
        return _linear(slope, _by_offset(own.reshape(by_head), self.n_prompt), n_groups=n_kv_heads)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Linear:
    """A change that is linear in what a donor holds, by offset, less the same of what it replaces.

    Attributes
    ----------
    slope : float64 array [n_layers, n_groups, heads * R, offsets * d_head]
        Heads of one group read the same of the donor.
    own : float64 array [n_layers, n_heads, offsets, R]
        What is taken away, summed up to each offset.
    """

    slope: Floats
    own: Floats

    def at(self, given: Array) -> Floats:
        """The change [R, n_layers, n_heads] by what a donor holds, [n_layers, offsets, groups, d_head].

        Offsets that the donor does not reach are left as they are; those that lie beyond the recipient's
        do not matter.
        """
        n_layers, n_heads, n_offsets, n_readouts = self.own.shape
        reach = min(given.shape[1], n_offsets)
        held = np.zeros((n_layers, given.shape[2], n_offsets, given.shape[3]))
        held[:, :, :reach] = given[:, :reach].swapaxes(1, 2)
        new = self.slope @ held.reshape(n_layers, given.shape[2], -1, 1)
        change = new.reshape(n_layers, n_heads, n_readouts) - self.own[:, :, reach - 1]
        return np.moveaxis(change, 2, 0)


def _linear(slope: Floats, own: Floats, *, n_groups: int) -> _Linear:
    """From slopes [n_layers, n_heads, offsets, R, d_head] and own parts of one axis less."""
    n_layers, n_heads, n_offsets, n_readouts, d_head = slope.shape
    rows = n_heads // n_groups * n_readouts
    side_by_side = slope.transpose(0, 1, 3, 2, 4).reshape(n_layers, n_groups, rows, n_offsets * d_head)
    return _Linear(slope=side_by_side, own=own.cumsum(axis=2))


def _by_offset(by_position: Floats, n_offsets: int) -> Floats:
    """Sum positions (axis 2) that share a donor offset: all from the prompt's last token on have 0."""
    before = by_position[:, :, : n_offsets - 1]
    last = by_position[:, :, n_offsets - 1 :].sum(axis=2, keepdims=True)
    return np.concatenate([last, before[:, :, ::-1]], axis=2)


#: From slopes and how many offsets of queries may change, what the change is linear in, by mode.
_LINEAR: dict[Mode, Callable[[Slopes, int], _Linear]] = {
    "result": lambda slopes, reach: slopes._outputs,
    "v_only": lambda slopes, reach: slopes._values(reach),
    "pattern_v": lambda slopes, reach: slopes._outputs,
}

#: What a patch adds to every head's output, by mode.
_CHANGE: dict[Mode, Callable[[Slopes, Donor, Array], Floats]] = {
    "result": lambda slopes, donor, given: slopes._changed_outputs(given),
    "v_only": lambda slopes, donor, given: slopes._changed_values(donor, given),
    "pattern_v": lambda slopes, donor, given: slopes._changed_outputs(given),
}

#: What that reads of a donor: float32 [n_layers, offsets, heads, d_head].
_GIVEN: dict[Mode, Callable[[Donor], Array]] = {
    "result": lambda donor: donor.z,
    "v_only": lambda donor: donor.value,
    "pattern_v": lambda donor: donor.composed,
}


def slopes(
    model: Model,
    tokens: Sequence[int],
    path: Sequence[int],
    *,
    token_sets: Mapping[str, Sequence[int]],
    positions: Positions,
) -> Slopes:
    """Run one recipient along its path, and differentiate its log-odds by every head's output.

    Gradients are the plain model's (:attr:`Model.differentiable`). Tokens before the first patched
    query, which no patch reaches, only give their keys and values.

    Parameters
    ----------
    tokens : sequence of int
        The recipient prompt as the model reads it, at least one token.
    path : sequence of int
        The T tokens that follow it, at least one.
    token_sets : mapping of str to sequence of int
        Sets by name, at least one; none empty and none with every token.
    positions : str
        Which queries are patched.

    Raises
    ------
    ValueError
        If there is no set, the path is empty, a set is empty or holds every token, or an id is no token.
    UserError
        As of :func:`phase7.engine.decode.forced.forced_pass`.
    """
    return slopes_of(model, tokens, path, log_odds_of(model, path, token_sets), positions=positions)


def path_slopes(
    model: Model,
    tokens: Sequence[int],
    path: Sequence[int],
    *,
    positions: Positions,
    by_token: bool,
) -> Slopes:
    """As :func:`slopes`, of the log-likelihood of the path itself.

    Parameters
    ----------
    by_token : bool
        Take the mean over the path's tokens; else the sum, the log-probability of the whole.

    Raises
    ------
    ValueError
        If the path is empty or holds the id of no token.
    """
    read = log_likelihood_of(model, path, by_token=by_token)
    return slopes_of(model, tokens, path, read, positions=positions)


def slopes_of(
    model: Model,
    tokens: Sequence[int],
    path: Sequence[int],
    read: ReadLogits,
    *,
    positions: Positions,
) -> Slopes:
    """As :func:`slopes`, of whatever is read of the logits along the path."""
    with torch.inference_mode(False), torch.enable_grad():
        run, values = traced(model, tokens, path, read, positions=positions)
        gradient = read.gradients(values, [run.z[layer] for layer in range(model.n_layers)])
    return slopes_from(model, tokens, run, read.summary(values), gradient, positions=positions)


def traced(
    model: Model,
    tokens: Sequence[int],
    path: Sequence[int],
    read: ReadLogits,
    *,
    positions: Positions,
    keeps_stream: bool = False,
) -> tuple[TracedRun, Tensor]:
    """The unpatched pass, and what is read in it [steps, values], with the graph between the two."""
    check_lengths(model, len(tokens), len(path))
    first = 0 if position_record(positions).from_start else len(tokens) - 1
    run = TracedRun(model, keeps_stream=keeps_stream)
    return run, read.values(run.logits([*tokens, *path[:-1]], first, len(path)))


def slopes_from(
    model: Model,
    tokens: Sequence[int],
    run: TracedRun,
    baseline: Tensor,
    gradient: Sequence[Tensor],
    *,
    positions: Positions,
) -> Slopes:
    """What a pass and its gradients, by layer [R, one, queries, heads, d_head], amount to."""
    record, n_read = position_record(positions), run.value[0].shape[1]
    first = 0 if record.from_start else len(tokens) - 1
    end = n_read if record.last is None else min(n_read, len(tokens) + max(0, record.last))
    patched = slice(end - first)
    by_layer = torch.stack([one[:, 0] for one in gradient], dim=1)[:, :, patched]
    # A single query: what would be written at others has no effect.
    by_layer[:, :, [not one for one in record.among(len(tokens), range(first, end))]] = 0.0
    return Slopes(
        model=model.name,
        positions=positions,
        n_prompt=len(tokens),
        baseline=baseline.detach().double().cpu().numpy(),
        gradient=_numpy(by_layer),
        z=_numpy(by_layers(run.z)[:, patched]),
        value=_numpy(by_layers(run.value)),
        pattern=_numpy(patterns(run.pattern, n_read)[:, :, patched]) if run.pattern else None,
    )


def _numpy(tensor: Tensor) -> Array:
    array: Array = tensor.detach().float().cpu().numpy()
    return array
