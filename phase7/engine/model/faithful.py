"""Whether the bridge computes what the untouched transformers model computes.

A bridge writes attention anew, architecture by architecture, so it can leave out what a configuration
asks for. When a model is loaded, its logits on a few probe tokens are compared with those of the model
that no bridge has taken apart: in one pass, and token by token behind a prefilled cache, whose rows go
different ways, as generation runs it.

Some models compute otherwise beyond a certain length (a sliding window, other frequencies of their
positions). That is compared when a run first reads so many tokens, with a probe of that length: texts
that stay below it cost nothing, and are not refused for what happens beyond. A text that grows past such
a length behind a cache must give what one pass over all of it gives.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from phase7.engine.model.bridge import Model
from phase7.models.quiet import quiet
from phase7.vocabulary.errors import UserError

#: Tokens of the probe when a model is loaded, and how many of them are read before the rows part.
_N_TOKENS, _N_PREFILLED = 11, 8
#: Share of the logits' standard deviation that rounding may make: float32, and 16 bits.
_ROUNDING, _HALF_ROUNDING = 3e-4, 0.25
#: A model may magnify what rounding does to its embeddings (sharp attention does). Relative size of the
#: rounding that is tried then, by how much two ways of computing may exceed what it does, and the share
#: of the spread that no rounding explains.
_NUDGE, _N_NUDGES, _MOST_ROUNDING = 2.0**-22, 8, 0.02
#: One comparison at a time: some modules remember the last length, and threads share the plain model.
_comparing = threading.Lock()

Way = Literal["in one pass", "with a cache"]


@dataclass(frozen=True, kw_only=True)
class _Probe:
    """Tokens [rows, n] to compare; the first `n_prefilled` are the same in every row."""

    tokens: Int[Tensor, "rows n"]
    n_prefilled: int
    n_compared: int  # positions from the end

    @property
    def first(self) -> int:
        """The first position that is compared."""
        return self.tokens.shape[1] - self.n_compared


@dataclass(frozen=True, kw_only=True)
class _Difference:
    """Where two ways of computing part."""

    way: Way
    position: int
    size: float
    spread: float
    probe: _Probe


def check_logits(model: Model) -> None:
    """Compare the bridge with transformers on a short probe.

    Raises
    ------
    UserError
        If logits differ by more than rounding, or are not numbers.
    """
    with _comparing:
        _require_equal(model, [_short(model, seed) for seed in (0, 1)], "")


def check_lengths(model: Model, n_prompt: int, n_new: int) -> None:
    """Compare the two at the lengths that a run passes, if they have not been compared yet.

    Parameters
    ----------
    n_prompt : int
        Tokens of the prompt, of which the first pass reads all but the last.
    n_new : int
        Tokens that follow; the last one of all is not read.

    Raises
    ------
    UserError
        If logits differ beyond such a length, or where a text grows past it.
    """
    n_first, n_read = n_prompt - 1, n_prompt + n_new - 1
    for length in model.switch_lengths:
        if length < n_read <= model.n_context:
            grows = n_first <= length
            with _comparing:
                if (length, grows) not in model.compared:
                    probes = [_long(model, length, grows=grows, seed=seed) for seed in (0, 1)]
                    _require_equal(
                        model, probes, f", {'growing past' if grows else 'beyond'} {length} tokens"
                    )
                    model.compared.add((length, grows))


def require_finite(model: Model, states: Tensor, position: int) -> None:
    """Refuse states that are no numbers; `position` is that of the pass's last token."""
    if not bool(states.amax() < torch.inf):  # NaN is not
        raise not_finite(model, f"the states of position {position}")


def not_finite(model: Model, what: str) -> UserError:
    """The error for a model that computes what is no number."""
    return UserError(
        expected="numbers",
        got=f"NaN or infinity in {what}",
        where=f"model {model.name} ({model.files.folder})",
        remedy="use whole weights; if they are, a wider --dtype, or a smaller strength of the patch",
    )


@torch.inference_mode()
def _require_equal(model: Model, probes: list[_Probe], when: str) -> None:
    """Refuse the model if it differs on every probe.

    One alone could be rounding: where two experts are all but equally good, it decides between them.
    """
    with quiet():
        found = None
        for probe in probes:
            found = _difference(model, probe)
            if found is None:
                return
        assert found is not None
        layer = _first_layer(model, found)
    raise UserError(
        expected="a bridge that gives the logits of transformers",
        got=f"logits {found.size:.2g} away (their spread is {found.spread:.2g}) {found.way}{when}, from"
        f" position {found.position} on, first in {layer}",
        where=f"model {model.name} ({model.files.folder})",
        remedy="stay within that length, or begin beyond it"
        if when
        else "it would be another model that is measured; see docs/models.md for what is supported",
    )


def _difference(model: Model, probe: _Probe) -> _Difference | None:
    expected = _plain_logits(model, probe)
    if bool(expected.isnan().any()):
        raise not_finite(model, "the logits of a few probe tokens")
    spread = float(expected[expected.isfinite()].std())
    tolerance = spread * (_ROUNDING if model.dtype == torch.float32 else _HALF_ROUNDING)
    for way, run in _WAYS.items():
        got = run(model, probe)
        if got.shape != expected.shape:
            raise ValueError(f"logits of shape {tuple(got.shape)}, not {tuple(expected.shape)}")
        off = torch.where(got == expected, 0.0, (got - expected).abs()).amax(dim=-1).amax(dim=0)
        differs = ~(off <= tolerance)  # NaN does
        if bool(differs.any()) and model.dtype == torch.float32:
            differs = ~(off <= max(tolerance, _magnified_rounding(model, probe, expected, spread)))
        if bool(differs.any()):
            place = int(differs.nonzero()[0, 0])
            size = float(off[place:].max())
            return _Difference(
                way=way, position=probe.first + place, size=size, spread=spread, probe=probe
            )
    return None


