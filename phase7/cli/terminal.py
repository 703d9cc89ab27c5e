"""What reaches the terminal: lines whose control characters are escaped.

What enters: text that may hold a user's or a model's characters. What leaves: printable lines, results
on standard output, progress and errors on standard error.
"""

from __future__ import annotations

import sys


def printable(text: str) -> str:
    """Control characters of a user's input must not reach the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def tell(line: str) -> None:
    """Print what may hold a user's or a file's characters."""
    print(printable(line))


def say(line: str) -> None:
    print(f"phase7: {printable(line)}", file=sys.stderr, flush=True)
