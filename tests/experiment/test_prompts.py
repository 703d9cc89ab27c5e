"""Prompt files: the one form that is taken, the words in which others are refused, and the digest."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phase7.experiment.prompts import PromptSet, load_prompts
from phase7.vocabulary.errors import UserError

LAW = settings(deadline=None, derandomize=True)


@pytest.fixture
def write(tmp_path):
    def write(content: str | bytes, name: str = "gratitude_prompts.json"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return write


def of(*prompts: str) -> PromptSet:
    return PromptSet(name="x", path="x.json", prompts=prompts)


def test_prompts_are_read_in_file_order_and_untouched(write):
    texts = ["Zebra first.", " leading and trailing ", "ありがとう", "two\nlines", "e\u0301 and é"]
    loaded = load_prompts(write(json.dumps({"prompts": texts})))
    assert loaded.prompts == tuple(texts)
    assert load_prompts(write(json.dumps({"prompts": texts}, ensure_ascii=False))) == loaded


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("gratitude_prompts.json", "gratitude"),
        ("anger.json", "anger"),
        ("_prompts.json", "_prompts"),
        ("my_prompts_v2.json", "my_prompts_v2"),
    ],
)
def test_the_name_is_the_stem_without_prompts(write, file, name):
    loaded = load_prompts(write('{"prompts": ["a"]}', file))
    assert loaded.name == name
    assert loaded.path.endswith(file)


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ("", "not JSON in UTF-8"),
        ("{'prompts': ['a']}", "not JSON in UTF-8"),
        ('{"prompts": ["a"]', "not JSON in UTF-8"),
        (b'{"prompts": ["caf\xe9"]}', "not JSON in UTF-8"),
        (b'\xef\xbb\xbf{"prompts": ["caf\xe9"]}', "not JSON in UTF-8"),
        ('{"prompts": ["a"], "prompts": ["b"]}', "(the key 'prompts' more than once)"),
        ("[" * 100_000, "not JSON in UTF-8"),
        ("[1]", "something other than a list of texts"),
        ('"a"', "a JSON document with str"),
        ("null", "a JSON document with NoneType"),
        ("{}", "a JSON document with []"),
        ('{"texts": ["a"]}', "a JSON document with ['texts']"),
        ('{"prompts": ["a"], "note": 1}', "a JSON document with ['note', 'prompts']"),
        ('{"prompts": "a"}', "something other than a list of texts under the key 'prompts'"),
        ('{"prompts": {"a": "b"}}', "something other than a list of texts under the key 'prompts'"),
        ('{"prompts": ["a", 1]}', "something other than a list of texts under the key 'prompts'"),
        (
            '{"prompts": ["a", null]}',
            "something other than a list of texts under the key 'prompts'",
        ),
        ('{"prompts": [["a"]]}', "something other than a list of texts under the key 'prompts'"),
        ('{"prompts": []}', "an empty list"),
        ('{"prompts": ["a", ""]}', "an empty prompt at index 1"),
        ('{"prompts": ["a", " \\n\\t\\u3000"]}', "an empty prompt at index 1"),
        ('{"prompts": ["a", "b", "a"]}', "the same prompt at index 0 and 2"),
        ('{"prompts": ["a", "b\\u0000c"]}', "a NUL character in the prompt at index 1"),
        ('{"prompts": ["a", "\\ud83d"]}', "half of a surrogate pair in the prompt at index 1"),
    ],
)
def test_another_form_is_refused_in_one_line(write, content, got):
    path = write(content)
    with pytest.raises(UserError) as caught:
        load_prompts(path)
    text = str(caught.value)
    assert text.startswith(f'{path}: expected a JSON object {{"prompts": ["first prompt"')
    assert got in text
    assert text.endswith("; correct the prompt file")
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_in_front_says_the_encoding_and_is_no_text(write, encoding):
    """As PowerShell writes files: UTF-8 with a mark, or UTF-16."""
    marked = write('{"prompts": ["café", "感謝"]}'.encode(encoding))
    assert load_prompts(marked).prompts == ("café", "感謝")


def test_control_characters_other_than_nul_are_kept(write):
    assert load_prompts(write('{"prompts": ["a\\u0001\\u001b\\tb"]}')).prompts == ("a\x01\x1b\tb",)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"cannot be read \(No such file or directory\)"):
        load_prompts(tmp_path / "none.json")
    with pytest.raises(UserError, match="a folder that datasets did not write"):
        load_prompts(tmp_path)


def test_a_whole_surrogate_pair_is_an_ordinary_character(write):
    assert load_prompts(write('{"prompts": ["\\ud83d\\ude00"]}')).prompts == ("\U0001f600",)


def test_the_digest_is_of_the_prompts_and_of_nothing_else(write):
    first = load_prompts(write('{"prompts": ["a", "b"]}', "one_prompts.json"))
    second = load_prompts(write('{ "prompts" :\n["\\u0061", "b"] }', "two.json"))
    assert first != second
    assert first.digest == second.digest
    assert len(first.digest) == 64


prompt_lists = st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=4, unique=True)


@LAW
@given(prompt_lists, prompt_lists)
def test_other_prompts_have_another_digest(first, second):
    assert (of(*first).digest == of(*second).digest) == (first == second)


@pytest.mark.parametrize(
    "other",
    [("b", "a"), ("a",), ("a", "b", "c"), ("a", "b "), ("ab",), ('a","b',), ("A", "b"), ("á", "b")],
)
def test_order_number_and_every_character_enter_the_digest(other):
    assert of("a", "b").digest != of(*other).digest


def test_composed_and_decomposed_characters_are_different_prompts():
    assert of("\u00e9").digest != of("e\u0301").digest
