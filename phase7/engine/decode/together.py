"""Several prompts' batches decoded together: one pass through the model for all their rows.

A batch of few rows costs little less than one of many, because every weight is read for it anew. So
the rows of several prompts pass the model side by side. Only the attention tells them apart: prompts
differ in length, keys and values. Where a model's attention asks for no more than what
:mod:`phase7.engine.model.side_by_side` does prompt by prompt, it runs once for all. Elsewhere (GPT-Neo)
it runs once for every prompt, on its own rows, with its own cache and hooks, one right after the other,
and its products with the weights are made for all at once (:mod:`phase7.engine.decode.joint_products`).

Nothing else in a pass mixes rows. A row's bits are therefore those that it has in a batch of its own
prompt alone, wherever a product's row depends on no other row (:func:`can_run_together` says where).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from phase7.engine.decode.joint_products import JointProducts
from phase7.engine.decode.prefilling import run_prompts
from phase7.engine.decode.rows import Ints
from phase7.engine.decode.running import RunningBatch, selection, step_of
from phase7.engine.model.attention_runs import runs_as
from phase7.engine.model.blocks import whole_blocks
from phase7.engine.model.bridge import Model
from phase7.engine.model.compared import holds
from phase7.engine.model.faithful import require_finite
from phase7.engine.model.gates import Gate, Hook
from phase7.engine.model.packed import PACKED_ROWS
from phase7.engine.model.side_by_side import masks, own_mask, side_by_side
from phase7.engine.model.whole_prompts import tokens_in_vectors
from phase7.engine.patch.patching import Patch
from phase7.vocabulary.heads import Head
from phase7.vocabulary.sites import SITES, SiteName

#: Of a model whose attention does something with its output: the output's product cannot wait.
_OUTPUT_READ = "attention output read"
#: Of a model whose attention runs once for all prompts.
_ONE_ATTENTION = "one attention"
#: Of a model through which whole prompts pass together too.
_WHOLE_PROMPTS = "whole prompts"
#: Tokens that fill vectors together, beyond which few prompts are of a length that does.
_MOST_IN_VECTORS = 8


class Together:
    """Batches of different prompts whose steps are one pass.

    Parameters
    ----------
    model : Model
    batches : sequence of RunningBatch
        Prefilled. A single one runs as it would alone.
    """

    def __init__(self, model: Model, batches: Sequence[RunningBatch]) -> None:
        self._model, self._batches = model, batches
        self._running: Sequence[RunningBatch] = batches
        self._n_rows = 0  # of the running ones, in the first layer
        self._first_rows = np.zeros(0, dtype=np.int64)  # and each one's first
        self._attending: RunningBatch | None = None  # whose attention runs
        # Which rows pass each gate, for as long as no row changes its slot.
        self._passing: dict[tuple[Gate, int], Tensor | None] = {}
        self._arrangement: list[tuple[int, int]] = []
        self._one_attention = _ONE_ATTENTION in model.compared

    @contextlib.contextmanager
    def hooked(self) -> Iterator[None]:
        """Patch the enclosed passes, and let rows share layers in them."""
        if len(self._batches) == 1:
            with self._batches[0].hooked():
                yield
            return
        hooks = [batch.hooks() for batch in self._batches]
        sites = {
            site: {
                layer: self._of_batches(site, layer, [one.get(site, {}).get(layer) for one in hooks])
                for layer in sorted({layer for one in hooks for layer in one.get(site, {})})
            }
            for site in SITES
        }
        with contextlib.ExitStack() as stack:
            attend = self._all_at_once if self._one_attention else self._one_after_the_other
            for layer in range(self._model.n_layers):
                stack.enter_context(attend(layer))
            rows = self._rows_at if self._model.shortcuts.shared_layers else None
            stack.enter_context(self._model.hooked(sites, rows=rows))
            yield

    def forward(
        self, running: Sequence[RunningBatch], ids: Sequence[Int[Tensor, " slots"]], first: Sequence[int]
    ) -> list[Float[Tensor, "last_slots d_model"]]:
        """One token of every slot of the first layer, for each of some of the batches.

        Parameters
        ----------
        running : sequence of RunningBatch
            Those that go on.
        ids : sequence of int64 [slots]
        first : sequence of int
            Each batch's absolute position.

        Returns
        -------
        list of float tensor [slots, d_model]
            Each batch's states, as of :meth:`phase7.engine.decode.running.RunningBatch.forward`.
        """
        if len(self._batches) == 1:
            return [running[0].forward(ids[0][:, None], first[0])[:, -1]]
        self._running, self._n_rows = running, sum(map(len, ids))
        arrangement = [(id(batch), batch.layout.n_changes) for batch in running]
        if arrangement != self._arrangement:
            self._arrangement = arrangement
            self._passing.clear()
        for batch, query in zip(running, first, strict=True):
            batch.running = step_of(batch.cache, first_query=query, rows=batch.layout)
        positions = torch.cat([torch.full_like(one, at) for one, at in zip(ids, first, strict=True)])
        self._first_rows = np.cumsum([0, *map(len, ids)])[:-1]
        cache = running[0].cache
        if self._one_attention:
            cache = side_by_side([batch.cache for batch in running], self._n_attending)
        states: Tensor = self._model.bridge(
            torch.cat(list(ids))[:, None],
            past_key_values=cache,
            use_cache=True,
            position_ids=positions[:, None],
        )
        each = states[:, -1].split([one.layout.n_slots(self._model.n_layers - 1) for one in running])
        for its, query in zip(each, first, strict=True):
            require_finite(self._model, its, query)
        return list(each)

    def _of_batches(self, site: SiteName, layer: int, hooks: Sequence[Hook | None]) -> Hook:
        """The hooks of all batches at one site, by the batches' order: each on its own rows.

        In an attention that runs for each batch, that of whichever runs.
        """
        by_batch = {id(batch): hook for batch, hook in zip(self._batches, hooks, strict=True)}

        def its_hook(passing: Tensor, hook: Any) -> Tensor | None:
            its: Any = by_batch[id(self._attending)]
            return None if its is None else its(passing, hook=hook)

        def each_on_its_rows(passing: Tensor, hook: Any) -> Tensor:
            new, n_rows = [], [self._n_passing(site, layer, batch) for batch in self._running]
            for batch, part in zip(self._running, passing.split(n_rows), strict=True):
                its: Any = by_batch[id(batch)]
                made = None if its is None else its(part, hook=hook)
                new.append(part if made is None else made)
            return torch.cat(new)

        def each_reads_its_part(passing: Any, hook: Any) -> None:
            for batch, part in zip(self._running, passing.parts, strict=True):
                its: Any = by_batch[id(batch)]
                if its is not None:
                    its(part, hook=hook)

        if SITES[site].is_in_attention and not self._one_attention:
            return its_hook
        return each_reads_its_part if site == "pattern" else each_on_its_rows

    def _n_passing(self, site: SiteName, layer: int, batch: RunningBatch) -> int:
        """Rows of one batch at a site of the heads' outputs or behind them."""
        if SITES[site].reads_attended and self._model.is_parallel:
            return batch.layout.n_attention_slots(layer)
        return batch.layout.n_slots(layer)

    def _rows_at(self, gate: Gate, layer: int) -> Tensor | None:
        """Which rows pass a gate: of the batch whose attention runs, or of all that run."""
        if self._attending is not None:
            return self._attending.rows_at(gate, layer)
        if not any(batch.layout.parts_at(gate, layer) for batch in self._running):
            return None
        if (gate, layer) in self._passing:
            return self._passing[gate, layer]
        rows, n_before = [], 0
        for batch in self._running:
            its, n = batch.passing(gate, layer)
            rows.append(its + n_before)
            n_before += n
        passing = selection(np.concatenate(rows), n_before, self._model)
        self._passing[gate, layer] = passing
        return passing

    def _index(self, rows: Ints) -> Tensor:
        return torch.from_numpy(rows).to(self._model.device)

    def _n_attending(self, layer: int) -> list[int]:
        return [batch.layout.n_attention_slots(layer) for batch in self._running]

    @contextlib.contextmanager
    def _all_at_once(self, layer: int) -> Iterator[None]:
        """Let a layer's attention run once for all batches."""
        attention = self._model.bridge.blocks[layer].attn
        forward = attention.forward

        def for_all(*args: Any, **kwargs: Any) -> Any:
            caches = [batch.cache for batch in self._running]
            its = _Given(
                n_rows=self._n_rows,
                rows=self._index(np.repeat(self._first_rows, self._n_attending(layer))),
                mask=lambda given: masks(given, caches, layer),
            )
            named = {k: v if k == "hidden_states" else its.of(v) for k, v in kwargs.items()}
            return forward(*args[:1], *map(its.of, args[1:]), **named)

        with runs_as(attention, for_all):
            yield

    @contextlib.contextmanager
    def _one_after_the_other(self, layer: int) -> Iterator[None]:
        """Let a layer's attention run for each batch by itself."""
        bridge = self._model.bridge
        attention = bridge.blocks[layer].attn
        one_batch = attention.forward
        defers = _OUTPUT_READ not in self._model.compared and not bridge.cfg.use_attn_result
        products = JointProducts(attention, defers_output=defers)

        def forward(*args: Any, **kwargs: Any) -> Any:
            states = args[0] if args else kwargs.pop("hidden_states")
            running, joint = self._running, self._running[0].cache

            def attend(place: int, part: Tensor) -> Any:
                batch = running[place]
                its = _Given(
                    n_rows=self._n_rows,
                    rows=self._index(self._first_rows[place : place + 1]),
                    mask=lambda given: own_mask(given, batch.cache, layer),
                    joint=joint,
                    cache=batch.cache,
                )
                named = {name: its.of(value) for name, value in kwargs.items()}
                self._attending = batch
                try:
                    if args:
                        return one_batch(part, *map(its.of, args[1:]), **named)
                    return one_batch(hidden_states=part, **named)
                finally:
                    self._attending = None

            return products.attend(states, self._n_attending(layer), attend)

        with runs_as(attention, forward), products.installed():
            yield


