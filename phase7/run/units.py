"""Units of work: what a memo entry that is still to be computed takes.

A unit can be pickled, so that another thread or process computes it into the same store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from phase7.experiment.readouts import continuation_key
from phase7.experiment.stages import Batch, Stage

#: The store's stage of an entry.
Kind = Literal[
    "attribution", "capture", "circuit", "fluency", "generation", "lens", "path", "readout", "reads",
    "vector",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One memo entry and how to compute it: the unit of work.

    Attributes
    ----------
    kind : str
        The store's stage, and which computation it is.
    key : dict
        The store's key.
    arguments : tuple
        What the computation takes besides the model and the store.
    n_tokens : int
        Tokens it generates, for the progress bar.
    n_rows : int
        Rows of a batch that can be computed together with others (:mod:`phase7.run.together`); 0 for
        what is computed alone.
    """

    kind: Kind
    key: dict[str, Any]
    arguments: tuple[Any, ...]
    n_tokens: int = 0
    n_rows: int = 0


#: Computes units in other threads or processes, into the same store, and yields each when it is there;
#: between them, where it can be known, how many tokens more of unfinished ones are generated.
FanOut = Callable[[Sequence[Unit]], Iterator[Unit | int]]


def make_unit(
    kind: Kind, key: dict[str, Any], arguments: tuple[Any, ...], n_tokens: int = 0, n_rows: int = 0
) -> Unit:
    """A unit by its parts."""
    return Unit(kind=kind, key=key, arguments=arguments, n_tokens=n_tokens, n_rows=n_rows)


def path_unit(stage: Stage, prompt: str) -> Unit:
    """The unpatched model's continuation of a prompt."""
    n_rows = 2  # the text, and the engine's check beside it
    return make_unit("path", continuation_key(stage, prompt), (stage, prompt), n_rows=n_rows)


def generation_unit(stage: Stage, batch: Batch) -> Unit:
    """The texts of a batch."""
    return make_unit("generation", batch.key, (stage, batch), batch.n_tokens, batch.n_rows)
