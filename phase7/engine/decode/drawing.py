"""From a batch's final states to one token a row.

Tokens are drawn with the shared noise. On the way two things are noted: how far the first token's
distribution diverges from the baseline's, and how far the self-donor rows' logits lie from their
baselines'. Logits are made for a piece of the rows at a time, so those of a whole batch never lie in
memory together. What several prompts' batches need is made in one product (:func:`draw_together`).

Most rows have the same tokens so far as others, and states close to theirs. Of each such group one
row's logits are made; the others' follow from how their states differ, in half the time and up to a
known error (:mod:`phase7.engine.model.rough`). Where that error could change the token, the row's own
logits are made too, so the tokens are the same as without it. A row whose state is its baseline's to the
bit, as a self-check's is, has the baseline's logits and token.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from phase7.engine.decode.logits import ROWS_AT_ONCE, Unembed, logits_of, pieces
from phase7.engine.decode.rows import Ints
from phase7.engine.decode.sampling import ExactLogits, gumbel_noise, sample, sample_changed
from phase7.engine.model.rough import RoughUnembedding
from phase7.experiment.profile import Sampling

#: Rows with the same tokens so far from which on their differences are looked at.
_LEAST_GROUP = 4
#: Of a logit divided by the temperature: with larger errors, too many tokens are not certain.
_LARGEST_ERROR = 0.3


@dataclass(frozen=True, kw_only=True, eq=False)
class Unembedding:
    """How logits are made.

    Attributes
    ----------
    exact : callable
        From final states [rows, d_model] to logits [rows, n_vocab].
    rough : RoughUnembedding or None
        The same for differences of states. None makes the logits of every row, which changes the time
        and not the tokens.
    row_block : int
        As of :class:`phase7.engine.model.bridge.Model`.
    """

    exact: Unembed
    rough: RoughUnembedding | None
    row_block: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """What a drawing needs to go on: logits of states, or rough changes of them from references'.

    Attributes
    ----------
    states : float [rows, d_model]
    references : float [rows, d_model] or None
        None where the rows' own logits are wanted.
    """

    states: Tensor
    references: Tensor | None = None

    @property
    def is_rough(self) -> bool:
        """Whether rough changes are wanted."""
        return self.references is not None


#: A batch's drawing under way: it is sent what it asks for, logits [rows, n_vocab] or changes and their
#: errors [rows], and returns tokens.
Draw = Generator[Asked, Any, Ints]


@dataclass(kw_only=True, eq=False)
class _Step:
    """One step: where each row's state lies, what has been drawn, and logits to compare with."""

    states: Float[Tensor, "slots d_model"]
    slots: Ints  # [n_rows]
    number: int
    drawn: Ints  # [n_rows], -1 before
    kept: dict[int, Tensor | None]  # row -> its logits [n_vocab], once they are made
    noise: Float[Tensor, "n_samples n_vocab"] | None = None

    def states_of(self, rows: Ints) -> Float[Tensor, "rows d_model"]:
        index = torch.from_numpy(self.slots[rows]).to(self.states.device)
        return self.states.index_select(0, index)

    def logits_of(self, row: int) -> Float[Tensor, " n_vocab"]:
        """Of a row whose logits are kept and have been made."""
        logits = self.kept[row]
        assert logits is not None
        return logits


