"""What checks the engine's annotations while the tests run."""

from __future__ import annotations

from typing import Any

from beartype import BeartypeConf, beartype

_with_conf = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float, too


def check(checked: Any) -> Any:
    """`beartype`, by the rules of other type checkers."""
    return _with_conf(checked)
