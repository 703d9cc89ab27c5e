"""Values as arrays and JSON: they come back equal to the bit, and what cannot come back is refused."""

from __future__ import annotations

import collections
import enum
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings

from phase7.store.payload import DTYPES, JSON_NAME, decode, encode
from tests.store.values import is_same, values

LAW = settings(deadline=None, derandomize=True)
ODD_NAN = struct.unpack(">d", bytes.fromhex("fff8000000abcdef"))[0]


@LAW
@given(values)
@example({1: "a", "1": "b", -3: None})
@example(
    {1: np.ones(2), "1": np.zeros(3), "json": np.zeros(1), "__metadata__": np.ones(1), "": np.ones(4)}
)
@example({"a": {"b": np.ones(1)}, "a/b": np.zeros(2)})
@example([ODD_NAN, -0.0, float("inf"), 1.0, 1, True, 2**80, 5e-324])
@example({"$array": "z", "$float": 1.5})
@example([{"$tuple": [1]}, ({},), [()]])
@example("\ud83d\ude00 and \U0001f600 and \ud800")
def test_a_value_comes_back_equal_with_equal_types_and_bits(value):
    assert is_same(decode(encode(value)), value)


def test_the_law_above_can_fail():
    """Liveness: what looks equal and is not, is told apart."""
    for one, other in (
        (1, 1.0),
        (1, True),
        ((1,), [1]),
        ({1: 0}, {"1": 0}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (0.0, -0.0),
        (ODD_NAN, float("nan")),
        (np.zeros(2), np.zeros(2, np.float32)),
        (np.zeros((0, 3)), np.zeros((3, 0))),
        (np.zeros(()), np.zeros(1)),
        (np.float64(1), 1.0),
        (np.array([ODD_NAN]), np.array([np.nan])),
        ("\ud83d\ude00", "\U0001f600"),
    ):
        assert is_same(one, one)
        assert not is_same(one, other)


@pytest.mark.parametrize("name", DTYPES)
def test_numpy_scalars_stay_numpy_scalars(name):
    value = {"x": np.ones(3, name)[1], "y": [np.zeros((), name)]}
    got = decode(encode(value))
    assert is_same(got, value)
    assert type(got["x"]) is np.dtype(name).type


def test_a_stored_array_can_be_written_to_and_is_in_c_order():
    got = decode(encode({"z": np.arange(6.0).reshape(2, 3).T}))["z"]
    got[0, 0] = 7
    assert got.flags.c_contiguous


def test_arrays_are_named_by_their_path_and_the_rest_is_json():
    arrays = encode(
        {"z": np.ones(2), "texts": {24: [np.zeros(1), "a"]}, "pattern": None, "kl": float("nan")}
    )
    assert set(arrays) == {"z", "texts/24/0", "json"}
    assert set(encode(np.ones(2))) == {"value", "json"}

    def no_constants(name):
        pytest.fail(f"{name} is no JSON")

    tree = json.loads(arrays[JSON_NAME].tobytes(), parse_constant=no_constants)
    assert tree["z"] == {"$array": "z"}
    assert tree["texts"] == {"$dict": [[24, [{"$array": "texts/24/0"}, "a"]]]}
    assert tree["pattern"] is None
    assert tree["kl"] == {"$float": "7ff8000000000000"}


class Colour(enum.IntEnum):
    RED = 1


class Text(str):
    pass


Pair = collections.namedtuple("Pair", "a b")
ROUND: list[object] = []
ROUND.append(ROUND)

REFUSED = {
    "objects": np.array([None, "a"], dtype=object),
    "strings": np.array(["a"]),
    "dates": np.array(["2026-01-01"], "datetime64[D]"),
    "fields": np.zeros(2, [("a", "f4")]),
    "complex": np.zeros(2, np.complex128),
    "other byte order": np.zeros(2, np.dtype("f4").newbyteorder()),
    "masked": np.ma.masked_array([1.0], [True]),
    "another kind of array": np.zeros(2).view(np.recarray),
    "record scalar": np.zeros(2, [("a", "f4")])[0],
    "string scalar": np.str_("a"),
    "set": {1},
    "frozenset": frozenset(),
    "bytes": b"a",
    "complex number": 1j,
    "path": Path(),
    "enum": Colour.RED,
    "subclass of str": Text("a"),
    "named tuple": Pair(1, 2),
    "ordered dict": collections.OrderedDict(a=1),
    "default dict": collections.defaultdict(list),
    "class": int,
    "function": len,
    "bool as key": {True: 1},
    "None as key": {None: 1},
    "float as key": {1.5: 1},
    "tuple as key": {(1,): 1},
    "subclass of str as key": {Text("a"): 1},
    "number as key": {np.int64(1): 1},
    "an int of 10,000 digits": 10**10_000,
    "a list within itself": ROUND,
}


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED)
def test_what_would_not_come_back_equal_is_refused(value):
    for whole in (value, {"a": [value]}):
        with pytest.raises(TypeError, match="an entry cannot hold"):
            encode(whole)


def test_the_refusal_says_where():
    with pytest.raises(TypeError, match=r"a builtins\.set \(at texts/24/1\)"):
        encode({"texts": {24: ["a", {1}]}})


@pytest.mark.parametrize("tree", ['{"$code": "x"}', '{"$array": "none"}', '{"$float": "7f"}', "{", ""])
def test_json_that_was_never_written_is_an_error(tree):
    with pytest.raises((KeyError, TypeError, ValueError, struct.error)):
        decode({JSON_NAME: np.frombuffer(tree.encode(), np.uint8)})
