"""The pages that are made of the code when the site is built: the command line and the profile keys."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Iterator
from typing import Any

from phase7.cli.arguments import make_parser
from phase7.experiment.declared import Pair
from phase7.experiment.profile import Profile
from phase7.models.framing import Arguments

#: What a page holds where its generated part belongs.
MARK = "<!-- generated -->"

_TYPES = {str: "text", int: "whole number", float: "number", bool: "`true`, `false`"}


def commands() -> str:
    """Every command with its options, their values and defaults, as Markdown."""
    (found,) = (one for one in make_parser()._actions if isinstance(one.choices, dict))
    return "\n".join(line for name, parser in found.choices.items() for line in _command(name, parser))


def _command(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f"## {name}\n\n{parser.description}\n\n| option | meaning |\n| --- | --- |"
    for action in parser._actions:
        if not isinstance(action, argparse._HelpAction):
            yield f"| {_option(action)} | {_meaning(action)} |"
    yield ""


def _option(action: argparse.Action) -> str:
    value = action.metavar or ("" if action.nargs == 0 else action.dest.upper())
    if not action.option_strings:
        return f"`{action.metavar or action.dest}`"
    return f"`{' '.join(filter(None, (action.option_strings[-1], str(value))))}`" + (
        " (required)" if action.required else ""
    )


def _meaning(action: argparse.Action) -> str:
    said = _cell(action.help or "")
    if action.choices:
        said += "; one of " + ", ".join(f"`{one}`" for one in action.choices)
    plain = isinstance(action.default, str | int | float) and not isinstance(action.default, bool)
    if plain and action.default not in ("", 0) and "default" not in said:
        said += f" (default: `{action.default}`)"
    return said


def profile_keys() -> str:
    """Every key of a profile, table by table, with its type, values and default, as Markdown."""
    return "\n".join(_table(Profile, ""))


def _table(record: Any, name: str) -> Iterator[str]:
    """The keys of a record, then the records that are tables in it."""
    hints, told, inner = typing.get_type_hints(record), _described(record), []
    yield f"## {f'[{name}]' if name else 'Above the first table'}\n\n{_summary(record)}\n"
    yield "| key | values | default | meaning |\n| --- | --- | --- | --- |"
    for one in dataclasses.fields(record):
        hint = _without_none(hints[one.name])
        if dataclasses.is_dataclass(hint):
            inner.append((hint, one.name))
            continue
        yield f"| `{one.name}` | {_values(hint)} | {_default(one)} | {_cell(told.get(one.name, ''))} |"
    yield ""
    for hint, key in inner:
        yield from _table(hint, key)
    if name == "readouts":
        yield from _table(Pair, "[readouts.pairs]")


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(one for one in typing.get_args(hint) if one is not type(None))
    return hint


def _values(hint: Any) -> str:
    if hint == Arguments:
        return "table"
    if typing.get_origin(hint) is typing.Literal:
        return ", ".join(f'`"{one}"`' for one in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        (inner, *_) = typing.get_args(hint)
        many = "tables" if dataclasses.is_dataclass(inner) else _values(inner)
        return f"list of {many}{'s' if inner in (str, int, float) else ''}"
    return _TYPES[hint]


def _default(one: dataclasses.Field[Any]) -> str:
    if one.default is dataclasses.MISSING:
        return "none: it must be given" if one.name != "name" else "the file's name"
    if isinstance(one.default, bool):
        return f"`{str(one.default).lower()}`"
    value = list(one.default) if isinstance(one.default, tuple) else one.default
    return f"`{value!r}`".replace("'", '"')


def _described(record: Any) -> dict[str, str]:
    """What the docstring, or a comment behind its line, says of each attribute."""
    _, _, attributes = inspect.getdoc(record).partition("Attributes\n----------\n")
    found: dict[str, str] = {}
    for names, text in re.findall(r"^(\w[^:\n]*) : .*\n((?:    .*\n?|\n)*)", attributes, re.MULTILINE):
        found |= {name.strip(): " ".join(text.split()) for name in names.split(",")}
    found |= dict(re.findall(r"^    (\w+): .*  #: (.*)$", inspect.getsource(record), re.MULTILINE))
    return found


def _summary(record: Any) -> str:
    before, _, _ = inspect.getdoc(record).partition("Attributes\n----------\n")
    return before.strip().replace("``", "`")


def _cell(text: str) -> str:
    """A text that may stand in a table's cell."""
    text = text.replace("%%", "%").replace("``", "`").replace("|", "\\|")
    parts = re.split(r"(`[^`]*`)", text)  # code keeps its characters
    parts[::2] = [re.sub(r"([<>{}\[\]*])", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)