class Drawing:
    """Draws the tokens of one batch, step after step.

    Parameters
    ----------
    rough : RoughUnembedding or None
        As of :class:`Unembedding`.
    prompt : str
        Identifies the noise.
    sampling : Sampling
    n_rows, n_checks : int
        Rows of the batch, patch-major, then sample: the baseline's first, the self-checks' last.

    Attributes
    ----------
    kl_first_token : float64 array [n_patches]
        KL(baseline || patch) of the first token's distribution in nats, of the first sample.
    max_self_logit_gap : float
        Largest absolute difference of logits between a self-check row and its baseline so far.
    """

    def __init__(
        self,
        rough: RoughUnembedding | None,
        *,
        prompt: str,
        sampling: Sampling,
        n_rows: int,
        n_checks: int,
    ) -> None:
        self._rough, self._prompt, self._sampling = rough, prompt, sampling
        self._n_rows, self._first_check = n_rows, n_rows - n_checks
        self._samples = sampling.samples
        self.kl_first_token = np.zeros(n_rows // sampling.samples)
        self.max_self_logit_gap = 0.0

    def begin(
        self,
        states: Float[Tensor, "slots d_model"],
        *,
        slots: Ints,
        rows: Ints,
        histories: Ints,
        step: int,
    ) -> Draw:
        """Draw the next token of each of some rows, for :func:`draw_together`.

        Parameters
        ----------
        states : float [slots, d_model]
        slots : int64 [n_rows]
            Where each row's state lies.
        rows : int64 [rows]
            Those that go on, ascending.
        histories : int64 [n_rows]
            Equal where the tokens so far are.
        step : int
            0 for the first generated token.
        """
        now = _Step(
            states=states,
            slots=slots,
            number=step,
            drawn=np.full(self._n_rows, -1, dtype=np.int64),
            kept={},
        )
        equal = self._equal(now, rows)
        others = np.setdiff1d(rows, equal)
        near, references = self._near(now, others, histories)
        now.kept = dict.fromkeys([*range(self._samples), *references.tolist()])
        yield from self._draw_each(now, np.setdiff1d(others, near))
        left = yield from self._draw_near(now, near, references)
        yield from self._draw_each(now, np.sort(left))
        now.drawn[equal] = now.drawn[equal % self._samples]
        tokens: Ints = now.drawn[rows]
        return tokens

    def _equal(self, now: _Step, rows: Ints) -> Ints:
        """Those rows whose states are the bits of their baselines', which have the same noise."""
        some = rows[rows >= self._samples]
        some = some[np.isin(some % self._samples, rows)]
        if not some.size:
            return some
        same = (now.states_of(some) == now.states_of(some % self._samples)).all(dim=-1)
        equal: Ints = some[same.cpu().numpy()]
        return equal

    def _near(self, now: _Step, rows: Ints, histories: Ints) -> tuple[Ints, Ints]:
        """Rows that are worth drawing from their difference to another, and those others.

        The other is the first of the rows with the same tokens, if they are many, or else the baseline;
        both have the same noise. Never the self-checks, nor the first step, whose logits are all wanted.
        """
        none: Ints = rows[:0]
        if self._rough is None or now.number == 0:
            return none, none
        some = rows[rows < self._first_check]
        references = np.where(np.isin(some % self._samples, some), some % self._samples, some)
        _, group, sizes = np.unique(
            histories[some] * self._samples + some % self._samples,
            return_inverse=True,
            return_counts=True,
        )
        firsts = np.full(sizes.size, self._n_rows, dtype=np.int64)
        np.minimum.at(firsts, group, some)
        references = np.where(sizes[group] >= _LEAST_GROUP, firsts[group], references)
        is_other = references != some
        some, references = some[is_other], references[is_other]
        if not some.size:
            return none, none
        error = self._rough.least_error(now.states_of(some), now.states_of(references))
        close = (error < _LARGEST_ERROR * (self._sampling.temperature or 1.0)).cpu().numpy()
        order = np.argsort(references[close], kind="stable")
        return some[close][order], references[close][order]

    def _draw_each(self, now: _Step, rows: Ints) -> Generator[Asked, Any, None]:
        """Draw from the rows' own logits."""
        for own in pieces(rows):
            logits = yield Asked(states=now.states_of(own))
            wanted = [i for i, row in enumerate(own) if row in now.kept]
            # Few of many are copied, so that the others' memory is free again, also of other drawings.
            n_made = logits.untyped_storage().nbytes() // (logits.element_size() * logits.shape[-1])
            are_few = 2 * len(wanted) < n_made
            now.kept |= {int(own[i]): logits[i].clone() if are_few else logits[i] for i in wanted}
            if now.noise is None and self._sampling.temperature > 0:
                now.noise = self._noise(now.number, logits)
            if now.number == 0:
                self._note_kl(now, logits, own)
            self._note_gap(now, logits, own)
            now.drawn[own] = self._sample(now, logits, own)

    def _sample(self, now: _Step, logits: Tensor, rows: Ints) -> Ints:
        drawn = sample(
            logits,
            now.noise,
            temperature=self._sampling.temperature,
            top_p=self._sampling.top_p,
            noise_rows=torch.from_numpy(rows % self._samples).to(logits.device),
        )
        tokens: Ints = drawn.cpu().numpy()
        return tokens

    def _draw_near(self, now: _Step, rows: Ints, references: Ints) -> Generator[Asked, Any, Ints]:
        """Draw rows from their differences to others, whose logits are kept; ordered by the latter.

        Returns the rows whose token is not certain.
        """
        left: list[Ints] = [rows[:0]]
        for own, others in zip(pieces(rows), pieces(references), strict=True):
            assert self._rough is not None
            states = now.states_of(own)
            changes, error = yield Asked(states=states, references=now.states_of(others))
            which, of = np.unique(others, return_inverse=True)
            noise = now.noise if now.noise is None else now.noise[which % self._samples]
            drawn, certain = sample_changed(
                torch.stack([now.logits_of(int(other)) for other in which]),
                changes,
                error,
                noise,
                of=torch.from_numpy(of).to(changes.device),
                temperature=self._sampling.temperature,
                top_p=self._sampling.top_p,
                exact=_exact_logits(self._rough, states),
            )
            now.drawn[own] = drawn.cpu().numpy()
            left.append(own[~certain.cpu().numpy()])
        return np.concatenate(left)

    def _noise(self, step: int, logits: Tensor) -> Float[Tensor, "n_samples n_vocab"]:
        return gumbel_noise(
            seed=self._sampling.seed,
            prompt=self._prompt,
            n_samples=self._samples,
            step=step,
            n_vocab=logits.shape[-1],
        ).to(logits.device)

    def _note_kl(self, now: _Step, logits: Tensor, rows: Ints) -> None:
        """KL(baseline || each) in nats for the rows of the first sample, in float64."""
        reference = torch.log_softmax(now.logits_of(0).double(), dim=-1)  # row 0 is in the first piece
        weights = reference.exp()
        for place in np.flatnonzero(rows % self._samples == 0):
            log_p = torch.log_softmax(logits[place].double(), dim=-1)
            kl = float((weights * (reference - log_p)).sum().clamp(min=0))
            self.kl_first_token[rows[place] // self._samples] = kl

    def _note_gap(self, now: _Step, logits: Tensor, rows: Ints) -> None:
        for place in np.flatnonzero(rows >= self._first_check):
            base = now.kept[int(rows[place]) % self._samples]
            if base is not None:  # None once the baseline has ended
                gap = float((logits[place] - base).abs().max())
                self.max_self_logit_gap = max(self.max_self_logit_gap, gap)


def draw_together(draws: Sequence[Draw], unembedding: Unembedding) -> list[Ints]:
    """The tokens of several batches; what they ask for is made side by side as far as memory allows.

    Parameters
    ----------
    draws : sequence of Draw
        Each begun by :meth:`Drawing.begin`.
    unembedding : Unembedding
        Whose rough one is that of all the drawings.

    Returns
    -------
    list of int64 [rows]
    """
    found: dict[int, Ints] = {}
    asked: dict[int, Asked] = {}

    def go_on(number: int, answer: Any) -> None:
        try:
            asked[number] = draws[number].send(answer)
        except StopIteration as end:
            found[number] = end.value

    for number in range(len(draws)):
        go_on(number, None)
    is_rough = False
    while asked:
        # As long as any asks for the same: whoever is answered goes on to something else.
        if all(one.is_rough != is_rough for one in asked.values()):
            is_rough = not is_rough
        some: list[int] = []
        n_rows = 0
        for number, one in asked.items():
            if one.is_rough != is_rough:
                continue
            if some and n_rows + len(one.states) > ROWS_AT_ONCE:
                break
            some.append(number)
            n_rows += len(one.states)
        answers = _answers([asked.pop(number) for number in some], unembedding)
        for number, answer in zip(some, answers, strict=True):
            go_on(number, answer)
    return [found[number] for number in range(len(draws))]


def _answers(asked: Sequence[Asked], unembedding: Unembedding) -> list[Any]:
    """What each of several drawings asks for, all of one kind, by one product."""
    states, n_rows = torch.cat([one.states for one in asked]), [len(one.states) for one in asked]
    references = [one.references for one in asked if one.references is not None]
    if not references:
        exact, every = unembedding.exact, np.arange(len(states))
        return list(logits_of(exact, states, every, unembedding.row_block).split(n_rows))
    assert unembedding.rough is not None
    changes, error = unembedding.rough.changes(states, torch.cat(references))
    return list(zip(changes.split(n_rows), error.split(n_rows), strict=True))


def _exact_logits(rough: RoughUnembedding, states: Tensor) -> ExactLogits:
    return lambda rows, tokens: rough.logits_of(states.index_select(0, rows), tokens)
