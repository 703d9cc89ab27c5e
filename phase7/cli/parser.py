"""The parser: mistakes in one line, and the values of options that argparse has no type for."""

from __future__ import annotations

import argparse
import math
import re
import sys
from typing import Any, NoReturn

from phase7.cli.terminal import printable
from phase7.vocabulary.errors import or_meant


class Parser(argparse.ArgumentParser):
    """Prints a mistake in one line, like every other error of this program."""

    def error(self, message: str) -> NoReturn:
        see = f"see {self.prog} --help"
        if message.startswith("the following arguments are required") and (strange := self._strange()):
            message = f"unrecognized arguments: {strange[0]}"  # why a required one is missing
        if wrong := re.search(r"invalid choice: '(.*?)'", message):
            see = or_meant(wrong[1], re.findall(r"[\w-]+", message[wrong.end() :])[2:], see)
        elif wrong := re.match(r"unrecognized arguments: (--[^\s=]+)", message):
            see = or_meant(wrong[1], self._option_names(), see)
        print(f"phase7: error: {printable(message)} ({see})", file=sys.stderr)
        raise SystemExit(2)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse, but a command itself refuses what it does not know: it knows its own options."""
        self._given = [str(one) for one in (sys.argv[1:] if args is None else args)]
        known, extra = super().parse_known_args(args, namespace)
        if extra:
            self.error(f"unrecognized arguments: {' '.join(extra)}")
        return known, extra

    def _strange(self) -> list[str]:
        """Names of options that were given and that no option's name begins with."""
        given = [one.partition("=")[0] for one in self._given if one.startswith("--")]
        names = self._option_names()
        return [one for one in given if not any(name.startswith(one) for name in names)]

    def _option_names(self) -> list[str]:
        return [name for action in self._actions for name in action.option_strings]


def days(text: str) -> float:
    """A number of days."""
    value = _number(text)
    if not 0 <= value <= 1e6:
        raise argparse.ArgumentTypeError(f"expected 0 to 1,000,000 days, got {text!r}")
    return value


def _number(text: str) -> float:
    """The number, or NaN, which is in no range."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def jobs(text: str) -> int:
    """A number of batches."""
    value = _number(text)
    if not (1 <= value <= 4096 and value.is_integer()):
        raise argparse.ArgumentTypeError(f"expected 1 to 4096 batches at once, got {text!r}")
    return int(value)


def effect(text: str) -> float:
    """A positive number."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return value


def template_argument(text: str) -> tuple[str, bool | int | float | str]:
    """A name and its value: true, false and numbers as such, anything else as text."""
    name, equals, value = text.partition("=")
    if not (equals and name.isidentifier()):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    if value in ("true", "false"):
        return name, value == "true"
    if re.fullmatch(r"-?\d{1,18}", value, re.ASCII):
        return name, int(value)
    return name, float(value) if re.fullmatch(r"-?\d+\.\d+", value, re.ASCII) else value
