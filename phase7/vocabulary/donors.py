"""Where activations come from: donor and control kinds, as one table.

A kind says which prompts it is a mean over, or that it needs none. Plan, keys, executor and labels read
this table, so a new kind is one record here.
"""

from __future__ import annotations

import random
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

#: What the emotion's patch and the control's patch of a cell are called in keys and arrays.
Role = Literal["emotion", "control"]
DonorKind = Literal["mean", "paired", "self", "neutral", "zero"]
ControlKind = Literal["neutral", "shuffled", "none"]

Prompts = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What a kind may choose its prompts from.

    Attributes
    ----------
    emotion, neutral : tuple of str
        All prompts of the two files.
    recipient : int
        Index of the neutral prompt that is patched.
    seed : int
        The profile's.
    """

    emotion: Prompts
    neutral: Prompts
    recipient: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class DonorRecord:
    """One kind of donor.

    Attributes
    ----------
    prompts : callable or None
        The prompts it is a mean over; None for a kind that captures nothing. Empty where the recipient
        is the only one.
    by_recipient : bool
        Whether every recipient has a prompt of its own, whose text then identifies the donor; else all
        recipients share the prompts, whose digest does.
    without_recipient : bool
        Whether a recipient that is among the prompts is left out of the mean.
    names_recipient : bool
        Whether keys say so where it is left out: entries of earlier versions, of this kind, held it.
    long_name : str
        For labels, e.g. "neutral donor".
    """

    prompts: Callable[[Choice], Prompts] | None = None
    by_recipient: bool = False
    without_recipient: bool = False
    names_recipient: bool = False
    long_name: str


def _paired(choice: Choice) -> Prompts:
    """The emotion prompt of the recipient's index, or the next that is not the recipient itself."""
    n, own = len(choice.emotion), choice.neutral[choice.recipient]
    turned = (choice.emotion[(choice.recipient + more) % n] for more in range(n))
    return tuple(prompt for prompt in turned if prompt != own)[:1]


def _shuffled(choice: Choice) -> Prompts:
    """As many prompts as the emotion has, drawn from emotion and neutral prompts together."""
    union = sorted({*choice.emotion, *choice.neutral})
    draw = random.Random(f"phase7 shuffled prompts {choice.seed}")
    return tuple(draw.sample(union, min(len(choice.emotion), len(union))))


DONOR_RECORDS: Mapping[str, DonorRecord] = MappingProxyType(
    {
        "mean": DonorRecord(
            prompts=lambda choice: choice.emotion,
            without_recipient=True,
            names_recipient=True,
            long_name="emotion donor",
        ),
        "paired": DonorRecord(
            prompts=_paired,
            by_recipient=True,
            long_name="paired emotion donor",
        ),
        "self": DonorRecord(long_name="recipient's own activations"),
        "neutral": DonorRecord(
            prompts=lambda choice: choice.neutral, without_recipient=True, long_name="neutral donor"
        ),
        "shuffled": DonorRecord(prompts=_shuffled, without_recipient=True, long_name="shuffled donor"),
        "zero": DonorRecord(long_name="zero donor"),
    }
)
DONOR_KINDS: tuple[str, ...] = typing.get_args(DonorKind)
CONTROL_KINDS: tuple[str, ...] = typing.get_args(ControlKind)

#: The control kind that means: run no control.
NO_CONTROL = "none"


def donor_words(kind: str) -> str:
    """What labels call a donor or control of some kind, e.g. "neutral donor"."""
    return "control donor (none ran)" if kind == NO_CONTROL else DONOR_RECORDS[kind].long_name
