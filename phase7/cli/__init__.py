"""The command line: parse the arguments, run the command, print an error in one line.

The exit code is 0 when all is done, 1 when something stored is damaged, 2 for a mistake in what was
asked or a machine that refused it, 130 after SIGINT and 143 after SIGTERM.

Little is imported before the signals are handled, so that stopping while the libraries load is as clean
as stopping later.
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from phase7.cli.interrupts import Terminated, handled_signals, ignore_signals
from phase7.cli.terminal import complain, escape_unwritable
from phase7.vocabulary.errors import Phase7Error, UserError

__all__ = ["command", "main"]


def command() -> NoReturn:
    """Run the process's own command line and end the process."""
    escape_unwritable()
    code = main()
    ignore_signals()
    raise SystemExit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    with handled_signals() as signals:
        try:
            return _run(argv)
        except (KeyboardInterrupt, Terminated) as stop:
            return signals.stopped(143 if isinstance(stop, Terminated) else 130)
        except BaseException:
            # A library may turn the interruption of its import into an error of its own.
            if signals.code is None:
                raise
            return signals.stopped(signals.code)


def _run(argv: Sequence[str] | None) -> int:
    from phase7.cli.arguments import make_parser

    args = make_parser().parse_args(argv)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        _require_texts(args)
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except Phase7Error as error:
        complain(str(error))
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a disk that fails, a permission that is missing, a folder that is gone
        place = f"{error.filename}: " if error.filename else ""
        complain(f"{place}{error.strerror or error}")
        return 2


def _require_texts(args: Namespace) -> None:
    """Refuse arguments that cannot be a file's name or stand in a file that is written here."""
    for name, value in vars(args).items():
        parts = value if isinstance(value, list) else [value]
        if not parts or [] in parts:  # what argparse makes of `--option=--`
            raise UserError(
                expected="a value", got="'--'", where=name.replace("_", "-"), remedy="give another value"
            )
        texts = [text for one in parts for text in (one if isinstance(one, tuple) else [one])]
        for part in texts:
            if isinstance(part, str | Path) and not _is_utf8_text(str(part)):
                raise UserError(
                    expected="text in UTF-8",
                    got=ascii(str(part))[:80],
                    where=name.replace("_", "-"),
                    remedy="leave out NUL characters and bytes that are not UTF-8",
                )


def _is_utf8_text(text: str) -> bool:
    try:
        return b"\0" not in text.encode("utf-8")
    except UnicodeEncodeError:
        return False
