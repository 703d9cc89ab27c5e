"""Lines for the terminal: results on standard output, progress and errors on standard error.

Text from a user, a file or a model may hold control characters; they are escaped before it is printed.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Iterator


def printable(text: str) -> str:
    """The text with its control characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def escape_unwritable() -> None:
    """Write what the terminal's encoding lacks as an escape, instead of failing over a file's name."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def tell(line: str) -> None:
    """Print a line of a command's result on standard output."""
    print(printable(line))


def say(line: str) -> None:
    """Print a line about what is going on, on standard error, above a bar that is drawn there."""
    with _bars_away():
        print(f"phase7: {printable(line)}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _bars_away() -> Iterator[None]:
    """Take live bars off the terminal for a while; where tqdm is not loaded there are none."""
    library = sys.modules.get("tqdm")
    with contextlib.nullcontext() if library is None else library.tqdm.external_write_mode(sys.stderr):
        yield


def complain(line: str) -> None:
    """Print an error's line on standard error; if even that fails, the exit code has to do."""
    with contextlib.suppress(OSError), _bars_away():
        print(f"phase7: error: {printable(line)}", file=sys.stderr, flush=True)


class _OneLine(logging.Formatter):
    """Formats a record as one printable line."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def log_to_stderr() -> None:
    """Send the package's log to standard error: one line for each record, with the time of day."""
    logger = logging.getLogger("phase7")
    for old in logger.handlers[:]:
        logger.removeHandler(old)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(asctime)s %(name)s: %(message)s", "%H:%M:%S"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
