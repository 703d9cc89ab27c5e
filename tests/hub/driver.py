"""Run several phase7 commands in one fresh process: `python -m tests.hub.driver` with JSON on stdin.

The hub's address is read when huggingface_hub is imported, so commands against another hub need a
process of their own.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys

from phase7.cli import main


def run(arguments: list[str]) -> dict[str, object]:
    """Exit code and what was printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as stop:
            code = stop.code
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


if __name__ == "__main__":
    print(json.dumps([run(arguments) for arguments in json.load(sys.stdin)]))
