"""What reads the residual stream behind a head: the names of the readers."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

#: What of a later head reads: its queries, keys or values.
Letter = Literal["q", "k", "v"]

LETTERS: tuple[Letter, ...] = get_args(Letter)

MLP = "mlp"
LOGITS = "logits"


class Reader(NamedTuple):
    """Something that reads the stream.

    Attributes
    ----------
    part : {"q", "k", "v", "mlp", "logits"}
    layer : int
        -1 for the logits.
    head : int
        The query head; -1 for an MLP and the logits.
    """

    part: str
    layer: int = -1
    head: int = -1

    @property
    def label(self) -> str:
        """``logits``, ``mlp:5``, or ``7:2 v``."""
        return f"{self.unit} {self.part}" if self.part in LETTERS else self.unit

    @property
    def unit(self) -> str:
        """The same without the letter: a head's queries, keys and values are one."""
        if self.part == LOGITS:
            return LOGITS
        return f"{MLP}:{self.layer}" if self.part == MLP else f"{self.layer}:{self.head}"


def readers(n_layers: int, n_heads: int) -> tuple[Reader, ...]:
    """All readers of a model: the logits, the MLPs, then the heads by layer, each with its letters."""
    mlps = [Reader(MLP, layer) for layer in range(n_layers)]
    heads = [
        Reader(letter, layer, head)
        for layer in range(n_layers)
        for head in range(n_heads)
        for letter in LETTERS
    ]
    return (Reader(LOGITS), *mlps, *heads)
