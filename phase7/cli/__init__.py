"""The command line: parse, call, report errors in one line.

What enters: arguments. What leaves: an exit code: 0 done, 1 something stored is damaged, 2 a mistake
in what was asked, 130 and 143 interrupted by SIGINT and SIGTERM.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from phase7.cli.arguments import make_parser
from phase7.cli.terminal import printable
from phase7.errors import Phase7Error

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = make_parser()
    args = parser.parse_args(argv)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except Phase7Error as error:
        print(f"phase7: error: {printable(str(error))}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, _Terminated) as stop:
        code = 143 if isinstance(stop, _Terminated) else 130
        print(
            "phase7: stopped; finished entries are kept, run the same command again to continue",
            file=sys.stderr,
        )
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


class _Terminated(BaseException):
    """SIGTERM arrived."""


def _terminate(signum: int, frame: Any) -> NoReturn:
    raise _Terminated
