"""The heads of a sweep, and the part of it that patches some of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from phase7.experiment.stages import Stage
from phase7.vocabulary.heads import Head


def swept_heads(sweep: Stage) -> list[Head]:
    """The heads of a sweep, by place."""
    return sorted({head for cell in sweep.cells for head in cell.heads})


def with_heads(sweep: Stage, heads: Collection[Head], recipients: tuple[int, ...]) -> Stage:
    """The part of a sweep that patches some heads on some prompts."""
    chosen = {*heads}
    return replace(
        sweep,
        recipients=recipients,
        cells=tuple(cell for cell in sweep.cells if chosen.issuperset(cell.heads)),
    )
