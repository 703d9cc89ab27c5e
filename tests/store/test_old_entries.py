"""Entries of versions that wrote joblib pickles: used without computing, and without running their code."""

from __future__ import annotations

import contextlib
import copyreg
import hashlib
import io
import json
import os
import pickle
import sys
import threading
import zlib
from pathlib import Path

import joblib
import numpy as np
import pytest
from hypothesis import example, given, settings

from phase7.store import Store, canonical, marker, old_entries
from phase7.store.sums import Damaged
from tests.store.values import arrays, is_same, nested, scalars

KEY = {"model": "abc", "seed": 3}
TEXT = canonical("generation", KEY)
VALUE = {
    "baseline_tokens": np.arange(4, dtype=np.int32).reshape(1, 4),
    "texts": {1: {"baseline": ["ありがとう"], "patched": [["a"], ["b"]]}, 24: {}},
    "kl": np.array([0.5, np.nan]),
    "pattern": None,
    "n_self_rows": 2,
    "gap": 0.0,
}
MADE_WITH = {"torch": "2.13.0", "python": "3.11.2"}


def as_before(payload: bytes, key: str = TEXT, made_with: dict | None = None) -> bytes:
    """An entry file as versions before safetensors wrote it."""
    header = {
        "magic": "phase7-entry",
        "version": 1,
        "key": key,
        "sha256": hashlib.sha256(payload).hexdigest(),
        "n_bytes": len(payload),
    }
    if made_with is not None:
        header["made_with"] = dict(sorted(made_with.items()))
        header["header_sha256"] = hashlib.sha256(json.dumps(header).encode()).hexdigest()
    return json.dumps(header).encode() + b"\n" + payload


def dumped(value: object) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(value, buffer, compress=3)
    return buffer.getvalue()


@pytest.fixture
def messages():
    return []


@pytest.fixture
def store(tmp_path, messages):
    return Store(tmp_path / "store", on_damage=messages.append)


def place(store: Store, data: bytes) -> Path:
    """Put an old entry where an older version put it, in a store with that version's marker."""
    path = store.path("generation", KEY).with_suffix(".joblib")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    (store.root / marker.NAME).write_text(marker._line(1) + "\n", encoding="utf-8")
    return path


@settings(deadline=None, derandomize=True)
@given(nested(scalars | arrays()))
@example(VALUE)
@example([np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.zeros((0, 3)), np.zeros(())])
def test_an_old_entry_reads_as_joblib_reads_it(value):
    for made_with in (None, MADE_WITH):
        got = old_entries.check(as_before(dumped(value), made_with=made_with))
        assert (got.key, got.made_with) == (TEXT, made_with)
        assert is_same(got.value(), joblib.load(io.BytesIO(dumped(value))))


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_old_entries_of_every_pickle_protocol_are_read(protocol):
    """joblib writes the protocol that Python takes for its default, which grows."""
    buffer = io.BytesIO()
    joblib.dump(VALUE, buffer, compress=3, protocol=protocol)
    assert is_same(old_entries.check(as_before(buffer.getvalue())).value(), VALUE)


def test_an_old_entry_is_used_once_and_rewritten(store, messages):
    old = place(store, as_before(dumped(VALUE), made_with=MADE_WITH))
    assert store.has("generation", KEY)
    assert is_same(store.get("generation", KEY, lambda: pytest.fail("computed again")), VALUE)
    new = store.path("generation", KEY)
    assert (new.suffix, old.exists(), new.exists()) == (".safetensors", False, True)
    assert new.with_suffix("") == old.with_suffix("")
    assert (store.root / marker.NAME).read_text(encoding="utf-8").startswith("phase7-store 2 ")
    assert (store.n_hits, store.n_computed) == ({"generation": 1}, {})

    later = Store(store.root)
    assert is_same(later.get("generation", KEY, lambda: pytest.fail("computed again")), VALUE)
    assert later.origins == store.origins == {json.dumps(MADE_WITH, sort_keys=True): 1}
    assert [entry.problem for entry in store.verify()] == [""]
    assert messages == []


def test_old_entries_are_listed_checked_and_pruned(store):
    old = place(store, as_before(dumped(VALUE)))
    assert [entry.path for entry in store.entries()] == [old]
    assert [(entry.path, entry.problem) for entry in store.verify()] == [(old, "")]
    old.write_bytes(old.read_bytes()[:-1])
    (found,) = store.verify()
    assert "were written" in found.problem
    assert store.prune(now_s=2e10) > 0
    assert not old.exists()


def test_every_flipped_bit_of_an_old_entry_is_noticed():
    whole = as_before(dumped([np.arange(3.0), "a"]), made_with=MADE_WITH)
    for at in range(len(whole)):
        for bit in range(8):
            with pytest.raises(Damaged):
                old_entries.check(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])


def test_an_old_entry_under_another_key_is_set_aside(store, messages):
    old = place(store, as_before(dumped("other"), key=canonical("generation", {"n": 1})))
    assert store.get("generation", KEY, lambda: "mine") == "mine"
    assert messages == [
        f"{old}: it answers another key; set aside as {old.stem}.damaged, computing it again"
    ]


