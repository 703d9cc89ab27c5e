"""Gates between which a model's layers may have different numbers of rows.

While the model runs, a function is asked at each gate which rows pass it; hooks then select these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

from torch import Tensor

#: Where rows enter a layer, its attention, and what follows from the heads' outputs on.
Gate = Literal["layer", "attention", "outputs"]
#: The rows that pass a gate of a layer, in order; None for all as they are.
Rows = Callable[[Gate, int], Tensor | None]
Hook = Callable[[Tensor, Any], Tensor | None]


def output_gates(n_layers: int, rows: Rows) -> list[tuple[str, Hook]]:
    """The gates behind the heads' outputs, as hooks by name; they must run before all other hooks."""
    return [(f"blocks.{layer}.attn.hook_z", _go_on(layer, rows)) for layer in range(n_layers)]


def input_gates(bridge: Any, is_parallel: bool, rows: Rows) -> Iterator[Any]:
    """Set the gates before layers and attentions; yields the handles that remove them.

    A parallel MLP has the attention's gates before and behind it.
    """
    for layer, block in enumerate(bridge.blocks):
        if layer:
            yield _select(block, "layer", layer, rows)
        yield _select(block.attn, "attention", layer, rows)
        if is_parallel:
            yield _select(block.mlp, "attention", layer, rows)
            go_on = _go_on(layer, rows)
            yield block.mlp.register_forward_hook(lambda m, args, out, go_on=go_on: go_on(out, m))


def _select(module: Any, gate: Gate, layer: int, rows: Rows) -> Any:
    """Let a module read only some rows of its input; a row can be read more than once."""

    def one_mask(given: Any) -> Any:
        # Every row attends to the same keys, so one row of the mask serves any number of rows.
        return given[:1] if isinstance(given, Tensor) and given.ndim == 4 else given

    def select(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        index = rows(gate, layer)
        args, kwargs = tuple(map(one_mask, args)), {k: one_mask(v) for k, v in kwargs.items()}
        if index is None:
            return args, kwargs
        if args:
            return (args[0].index_select(0, index), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": kwargs["hidden_states"].index_select(0, index)}

    return module.register_forward_pre_hook(select, with_kwargs=True)


def _go_on(layer: int, rows: Rows) -> Hook:
    """Keep some rows of an attention's outputs, or of what is computed beside it."""

    def select(outputs: Tensor, hook: Any) -> Tensor | None:
        index = rows("outputs", layer)
        return None if index is None else outputs.index_select(0, index)

    return select
