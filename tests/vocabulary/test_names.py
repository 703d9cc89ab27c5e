"""Plain names fit a file, a netCDF group and a terminal, whatever they are made from."""

from __future__ import annotations

import netCDF4
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from phase7.vocabulary.names import plain_name

LAW = settings(deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("smollm2", "smollm2"),
        ("gpt-neo-125M", "gpt-neo-125M"),
        ("EleutherAI--pythia-160m", "EleutherAI--pythia-160m"),
        ("感謝", "感謝"),
        ("a/b c", "a_b_c"),
        ("\x1b[31mred", "__31mred"),
        ("", "_"),
    ],
)
def test_what_is_plain_stays_and_the_rest_becomes_an_underscore(text, name):
    assert plain_name(text) == name


@LAW
@given(st.text(max_size=200))
@example("-model")
@example("..")
@example("感" * 200)
@example("\U00020000" * 200)
def test_any_text_gives_a_name_that_files_and_groups_can_have(text):
    name = plain_name(text)
    assert plain_name(name) == name
    assert name.isprintable()
    assert not set(name) & set("/\\ ")
    assert len(f"head_patching_{name}_{name}.pkl".encode()) <= 255
    with netCDF4.Dataset("in memory", "w", diskless=True) as file:
        file.createGroup(name)
        assert list(file.groups) == [name]
