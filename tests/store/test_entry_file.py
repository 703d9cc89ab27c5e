"""An entry's file: real safetensors, and no changed bit goes unnoticed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from safetensors import safe_open
from safetensors.numpy import load_file, save

from phase7.store.entry_file import check, pack
from phase7.store.payload import encode
from phase7.store.sums import Damaged
from tests.store.values import is_same, values

REPOSITORY = Path(__file__).parents[2]
KEY = '{"key":{"texts_sha256":"\\ud83d"},"stage":"capture","version":1}'
VALUE = {
    "z": np.arange(6, dtype=np.float32).reshape(2, 3),
    "texts": {24: ["ありがとう"]},
    "pattern": None,
}
MADE_WITH = {"torch": "2.13.0", "python": "3.11.2", "absent": None}


@settings(deadline=None, derandomize=True)
@given(values)
def test_a_file_gives_back_key_value_and_origin(value):
    for made_with in (None, MADE_WITH):
        got = check(pack(KEY, value, made_with))
        assert got.key == KEY
        assert got.made_with == made_with
        assert is_same(got.value(), value)


def test_safetensors_opens_the_file_by_itself(tmp_path):
    path = tmp_path / "entry.safetensors"
    path.write_bytes(pack(KEY, VALUE, MADE_WITH))
    arrays = load_file(path)
    assert is_same(arrays["z"], VALUE["z"])
    assert json.loads(arrays["json"].tobytes())["texts"] == {"$dict": [[24, ["ありがとう"]]]}
    with safe_open(path, framework="np") as file:
        header = json.loads(file.metadata()["phase7"])
    assert header["magic"] == "phase7-entry"
    assert (header["version"], header["key"], header["made_with"]) == (2, KEY, MADE_WITH)
    zeroed = path.read_bytes().replace(header["sha256"].encode(), b"0" * 64)
    assert hashlib.sha256(zeroed).hexdigest() == header["sha256"]


def test_equal_arguments_give_equal_bytes_in_every_process():
    code = (
        "import hashlib; from phase7.store.entry_file import pack; from tests.store.test_entry_file import *;"
        "print(hashlib.sha256(pack(KEY, VALUE, MADE_WITH)).hexdigest())"
    )
    found = {hashlib.sha256(pack(KEY, VALUE, dict(reversed(MADE_WITH.items())))).hexdigest()}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
        )
        found.add(done.stdout.strip())
    assert len(found) == 1


def test_every_flipped_bit_every_cut_and_every_appended_byte_is_noticed():
    whole = pack(KEY, VALUE, MADE_WITH)
    broken = [whole[:n] for n in range(len(whole))]
    broken += [whole + bytes([byte]) for byte in range(256)]
    broken += [whole + whole, whole + bytes(8), bytes(len(whole)), whole[1:], b"\n" + whole]
    for place in range(len(whole)):
        for bit in range(8):
            broken.append(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
    assert len(broken) > 5000
    for data in broken:
        with pytest.raises(Damaged):
            check(data)
    assert is_same(check(whole).value(), VALUE)


def test_a_cut_is_told_from_a_changed_byte():
    whole = pack(KEY, VALUE)
    with pytest.raises(Damaged, match=f"{len(whole) - 3} bytes where {len(whole)} were written"):
        check(whole[:-3])
    with pytest.raises(Damaged, match="SHA-256"):
        check(whole[:-1] + bytes([whole[-1] ^ 1]))


def forged(header: str, arrays: dict[str, np.ndarray]) -> bytes:
    """A file with a right sum around whatever somebody wrote."""
    start = '{"magic":"phase7-entry","sha256":"' + "0" * 64 + '","n_bytes":'
    n_bytes = sum(array.nbytes for array in arrays.values())
    data = save(arrays, {"phase7": f"{start}{n_bytes},{header}"})
    return data.replace(b"0" * 64, hashlib.sha256(data).hexdigest().encode(), 1)


RIGHT = f'"version":2,"key":{json.dumps(KEY)}}}'


@pytest.mark.parametrize(
    ("header", "arrays"),
    [
        ("", encode(VALUE)),
        ("]", encode(VALUE)),
        ('"version":2}', encode(VALUE)),
        (RIGHT.replace("2", "3", 1), encode(VALUE)),
        (RIGHT, {"z": np.ones(1)}),
        (RIGHT, {"json": np.zeros(3, np.uint8)}),
        (RIGHT, {"json": np.frombuffer(b"[" * 100_000, np.uint8)}),
        (RIGHT, {"json": np.frombuffer(b'{"$array": 5}', np.uint8)}),
        (RIGHT, {"json": np.frombuffer(b'{"$array": []}', np.uint8)}),
    ],
)
def test_a_forged_file_is_damaged_and_nothing_worse(header, arrays):
    with pytest.raises(Damaged):
        check(forged(header, arrays)).value()
    assert is_same(check(forged(RIGHT, encode(VALUE))).value(), VALUE)  # liveness: the right one passes


def test_a_value_that_cannot_be_stored_is_refused_before_there_is_a_file():
    with pytest.raises(TypeError, match=r"builtins\.set \(at a\)"):
        pack(KEY, {"a": {1}})