def _plain_logits(model: Model, probe: _Probe) -> Float[Tensor, "rows compared n_vocab"]:
    """Of the model that no bridge has taken apart, in one pass without a cache."""
    parameters = inspect.signature(model.pristine.forward).parameters
    few = {"logits_to_keep": probe.n_compared} if "logits_to_keep" in parameters else {}
    logits: Tensor = model.pristine(probe.tokens, use_cache=False, **few).logits
    return logits[:, -probe.n_compared :].float()


def _magnified_rounding(model: Model, probe: _Probe, expected: Tensor, spread: float) -> float:
    """How far the untouched model's own logits move when its embeddings are rounded otherwise."""

    def nudged(module: Any, args: Any, output: Tensor) -> Tensor:
        signs = torch.randint(2, output.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
        return output * (1 + _NUDGE * signs).to(output)

    handle = model.pristine.get_input_embeddings().register_forward_hook(nudged)
    try:
        moved = _plain_logits(model, probe)
    finally:
        handle.remove()
    size = torch.where(moved == expected, 0.0, (moved - expected).abs()).max()
    return min(_N_NUDGES * float(size), _MOST_ROUNDING * spread)


def _whole(model: Model, probe: _Probe) -> Float[Tensor, "rows compared n_vocab"]:
    with model.unembedding_apart() as unembed:
        states = model.bridge(probe.tokens)
        logits: Tensor = unembed(states[:, -probe.n_compared :])
    return logits.float()


def _cached(model: Model, probe: _Probe) -> Float[Tensor, "rows compared n_vocab"]:
    """One row is prefilled and fanned out; then come two tokens, and one after the other."""
    n_rows, n = probe.tokens.shape
    cache, states, start = model.new_cache(), [], 0
    with model.unembedding_apart() as unembed:
        for end in (probe.n_prefilled, *range(min(n, probe.n_prefilled + 2), n + 1)):
            rows = probe.tokens[:, start:end] if start else probe.tokens[:1, :end]
            places = torch.arange(start, end, device=model.device)[None]
            new = model.bridge(rows, past_key_values=cache, use_cache=True, position_ids=places)
            states.append(new.expand(n_rows, -1, -1)[:, -probe.n_compared :])
            if not start:
                cache.batch_repeat_interleave(n_rows)
            start = end
        logits: Tensor = unembed(torch.cat(states, dim=1)[:, -probe.n_compared :])
    return logits.float()


_WAYS: dict[Way, Callable[[Model, _Probe], Tensor]] = {"in one pass": _whole, "with a cache": _cached}


def _first_layer(model: Model, found: _Difference) -> str:
    """Where the last position's states part first."""
    plain = model.bridge.adapter.component_mapping["blocks"].name
    layers = list(model.pristine.get_submodule(plain))
    expected = _states_by_layer(layers, lambda: _plain_logits(model, found.probe))
    got = _states_by_layer(model.bridge.blocks, lambda: _WAYS[found.way](model, found.probe))
    tolerance = _ROUNDING if model.dtype == torch.float32 else _HALF_ROUNDING
    for layer, (one, other) in enumerate(zip(expected, got, strict=True)):
        if not bool((one - other).abs().max() <= tolerance * one.std()):
            return f"layer {layer}"
    return "what follows the last layer"


def _states_by_layer(layers: Any, run: Callable[[], object]) -> list[Tensor]:
    """What each layer gave the last position of the last row, in the last pass."""
    seen: dict[int, Tensor] = {}

    def keep(layer: int) -> Callable[..., None]:
        def hook(module: Any, args: Any, output: Any) -> None:
            states = output if isinstance(output, Tensor) else output[0]
            seen[layer] = states[-1, -1].float()

        return hook

    handles = [module.register_forward_hook(keep(i)) for i, module in enumerate(layers)]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return [seen[i] for i in range(len(handles))]


def _short(model: Model, seed: int) -> _Probe:
    """Two rows that part behind the prefilled tokens."""
    n = min(_N_TOKENS, model.n_context)
    n_prefilled = max(1, min(_N_PREFILLED, n - 1))
    tokens = torch.cat([_tokens(model, n, 2 * seed), _tokens(model, n, 2 * seed + 1)])
    tokens[1, :n_prefilled] = tokens[0, :n_prefilled]
    return _Probe(tokens=tokens, n_prefilled=n_prefilled, n_compared=n)


def _long(model: Model, length: int, *, grows: bool, seed: int) -> _Probe:
    """One row, prefilled to just before a length, or to beyond it."""
    n = min(length + (4 if grows else 6), model.n_context)
    n_prefilled = max(1, length - 2) if grows else min(length + 2, n - 1)
    return _Probe(tokens=_tokens(model, n, seed), n_prefilled=n_prefilled, n_compared=n - n_prefilled)


def _tokens(model: Model, n: int, seed: int) -> Int[Tensor, "one n"]:
    """Tokens of the vocabulary, drawn from a fixed stream."""
    n_vocab = min(
        model.bridge.original_model.get_input_embeddings().weight.shape[0], len(model.tokenizer)
    )
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(n_vocab, (1, n), generator=generator).to(model.device)