class Calls:
    """Pickles as a call."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def attacks(target: Path) -> dict[str, bytes]:
    """Payloads that make the file `target` when they are read carelessly."""
    command = f"touch {target}"
    wrapper = b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n"
    state = {"shape": (1,), "order": "C", "dtype": np.dtype(object), "allow_mmap": False}
    inner = b")\x81" + pickle.dumps(state, 2)[2:-1] + b"Vsubclass\ncnumpy\nndarray\nsb"
    system = pickle.dumps(Calls(os.system, command), 2)
    return {
        "a call": dumped(Calls(os.system, command)),
        "a call deep in a value": dumped(VALUE | {"more": [{1: Calls(os.system, command)}]}),
        "an evaluation": dumped(Calls(eval, f"__import__('os').system({command!r})")),
        "a call of protocol 0": zlib.compress(pickle.dumps(Calls(os.system, command), 0)),
        "objects in an array": dumped(np.array([Calls(os.system, command)], dtype=object)),
        "objects behind joblib's array": zlib.compress(b"\x80\x02" + wrapper + inner + system + b"."),
        "an attribute of a name": zlib.compress(
            b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c"
            + bytes([len(command)])
            + command.encode()
            + b"\x85R."
        ),
    }


@pytest.mark.parametrize("name", attacks(Path("x")))
def test_an_old_entry_that_calls_a_program_is_told_and_does_not_run(store, messages, tmp_path, name):
    target = tmp_path / "ran"
    payload = attacks(target)[name]
    old = place(store, as_before(payload))
    assert [entry.problem for entry in store.verify()] == [""]  # its sum is right: that is the point
    assert store.get("generation", KEY, lambda: "computed") == "computed"
    assert not target.exists()
    (line,) = messages
    assert line.startswith(
        f"{old}: an older version's entry that holds more than arrays, numbers and text ("
    )
    assert line.endswith(f"; set aside as {old.stem}.damaged, computing it again")
    assert "\n" not in line
    assert old.with_suffix(".damaged").exists()
    assert Store(store.root).get("generation", KEY, lambda: pytest.fail("computed again")) == "computed"
    with contextlib.suppress(AttributeError):  # what the call gives back is no array
        joblib.load(io.BytesIO(payload))
    assert target.exists()  # liveness: a careless reader does run it


def test_a_name_in_an_old_entry_is_not_even_imported():
    payload = zlib.compress(b"\x80\x02cthis\ns\n.")
    assert "this" not in sys.modules
    with pytest.raises(Damaged):
        old_entries.check(as_before(payload)).value()
    assert "this" not in sys.modules


def test_a_registered_name_is_refused_too():
    """Python lets a pickle name what somebody registered by a number."""
    copyreg.add_extension("os", "system", 77)
    try:
        assert pickle.loads(b"\x80\x02\x82\x4d.") is os.system  # liveness; it also fills Python's cache
        copyreg.clear_extension_cache()
        sound = old_entries.check(as_before(zlib.compress(b"\x80\x02\x82\x4d.")))
        with pytest.raises(Damaged, match="UnpicklingError"):
            sound.value()
    finally:
        copyreg.remove_extension("os", "system", 77)


ARRAY = b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n"
TYPE = b"cnumpy\ndtype\n"
OTHER = {
    "a set": dumped({1}),
    "bytes": dumped(b"a"),
    "a path": dumped(Path()),
    "another kind of array": dumped(np.zeros(2).view(np.recarray)),
    "strings": dumped(np.array(["a"])),
    "other byte order": dumped(np.zeros(2, np.dtype("f8").newbyteorder())),
    "a dtype": dumped(np.dtype("f4")),
    "a float as key": dumped({1.5: 2}),
    "nothing": b"",
    "no compression": pickle.dumps(1),
    "cut": zlib.compress(b"\x80\x02"),
    "a class itself": zlib.compress(b"\x80\x02" + ARRAY + b"."),
    "a class that is changed": zlib.compress(b"\x80\x02" + ARRAY + b"}Varray\nI1\nsb."),
    "slots of a class": zlib.compress(b"\x80\x02" + ARRAY + b"N}Varray\nI1\ns\x86b."),
    "slots of a type": zlib.compress(b"\x80\x02" + TYPE + b"N}Vdtype\nI1\ns\x86b."),
    "an array without a state": zlib.compress(b"\x80\x02" + ARRAY + b")\x81."),
    "a state that is no dict": zlib.compress(b"\x80\x02" + ARRAY + b")\x81I5\nb."),
    "a list within itself": zlib.compress(b"\x80\x02]q\x00h\x00a."),
    "cut in an array": zlib.compress(zlib.decompress(dumped(np.arange(100.0)))[:-40]),
    "deeper than Python goes": zlib.compress(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."),
}


@pytest.mark.parametrize("payload", OTHER.values(), ids=OTHER)
def test_whatever_else_an_old_entry_holds_is_told_and_computed_again(store, messages, payload):
    place(store, as_before(payload))
    assert store.get("generation", KEY, lambda: "computed") == "computed"
    assert len(messages) == 1
    assert "older version's entry" in messages[0]
    assert is_same(old_entries.check(as_before(dumped(VALUE))).value(), VALUE)  # nothing was changed


def test_threads_that_meet_one_old_entry_all_get_it(store):
    place(store, as_before(dumped(VALUE)))
    got: list[object] = []

    def read():
        one = Store(store.root, on_damage=got.append)
        got.append(one.get("generation", KEY, lambda: "computed again"))

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 8
    assert all(is_same(one, VALUE) for one in got)
    assert [entry.path.suffix for entry in store.entries()] == [".safetensors"]
