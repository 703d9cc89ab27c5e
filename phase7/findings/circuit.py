"""How the effects of the heads found reach the logits, and what they read: the tree's node `circuit`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from phase7.findings.group import Group
from phase7.vocabulary.circuits import LOGITS

#: Readers of a head that tables and figures name, the logits aside.
N_READERS = 3


@dataclass(frozen=True, kw_only=True)
class Path:
    """The part of a head's effect that goes through one reader, in nats (logits).

    Attributes
    ----------
    head, reader : str
        The reader is ``logits``, ``mlp:5`` or ``7:2``.
    delta, low, high, p, q : float
        Mean over prompts with its interval and tests; NaN where there is no test.
    letter : str
        Through what of a head most of it goes: ``q``, ``k`` or ``v``; empty for other readers.
    """

    head: str
    reader: str
    delta: float
    low: float
    high: float
    p: float
    q: float
    letter: str = ""

    @property
    def label(self) -> str:
        """The reader, with the letter."""
        return f"{self.reader} {self.letter}".rstrip()


@dataclass(frozen=True, kw_only=True)
class HeadCircuit:
    """One head found.

    Attributes
    ----------
    label : str
    total, low, high : float
        Its effect on the words' logits with frozen normalisation, in nats, and the interval.
    share, share_low, share_high : float
        Of it, what goes straight to the logits; NaN where the interval of the effect holds 0.
    direct : Path
    through : tuple of Path
        The readers through which most goes, the largest first, the logits aside.
    n_readers : int
        All readers behind the head, the logits aside.
    read : tuple of (str, float, float)
        Tokens with the head's attention in emotion and in neutral prompts, the largest difference first.
    asked, answered : tuple of (str, float)
        Tokens that the emotion's queries ask for, and that find what the head reads, with their scores.
    """

    label: str
    total: float
    low: float
    high: float
    share: float
    share_low: float
    share_high: float
    direct: Path
    through: tuple[Path, ...]
    n_readers: int
    read: tuple[tuple[str, float, float], ...]
    asked: tuple[tuple[str, float], ...]
    answered: tuple[tuple[str, float], ...]


def circuits_of(group: Group) -> tuple[HeadCircuit, ...]:
    """The heads whose circuit was measured, by the size of their effects; none in trees without."""
    data = group.child("circuit")
    if data is None:
        return ()
    found = [_one(data.sel(head_set=label), str(label)) for label in data["head_set"].values]
    return tuple(sorted(found, key=lambda one: (-abs(one.total), one.label)))


def n_prompts(group: Group) -> int:
    """Prompts on which paths were measured; 0 without."""
    data = group.child("circuit")
    return 0 if data is None else int(np.isfinite(data["total"].values).any(axis=0).sum())


def largest_gap(group: Group) -> float:
    """What the paths leave of an effect at most, in nats; NaN without a circuit."""
    data = group.child("circuit")
    return math.nan if data is None else float(data["path_gap"].max())


def _one(data: xr.Dataset, label: str) -> HeadCircuit:
    paths = {path.reader: path for path in _paths(data, label)}
    behind = [p for reader, p in paths.items() if reader != LOGITS and not math.isnan(p.delta)]
    ordered = sorted(behind, key=lambda path: -abs(path.delta))
    numbers = {
        name: float(data[stored])
        for name, stored in (
            ("total", "total_delta"),
            ("low", "total_ci_low"),
            ("high", "total_ci_high"),
            ("share", "direct_share"),
            ("share_low", "direct_share_low"),
            ("share_high", "direct_share_high"),
        )
    }
    read = _listed(data, "read_token", "read_emotion", "read_neutral")
    return HeadCircuit(
        label=label,
        **numbers,
        direct=paths[LOGITS],
        through=tuple(ordered[:N_READERS]),
        n_readers=len(behind),
        read=tuple((str(token), float(a), float(b)) for token, a, b in read if a > b),
        asked=_scored(data, "asked"),
        answered=_scored(data, "answered"),
    )


def _paths(data: xr.Dataset, label: str) -> list[Path]:
    """One head's paths, by reader."""
    stored = ("path_delta", "path_ci_low", "path_ci_high", "path_p_value", "path_q_value")
    columns = [data[name].values.tolist() for name in stored]
    by_letter = data["path_by_letter"].transpose("reader", "letter").values
    main = np.abs(by_letter).argmax(axis=1)
    letters = np.where(np.isfinite(by_letter).all(axis=1), data["letter"].values[main], "")
    return [
        Path(
            head=label, reader=str(reader), delta=delta, low=low, high=high, p=p, q=q, letter=str(letter)
        )
        for reader, letter, delta, low, high, p, q in zip(
            data["reader"].values, letters, *columns, strict=True
        )
    ]


def _listed(data: xr.Dataset, *names: str) -> list[tuple[Any, ...]]:
    """Entries of a list side by side; none where the tree has no such list."""
    if any(name not in data for name in names):
        return []
    ordered = data.sortby("place")
    return list(zip(*(ordered[name].values.tolist() for name in names), strict=True))


def _scored(data: xr.Dataset, name: str) -> tuple[tuple[str, float], ...]:
    pairs = _listed(data, f"{name}_token", f"{name}_score")
    return tuple((str(token), float(score)) for token, score in pairs if not math.isnan(score))
