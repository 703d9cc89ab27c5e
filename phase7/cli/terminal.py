"""What reaches the terminal: lines whose control characters are escaped.

What enters: text that may hold a user's or a model's characters. What leaves: printable lines, results
on standard output, progress and errors on standard error.
"""

from __future__ import annotations

import contextlib
import logging
import sys


def printable(text: str) -> str:
    """Control characters of a user's input must not reach the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def tell(line: str) -> None:
    """Print what may hold a user's or a file's characters."""
    print(printable(line))


def say(line: str) -> None:
    print(f"phase7: {printable(line)}", file=sys.stderr, flush=True)


def complain(line: str) -> None:
    """Print an error's line; where even that cannot be written, the exit code is all there is."""
    with contextlib.suppress(OSError):
        print(f"phase7: error: {printable(line)}", file=sys.stderr, flush=True)


class _OneLine(logging.Formatter):
    """A record in one printable line."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def log_to_stderr() -> None:
    """Send the package's log to standard error, a line a record with the time of day."""
    logger = logging.getLogger("phase7")
    for old in logger.handlers[:]:
        logger.removeHandler(old)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(asctime)s %(name)s: %(message)s", "%H:%M:%S"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