@dataclass(frozen=True, kw_only=True, eq=False)
class _Given:
    """What a layer's attention is given beside the states, of what it would be given without batches.

    Attributes
    ----------
    n_rows : int
        Of all batches, in the first layer.
    rows : int64 [n]
        For each row of this attention, one of these that belongs to the same batch; or one for all.
    mask : callable
        From a mask of four axes to that of this attention.
    joint, cache : DynamicCache, optional
        The cache that is handed to the model, and what stands for it here.
    """

    n_rows: int
    rows: Tensor
    mask: Callable[[Tensor], Any]
    joint: Any = None
    cache: Any = None

    def of(self, value: Any) -> Any:
        """One argument."""
        if self.joint is not None and value is self.joint:
            return self.cache
        if isinstance(value, tuple):
            return tuple(map(self.of, value))
        if not isinstance(value, Tensor):
            return value
        if value.ndim == 4:
            return self.mask(value)
        if value.ndim > 1 and value.shape[0] == self.n_rows:  # alike in all of a batch's rows
            return value.index_select(0, self.rows)
        return value


def prefill_once(
    model: Model, batches: Sequence[RunningBatch], *, n_new: int, share_layers: bool
) -> None:
    """Run all prompts but for their last tokens, and give every batch its rows.

    Parameters
    ----------
    batches : sequence of RunningBatch
        None of which patches its prompt.
    n_new, share_layers
        As of :meth:`phase7.engine.decode.running.RunningBatch.spread`.
    """
    longer = [batch for batch in batches if batch.before_last]
    parts = model.buffers.parts([batch.n_slots for batch in longer])
    if _WHOLE_PROMPTS in model.compared:
        run_prompts(model, longer)
    else:
        for batch in longer:
            batch.run_prompt()
    for batch, part in zip(longer, parts, strict=True):
        batch.spread(n_new=n_new, share_layers=share_layers, buffers=part)


