"""The words of the report: each is used, each exists, and both languages say the same things."""

from __future__ import annotations

import ast
import re
import string
from pathlib import Path

import pytest

from phase7.report.language import PHRASES

REPORT = Path(__file__).parents[2] / "phase7" / "report"
TREES = [
    ast.parse(path.read_text(encoding="utf-8"))
    for path in REPORT.rglob("*.py")
    if path.parent.name != "language"
]
JAPANESE = re.compile(r"[\u3000-\u30ff\u4e00-\u9fff]")


def _pattern(node: ast.JoinedStr) -> str:
    pieces = (re.escape(v.value) if isinstance(v, ast.Constant) else ".+" for v in node.values)
    return "".join(map(str, pieces))


NODES = [node for tree in TREES for node in ast.walk(tree)]
#: Strings of the report's code, and its f-strings that begin with the first part of a key.
STRINGS = {n.value for n in NODES if isinstance(n, ast.Constant) and isinstance(n.value, str)}
PATTERNS = {
    pattern
    for n in NODES
    if isinstance(n, ast.JoinedStr) and re.match(r"[a-z_]+\\\.", pattern := _pattern(n))
}


def is_used(key: str) -> bool:
    return key in STRINGS or any(re.fullmatch(pattern, key) for pattern in PATTERNS)


@pytest.mark.parametrize("key", PHRASES)
def test_every_phrase_is_said_somewhere(key):
    assert is_used(key)


def test_the_law_above_can_fail():
    assert len(PATTERNS) > 8 and ".+" not in PATTERNS
    assert not is_used("no such phrase") and not is_used("note.nothing")


def test_every_key_that_is_said_has_a_phrase():
    said = {
        node.args[0].value
        for node in NODES
        if isinstance(node, ast.Call)
        and (
            getattr(node.func, "id", "") in ("say", "language")
            or getattr(node.func, "attr", "") == "say"
        )
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    assert len(said) > 100
    assert said - PHRASES.keys() == set()


def test_both_languages_have_every_phrase_and_need_the_same_values():
    for key, phrases in PHRASES.items():
        assert len(phrases) == 2 and all(phrases), key
        fields = [{name for _, name, _, _ in string.Formatter().parse(text) if name} for text in phrases]
        assert fields[0] == fields[1], key
        assert not JAPANESE.search(phrases[1]), key
