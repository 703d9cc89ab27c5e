"""Texts without and with a patch beside each other, with the place where they part."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from html import escape
from itertools import zip_longest
from typing import overload

import numpy as np
import pandas as pd
import xarray as xr

from phase7.vocabulary.errors import UserError

#: Stands in front of the first word that differs.
MARK = "▸"
_WIDTH = 46


@dataclass(frozen=True, kw_only=True)
class TextPair:
    """One continuation without and with a patch, drawn with the same noise.

    Attributes
    ----------
    baseline, patched : str
    control : str
        With the control's donor; empty where none ran.
    prompt : str
    heads, mode : str
        What was patched.
    sample : int
    """

    baseline: str
    patched: str
    control: str = ""
    prompt: str = ""
    heads: str = ""
    mode: str = ""
    sample: int = 0

    @property
    def first_difference(self) -> int | None:
        """Characters that the two share in front, up to the beginning of a word; None if equal.

        Examples
        --------
        >>> TextPair(baseline="A cup of tea", patched="A cup of tar").first_difference
        9
        """
        if self.baseline == self.patched:
            return None
        both = zip_longest(self.baseline, self.patched)
        n = next(i for i, (one, other) in enumerate(both) if one != other)
        return max(self.baseline.rfind(blank, 0, n) + 1 for blank in " \n")

    def __str__(self) -> str:
        n = self.first_difference
        both = (self.baseline, self.patched)
        marked = both if n is None else [f"{text[:n]}{MARK}{text[n:]}" for text in both]
        columns = [
            [line for part in text.splitlines() for line in textwrap.wrap(part, _WIDTH) or [""]]
            for text in marked
        ]
        rows = zip_longest(("baseline", *columns[0]), ("patched", *columns[1]), fillvalue="")
        lines = [f"{one:<{_WIDTH}} | {other}".rstrip() for one, other in rows]
        return "\n".join([*filter(None, [self._title]), *lines, *(["(equal)"] if n is None else [])])

    @property
    def _title(self) -> str:
        what = f" [{self.heads}, {self.mode}]" if self.heads else ""
        return f"{self.prompt}{what}".strip()

    def _repr_html_(self) -> str:
        n, cells = self.first_difference, []
        style = "text-align:left;vertical-align:top;white-space:pre-wrap"
        for text in (self.baseline, self.patched):
            shared, rest = (text, "") if n is None else (text[:n], text[n:])
            mark = f"<mark>{escape(rest)}</mark>" if rest else ""
            cells.append(f'<td style="{style}">{escape(shared)}{mark}</td>')
        title = f"<caption>{escape(self._title)}</caption>" if self._title else ""
        heading = "<tr><th>baseline</th><th>patched</th></tr>"
        return f"<table>{title}{heading}<tr>{''.join(cells)}</tr></table>"


class TextPairs(Sequence[TextPair]):
    """Pairs of texts: a sequence that prints, shows in a notebook, and becomes a table.

    Parameters
    ----------
    pairs : sequence of TextPair
    """

    def __init__(self, pairs: Sequence[TextPair]) -> None:
        self._pairs = tuple(pairs)

    @overload
    def __getitem__(self, index: int) -> TextPair: ...

    @overload
    def __getitem__(self, index: slice) -> TextPairs: ...

    def __getitem__(self, index: int | slice) -> TextPair | TextPairs:
        chosen = self._pairs[index]
        return chosen if isinstance(chosen, TextPair) else TextPairs(chosen)

    def __len__(self) -> int:
        return len(self._pairs)

    def __iter__(self) -> Iterator[TextPair]:
        return iter(self._pairs)

    def __str__(self) -> str:
        return "\n\n".join(map(str, self._pairs))

    def __repr__(self) -> str:
        return f"<{len(self)} pairs of texts>"

    def _repr_html_(self) -> str:
        return "".join(pair._repr_html_() for pair in self._pairs)

    def to_dataframe(self) -> pd.DataFrame:
        """One row a pair."""
        return pd.DataFrame([asdict(pair) for pair in self._pairs])


def generated(texts: xr.Dataset) -> xr.DataArray:
    """Whether there are texts, bool (head_set, mode, prompt).

    Files of older versions do not say so; there, an empty text is one that was not generated.
    """
    if "was_generated" in texts:
        return texts["was_generated"].astype(bool)
    return (texts["patched_text"] != "").any("sample")


def texts_of(node: xr.DataTree) -> list[xr.Dataset]:
    """The texts that a node keeps: a group's own first, then those of the heads that its sweep patched.

    Empty for a node without any, such as a sweep that generated none.
    """
    if "patched_text" in node.data_vars:
        return [node.to_dataset()]
    places = (node, node.children.get("sweep"))
    return [one["texts"].to_dataset() for one in places if one is not None and "texts" in one.children]


def pairs_of(kept: Sequence[xr.Dataset], heads: str, mode: str | None) -> TextPairs:
    """The texts of some heads in one mode.

    Parameters
    ----------
    kept : sequence of xarray.Dataset
        As :func:`texts_of` gives them; the first that has texts of these heads in this mode is taken.
    heads : str
        As they were tested, e.g. ``"21:1"``; empty: the first that were.
    mode : str or None
        None: the first that has texts.

    Raises
    ------
    UserError
        If these heads have no texts in this mode.
    """
    found: dict[str, list[str]] = {}
    for texts in kept:
        has = _tested(texts)
        for label, modes in has.items():
            found.setdefault(label, []).extend(one for one in modes if one not in found[label])
        chosen = heads or next(iter(has), "")
        wanted = mode or next(iter(has.get(chosen, [])), None)
        if wanted is not None and wanted in has.get(chosen, []):
            return _pairs(texts, chosen, wanted)
    modes = found.get(heads, [])
    raise UserError(
        expected=f"one of the modes {', '.join(modes)}"
        if modes
        else f"heads with texts ({', '.join(found)[:200]})",
        got=repr(mode) if modes else heads,
        where="texts",
        remedy="name heads as they were tested, alone or as a set",
    )


def _tested(texts: xr.Dataset) -> dict[str, list[str]]:
    """The heads that have texts, and their modes, in the order of the axes."""
    has = generated(texts).any("prompt").transpose("head_set", "mode").values
    labels, modes = (list(map(str, texts[dim].values)) for dim in ("head_set", "mode"))
    found = {
        label: [mode for mode, one in zip(modes, row, strict=True) if one]
        for label, row in zip(labels, has, strict=True)
    }
    return {label: modes for label, modes in found.items() if modes}


def _pairs(texts: xr.Dataset, heads: str, mode: str) -> TextPairs:
    one = texts.sel(head_set=heads, mode=mode)
    ran = one["prompt"].values[generated(texts).sel(head_set=heads, mode=mode).values]
    return TextPairs(
        [
            TextPair(
                baseline=_text(one, "baseline_text", prompt, sample),
                patched=_text(one, "patched_text", prompt, sample),
                control=_text(one, "control_text", prompt, sample),
                prompt=str(one["prompt_text"].sel(prompt=prompt).item()),
                heads=heads,
                mode=mode,
                sample=int(sample),
            )
            for prompt in ran
            for sample in np.asarray(one["sample"].values)
        ]
    )


def _text(texts: xr.Dataset, name: str, prompt: int, sample: int) -> str:
    return str(texts[name].sel(prompt=prompt, sample=sample).item())
