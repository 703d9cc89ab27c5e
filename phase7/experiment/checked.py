"""Records checked: built from the tables of a TOML file, with values of the right type and in range.

A key that a record does not have, a value of another type and a value out of range are refused, each
with its place in the file.
"""

from __future__ import annotations

import dataclasses
import itertools
import types
import typing
from collections.abc import Sequence
from typing import Any, Literal

from phase7.models.framing import Arguments
from phase7.vocabulary.errors import UserError, or_meant
from phase7.vocabulary.modes import MODES


def build_record(record: type[Any], table: dict[str, Any], where: str) -> Any:
    """Make `record` from `table`, checking keys and types; nested records recurse."""
    hints = typing.get_type_hints(record)
    for key in table:
        if key not in hints:
            raise UserError(
                expected=f"one of the keys {', '.join(sorted(hints))}",
                got=repr(key),
                where=where,
                remedy=or_meant(key, hints, "remove or rename the key"),
            )
    values = {key: _convert(hints[key], value, f"{where}: {key}") for key, value in table.items()}
    missing = [
        f.name
        for f in dataclasses.fields(record)
        if f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
        and f.name not in values
    ]
    if missing:
        raise UserError(
            expected=f"the key {missing[0]!r}", got="no such key", where=where, remedy="add it"
        )
    try:
        return record(**values)
    except UserError as error:
        raise UserError(
            expected=error.expected,
            got=error.got,
            where=f"{where}: {error.where}",
            remedy=error.remedy,
        ) from error


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        hint = next(arg for arg in args if arg is not type(None))
        origin, args = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        if isinstance(value, dict):
            return build_record(typing.cast("type[Any]", hint), value, where)
        raise bad_value(where, "a table", value)
    if origin is Literal:
        if value in args and isinstance(value, str):
            return value
        raise bad_value(where, "one of " + ", ".join(map(str, args)), value)
    if hint == Arguments:
        if isinstance(value, dict) and all(map(_is_plain, value.values())):
            return tuple(value.items())
        raise bad_value(where, "a table of texts, numbers, true and false", value)
    if origin is tuple:
        if isinstance(value, list):
            return tuple(_convert(args[0], item, where) for item in value)
        raise bad_value(where, "a list", value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        # Beyond any range that is checked later, and beyond what float() converts.
        return float(max(min(value, 10**300), -(10**300)))
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise bad_value(where, f"a value of type {hint.__name__}", value)


def _is_plain(value: Any) -> bool:
    is_number = isinstance(value, int | float) and abs(value) < 1e300  # neither infinite nor NaN
    return isinstance(value, str) or is_number


def bad_value(name: str, expected: str, value: Any) -> UserError:
    return UserError(expected=expected, got=repr(value)[:80], where=name, remedy="correct the value")


def check_range(record: Any, name: str, low: float, high: float, *, open_low: bool = False) -> None:
    value = getattr(record, name)
    # A comparison with NaN is false, and comparing never overflows as a conversion would.
    if not low <= value <= high or (open_low and value == low):
        bound = "above" if open_low else "from"
        raise bad_value(name, f"a number {bound} {low:g} to {high:g}", value)


#: A strength beyond this only overflows.
_STRONGEST = 1000.0


def check_strengths(strengths: Sequence[float]) -> None:
    """Refuse strengths that are no numbers, or that only overflow."""
    if not all(abs(one) <= _STRONGEST for one in strengths):  # NaN as well
        raise bad_value("strengths", f"numbers from -{_STRONGEST:g} to {_STRONGEST:g}", strengths)


def check_ascending(name: str, numbers: Sequence[int], least: int) -> None:
    """Refuse numbers of prompts that do not ascend, and one below `least`."""
    if any(a >= b for a, b in itertools.pairwise([least - 1, *numbers])):
        raise bad_value(name, f"ascending numbers of prompts of at least {least}", numbers)


def check_modes(modes: tuple[str, ...], name: str = "modes") -> None:
    """Refuse no modes, a mode twice, and an unknown one."""
    if not modes or len(set(modes)) != len(modes) or not set(modes) <= set(MODES):
        raise bad_value(name, f"some of {', '.join(MODES)}, each once", modes)
