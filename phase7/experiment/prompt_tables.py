"""Prompts in other files than JSON: lines of text, and tables with a column of texts.

A table is CSV with a heading, JSON Lines, Parquet, or a folder that `datasets` wrote with
``save_to_disk``. A column of scenarios says which prompts of two files belong together. A file that is
not of its form is refused with what is wrong in it, and a table without a named column is never guessed
at.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phase7.store.reading import read_text

#: Columns by name, each a list with one value a row.
Table = Mapping[str, list[Any]]


class Unusable(ValueError):
    """What a file has instead of prompts."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """The texts of a file, and the scenario of each; none where no column names them."""

    texts: list[Any]
    scenarios: list[str]


def lines_of(path: Path) -> Column:
    """One prompt a line; blank lines are left out."""
    lines = [line.strip() for line in read_text(path).splitlines()]
    return Column(texts=[line for line in lines if line], scenarios=[])


def column_of(path: Path, column: str, ids: str) -> Column:
    """A column of the table at `path`.

    Raises
    ------
    Unusable
        If the file is not of the form that its name says, or has no such column.
    """
    kind = "folder" if path.is_dir() else path.suffix.lower()
    table = _READERS[kind](path)
    named = ", ".join(map(str, table))[:120]
    if not column:
        raise Unusable(f"a table ({named}) without the name of the prompts' column")
    for one in filter(None, (column, ids)):
        if one not in table:
            raise Unusable(f"no column {one!r} among {named}")
    scenarios = [str(one) for one in table[ids]] if ids else []
    return Column(texts=list(table[column]), scenarios=scenarios)


def is_prompt_file(name: str, root: Path) -> bool:
    """Whether a name is that of a file or folder of prompts, and not of an emotion."""
    suffix = Path(name).suffix.lower()
    return suffix in (".json", ".txt", *_READERS) or ("/" in name and (root / name).is_dir())


def is_table(path: Path) -> bool:
    """Whether a path names a table, by its suffix or as a folder."""
    return path.suffix.lower() in _READERS or path.is_dir()


def _csv(path: Path) -> Table:
    try:
        rows = list(csv.reader(io.StringIO(read_text(path), newline=""), strict=True))
    except csv.Error as error:
        raise Unusable(f"a file that is not CSV ({error})") from error
    if not rows:
        raise Unusable("an empty file")
    heading, *body = rows
    body = [row for row in body if row]
    for number, row in enumerate(body, 2):
        if len(row) != len(heading):
            raise Unusable(f"{len(row)} values in row {number}, for {len(heading)} columns")
    return _by_name(heading, [list(values) for values in zip(*body, strict=True)])


def _by_name(heading: list[str], values: list[list[Any]]) -> Table:
    if len({*heading}) < len(heading):
        twice = next(name for name in heading if heading.count(name) > 1)
        raise Unusable(f"the column {twice!r} more than once")
    return dict(zip(heading, values or [[] for _ in heading], strict=True))


def _jsonl(path: Path) -> Table:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise Unusable(f"what is not JSON in line {number} ({error})") from error
        if not isinstance(row, dict):
            raise Unusable(f"a {type(row).__name__} in line {number}, where an object belongs")
        if rows and row.keys() != rows[0].keys():
            raise Unusable(f"other keys in line {number} than in the first")
        rows.append(row)
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def _parquet(path: Path) -> Table:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import read_table
    except ImportError as error:
        raise Unusable("Parquet, which needs pyarrow (pip install 'phase7[prompts]')") from error
    try:
        table: Table = read_table(path).to_pydict()
    except (ArrowException, OSError) as error:
        raise Unusable(f"a file that is not Parquet ({error})"[:200]) from error
    return table


def _folder(path: Path) -> Table:
    if not any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
        raise Unusable("a folder that datasets did not write with save_to_disk")
    try:
        from datasets import load_from_disk
    except ImportError as error:
        raise Unusable("a folder, which needs datasets (pip install 'phase7[prompts]')") from error
    try:
        found = load_from_disk(str(path))
    except Exception as error:  # whatever the library makes of another folder
        raise Unusable(
            f"a folder that datasets did not write with save_to_disk ({error})"[:200]
        ) from error
    if not hasattr(found, "column_names") or isinstance(found.column_names, dict):
        raise Unusable(f"several splits ({', '.join(found)}); name the folder of one of them")
    return {name: list(found[name]) for name in found.column_names}


_READERS: Mapping[str, Callable[[Path], Table]] = {
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
    "folder": _folder,
}