def can_run_together(model: Model) -> bool:
    """Whether batches of different prompts give, side by side, the bits that each gives alone.

    That takes products whose rows depend on no other row (float32 on a CPU, packed), a cache by slots,
    and an attention that runs once for all prompts, or to which a prompt's part can be handed apart. Two
    short prompts of different lengths are run both ways, once for a loaded model.
    """
    if model.row_block != PACKED_ROWS or not model.shortcuts.shared_cache:
        return False
    if not {"together", "apart"} & model.compared:
        for how in ({_ONE_ATTENTION, _WHOLE_PROMPTS}, {_ONE_ATTENTION}, set(), {_OUTPUT_READ}):
            model.compared.update(how)
            if agree := holds(_agrees, model):
                break
            model.compared.difference_update(how)
        model.compared.add("together" if agree else "apart")
    return "together" in model.compared


def _agrees(model: Model) -> bool:
    n_vocab, unit = model.bridge.original_model.get_input_embeddings().weight.shape[0], 1
    if _WHOLE_PROMPTS in model.compared:
        unit = tokens_in_vectors(model)
        if unit > _MOST_IN_VECTORS:
            return False
    # All of a prompt but its last token is run at once.
    lengths = (1 + whole_blocks(4, unit), 1 + whole_blocks(whole_blocks(4, unit) + 3, unit))
    prompts = [[(7 * i + token) % n_vocab for token in range(n)] for i, n in enumerate(lengths)]
    with model.unembedding_apart():
        together = _states(model, prompts)
        alone = [_states(model, [prompt])[0] for prompt in prompts]
    return all(map(torch.equal, together, alone))


def _states(model: Model, prompts: Sequence[Sequence[int]]) -> list[Tensor]:
    """The final states of two tokens behind each of some prompts, run together.

    Prompts and layers differ in their rows.
    """
    first, last = (Patch(heads=(Head(at, 0),), donor="zero") for at in (0, model.n_layers - 1))
    batches = [
        RunningBatch(
            model, prompt, [last] + [first] * len(prompt), {}, n_samples=1, use_attn_result=False
        )
        for prompt in prompts
    ]
    prefill_once(model, batches, n_new=2, share_layers=True)
    if not all(batch.holds_slots for batch in batches):
        raise ValueError("a cache that holds no slots")
    together, found = Together(model, batches), []
    with together.hooked():
        for step in range(2):
            ids = [
                torch.full((batch.layout.n_slots(0),), step, device=model.device) for batch in batches
            ]
            found.append(together.forward(batches, ids, [len(prompt) - 1 + step for prompt in prompts]))
    return [torch.cat(each) for each in zip(*found, strict=True)]
