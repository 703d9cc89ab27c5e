"""One prompt's baseline, patches and self-checks on their way through the model, as rows of one batch.

What sampling (:mod:`phase7.engine.decode.loop`) and the forced pass (:mod:`phase7.engine.decode.forced`)
have in common: the rows' KV cache, the layers they share (:mod:`phase7.engine.decode.rows`), the
patcher's hooks, and the forward pass that is running, as the hooks see it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from phase7.engine.decode.rows import Ints, SharedLayers
from phase7.engine.model.attention import writes_results
from phase7.engine.model.blocks import whole_blocks
from phase7.engine.model.bridge import Model
from phase7.engine.model.buffers import Buffers
from phase7.engine.model.faithful import require_finite
from phase7.engine.model.gates import Gate, Hook
from phase7.engine.model.kv_cache import fan_out, shares_layers, values_of
from phase7.engine.patch.donors import Donor
from phase7.engine.patch.patching import BASELINE, Patch, Patcher
from phase7.engine.patch.step import Rows, Step
from phase7.vocabulary.errors import SelfCheckError, UserError
from phase7.vocabulary.modes import MODE_RECORDS, position_record
from phase7.vocabulary.sites import SITES, SiteName


def self_checks(patches: Sequence[Patch]) -> list[Patch]:
    """Self-donor patches over the union of the patched heads and units.

    One for each (mode, positions, write, strength) used, so that a batch checks every kind of write that
    is in it. A unit that hides what lies below it, such as the residual stream, would make good again
    what another write had spoilt; so each of them has a check of its own.
    """
    heads = tuple(sorted({head for patch in patches for head in patch.heads}))
    units = sorted({unit for patch in patches for unit in patch.units})
    hiding = [unit for unit in units if unit.record.hides_below]
    beside = tuple(unit for unit in units if unit not in hiding)
    kinds = sorted({(patch.mode, patch.positions, patch.write, patch.strength) for patch in patches})
    checks = []
    for mode, where, write, strength in kinds:
        composes = MODE_RECORDS[mode].reads_pattern
        its = tuple(unit for unit in beside if not composes or unit.site is None)
        alone = [] if composes else [((), (unit,)) for unit in hiding]
        together = [(heads, its)] if heads or its else []
        checks += [
            Patch(
                heads=some, units=some_units, mode=mode, donor="self", positions=where, write=write,
                strength=strength,
            )
            for some, some_units in [*together, *alone]
        ]  # fmt: skip
    return checks


def step_of(cache: Any, *, first_query: int, rows: Rows) -> Step:
    """A forward pass that continues a cache, as writes read it."""
    return Step(
        first_query=first_query,
        rows=rows,
        values=lambda layer, slots, kv_heads: values_of(cache.layers[layer], slots, kv_heads),
    )


def self_check_error(check: Patch, what: str) -> SelfCheckError:
    """The error of a self-check that did not reproduce the baseline; `what` was changed, and where."""
    kind = "" if check.is_plain else f", write {check.write}, strength {check.strength:g}"
    what_is = [f"{len(check.heads)} heads"] if check.heads else []
    patched = " and ".join([*what_is, *map(str, check.units)])
    return SelfCheckError(
        f"self-check failed: patching {patched} with their own activations"
        f" (mode {check.mode}, positions {check.positions}{kind}) changed {what};"
        " the run's numbers would mean nothing, so it stops"
    )


class RunningBatch:
    """The rows of one batch, patch-major, then sample: the baseline, the patches, their self-checks.

    Parameters
    ----------
    model : Model
    tokens : sequence of int
        The recipient prompt as the model reads it.
    patches : sequence of Patch
        At least one.
    donors : mapping of str to Donor
    n_samples : int
    use_attn_result : bool
        As of :class:`phase7.engine.patch.patching.Patcher`.

    Attributes
    ----------
    checks : list of Patch
        The patches with their own activations, which must reproduce the baseline.
    n_rows : int
    patcher : Patcher
    cache : DynamicCache
    layout : SharedLayers
        Every row has all layers to itself until it is told otherwise.
    runs_prompt_by_row : bool
        Whether a patch changes the prompt's own queries, so that the prompt cannot be run once for all.
    holds_slots : bool
        Whether the cache has been fanned out to slots that groups of rows can share.
    running : Step
        The forward pass that is running, or ran last.
    """

    running: Step

    def __init__(
        self,
        model: Model,
        tokens: Sequence[int],
        patches: Sequence[Patch],
        donors: Mapping[str, Donor],
        *,
        n_samples: int,
        use_attn_result: bool,
    ) -> None:
        self._model, self._tokens = model, tokens
        self._n_samples, self._use_attn_result = n_samples, use_attn_result
        self.checks = self_checks(patches)
        self._arms = [BASELINE, *patches, *self.checks]
        self.patcher = Patcher(
            model,
            self._arms,
            n_samples=n_samples,
            donors=donors,
            n_prompt=len(tokens),
            use_attn_result=use_attn_result,
        )
        self.n_rows = len(self._arms) * n_samples
        self.cache = model.new_cache()
        self.layout = SharedLayers([-1] * self.n_rows, model.n_layers, model.row_block)
        self.runs_prompt_by_row = any(
            not patch.is_baseline and position_record(patch.positions).from_start for patch in patches
        )
        self.holds_slots = False

    @property
    def n_slots(self) -> int:
        """Slots that have room for every row, in whole blocks."""
        return whole_blocks(self.n_rows, self._model.row_block)

    def share_layers(self) -> None:
        """Compute the layers below a row's first patch once for all rows with the same tokens so far."""
        n_layers = self._model.n_layers
        first = [patch.first_layer(n_layers) for patch in self._arms]
        self.layout = SharedLayers(
            np.repeat(first, self._n_samples),
            n_layers,
            self._model.row_block,
            share_attention=np.repeat([*map(self._shares_attention, self._arms)], self._n_samples),
        )

    def _shares_attention(self, patch: Patch) -> bool:
        """Whether a patch leaves the attention of its first layer as it is for all rows.

        A head's result is computed inside its attention, whose outputs must then have a row each; and so
        must what a parallel MLP reads, which is told apart with the attention.
        """
        first = patch.first_layer(self._model.n_layers)
        sites = [SITES[unit.site] for unit in patch.sited if unit.layer == first and unit.site]
        is_beside = self._model.is_parallel and any(site.reads_attended for site in sites)
        return not self._use_attn_result and not is_beside

    @property
    def before_last(self) -> Sequence[int]:
        """The prompt's tokens that run before the first step."""
        return self._tokens[:-1]

    def prefill_once(self, *, n_new: int, share_layers: bool) -> None:
        """Run all of the prompt but its last token in one row without hooks; all rows share its cache.

        A prompt of one token leaves nothing to run, and the rows share nothing.
        """
        if self.before_last:
            self.run_prompt()
            self.spread(n_new=n_new, share_layers=share_layers, buffers=self._model.buffers)

    def run_prompt(self) -> None:
        """Run all of the prompt but its last token in one row without hooks."""
        self.forward(self._ids(self.before_last), 0)

    def spread(self, *, n_new: int, share_layers: bool, buffers: Buffers) -> None:
        """Let all rows share the cache of a prompt that has run.

        Parameters
        ----------
        n_new : int
            Tokens by row that room is made for.
        share_layers : bool
            Whether rows shall share layers, where the cache can hold groups of rows.
        buffers : Buffers
            Memory for keys and values.
        """
        shared_cache = self._model.shortcuts.shared_cache
        self.holds_slots = shared_cache and shares_layers(self.cache)
        if share_layers and self.holds_slots and self._model.shortcuts.shared_layers:
            self.share_layers()
        fan_out(self.cache, n_slots=self.n_slots, n_new=n_new, buffers=buffers, share=shared_cache)

    def prefill_by_row(self) -> None:
        """Run all of the prompt but its last token in every row; under the hooks, which patch it too."""
        if self.before_last:
            self.forward(self._ids(self.before_last).expand(self.n_slots, -1), 0)

    def hooks(self) -> dict[SiteName, dict[int, Hook]]:
        """The patcher's hooks, for the pass that is :attr:`running`."""
        return self.patcher.hooks(lambda: self.running)

    @contextlib.contextmanager
    def hooked(self) -> Iterator[None]:
        """Patch the enclosed forward passes, and let rows share layers in them."""
        rows = self.rows_at if self._model.shortcuts.shared_layers else None
        with self._model.hooked(self.hooks(), rows=rows):
            yield

    def forward(
        self, ids: Int[Tensor, "slots queries"], first: int
    ) -> Float[Tensor, "last_slots queries width"]:
        """Run some tokens of every slot of the first layer, from absolute position `first` on.

        Returns
        -------
        float tensor [slots, queries, d_model]
            Final states by slot of the last layer; of a model without a plain head, or outside
            `Model.unembedding_apart`, logits.
        """
        self.running = step_of(self.cache, first_query=first, rows=self.layout)
        positions = torch.arange(first, first + ids.shape[1], device=ids.device)[None]
        states: Tensor = self._model.bridge(
            ids, past_key_values=self.cache, use_cache=True, position_ids=positions
        )
        require_finite(self._model, states, first + ids.shape[1] - 1)
        return states

    def _ids(self, tokens: Sequence[int]) -> Int[Tensor, "one queries"]:
        return torch.tensor([list(tokens)], dtype=torch.long, device=self._model.device)

    def passing(self, gate: Gate, layer: int) -> tuple[Ints, int]:
        """Which rows pass a gate of a layer, in order, and of how many."""
        layout = self.layout
        if gate == "layer":
            return layout.entering(layer), layout.n_slots(layer - 1)
        if gate == "attention":
            return layout.attending(layer), layout.n_slots(layer)
        return layout.leaving(layer), layout.n_attention_slots(layer)

    def rows_at(self, gate: Gate, layer: int) -> Tensor | None:
        """For `Model.hooked`: which rows pass a gate of a layer; None for all as they are."""
        if not self.layout.parts_at(gate, layer):
            return None
        return selection(*self.passing(gate, layer), self._model)


def selection(rows: Ints, n_before: int, model: Model) -> Tensor | None:
    """Rows as an index into `n_before` of them; None where they are all of these as they are."""
    if np.array_equal(rows, np.arange(n_before)):
        return None
    return torch.from_numpy(rows).to(model.device)


@contextlib.contextmanager
def attn_result(model: Model, wanted: bool) -> Iterator[None]:
    """Make the bridge compute each head's result on its own (`hook_result`) for a while."""
    if not wanted:
        yield
        return
    try:
        model.bridge.set_use_attn_result(True)
    except NotImplementedError as error:
        raise _without_results(model, "whose bridge has none") from error
    try:
        if "results" not in model.compared:
            if not writes_results(model):
                raise _without_results(model, "where a write there is another patch")
            model.compared.add("results")
        yield
    finally:
        model.bridge.set_use_attn_result(False)


def _without_results(model: Model, got: str) -> UserError:
    return UserError(
        expected="an architecture with hook_result",
        got=f"{model.name}, {got}",
        where="--use-attn-result",
        remedy="leave the flag out: mode result at hook_z is the same patch up to rounding",
    )
