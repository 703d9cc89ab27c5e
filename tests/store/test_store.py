"""The store: computed once, never trusted when damaged, written whole or not at all."""

from __future__ import annotations

import json
import os
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phase7.store import Store, atomic_path, canonical, entry_file, memo, write_bytes, write_text
from phase7.vocabulary.errors import UserError

LAW = settings(deadline=None, derandomize=True)
KEY = {"model": "abc", "seed": 3, "cells": [["3:5", "result"]], "top_p": 0.9}
VALUE = {"texts": ["ありがとう", "b"], "kl": np.arange(6, dtype=np.float64).reshape(2, 3), "n": 4}


class Counted:
    """A computation that counts its calls."""

    def __init__(self, value=VALUE):
        self.value, self.n_calls = value, 0

    def __call__(self):
        self.n_calls += 1
        return self.value


@pytest.fixture
def messages():
    return []


@pytest.fixture
def store(tmp_path, messages):
    return Store(tmp_path / "store", on_damage=messages.append)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def assert_is_value(got) -> None:
    assert got["texts"] == VALUE["texts"]
    assert got["n"] == VALUE["n"]
    assert got["kl"].dtype == np.float64
    np.testing.assert_array_equal(got["kl"], VALUE["kl"])


def test_an_entry_is_computed_once_and_read_by_later_stores(store, tmp_path):
    compute = Counted()
    assert not store.has("generation", KEY)
    assert_is_value(store.get("generation", KEY, compute))
    assert store.has("generation", KEY)
    assert_is_value(store.get("generation", KEY, compute))
    later = Store(tmp_path / "store")
    assert_is_value(later.get("generation", KEY, compute))
    assert compute.n_calls == 1
    assert (store.n_computed, store.n_hits) == ({"generation": 1}, {"generation": 1})
    assert (later.n_computed, later.n_hits) == ({}, {"generation": 1})
    assert [path.name for path in files(tmp_path) if path.suffix != ".safetensors"] == ["form.txt"]
    assert len(files(tmp_path)) == 2


@pytest.mark.parametrize(
    ("stage", "key"),
    [
        ("capture", KEY),
        ("generation", KEY | {"seed": 4}),
        ("generation", KEY | {"seed": 3.5}),
        ("generation", KEY | {"seed": "3"}),
        ("generation", KEY | {"seed": True}),
        ("generation", KEY | {"cells": [["3:5", "v_only"]]}),
        ("generation", KEY | {"more": None}),
        ("generation", {name: value for name, value in KEY.items() if name != "top_p"}),
    ],
)
def test_another_stage_or_key_is_another_entry(store, stage, key):
    first, second = Counted("first"), Counted("second")
    assert store.get("generation", KEY, first) == "first"
    assert store.get(stage, key, second) == "second"
    assert store.get("generation", KEY, first) == "first"
    assert (first.n_calls, second.n_calls) == (1, 1)


def test_a_new_version_computes_everything_again(store, monkeypatch):
    compute = Counted()
    store.get("generation", KEY, compute)
    monkeypatch.setattr(memo, "VERSION", memo.VERSION + 1)
    store.get("generation", KEY, compute)
    assert compute.n_calls == 2


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
keys = st.dictionaries(st.text(max_size=5), scalars | st.lists(scalars, max_size=3), max_size=6)


@LAW
@given(keys, st.randoms(use_true_random=False))
def test_the_order_of_a_key_does_not_matter(key, shuffle):
    items = list(key.items())
    shuffle.shuffle(items)
    assert Store(Path("s")).path("x", dict(items)) == Store(Path("s")).path("x", key)


@LAW
@given(keys, keys)
def test_canonical_strings_are_equal_only_where_keys_are(first, second):
    assert canonical("x", first).isascii()
    for one, other in ((first, second), (first, dict(first))):
        same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
        assert (canonical("x", one) == canonical("x", other)) == same


def test_order_within_a_list_does_matter():
    assert canonical("x", {"a": [1, 2]}) != canonical("x", {"a": [2, 1]})


def flip(data: bytes, place: int, bit: int = 0) -> bytes:
    return data[:place] + bytes([data[place] ^ (1 << bit)]) + data[place + 1 :]


def n_header(data: bytes) -> int:
    """Bytes of a safetensors file before its arrays."""
    return 8 + int.from_bytes(data[:8], "little")


DAMAGES = {
    "cut in the payload": lambda data: data[:-7],
    "cut in the header": lambda data: data[:30],
    "empty": lambda data: b"",
    "zeroed": lambda data: bytes(len(data)),
    "payload zeroed": lambda data: data[: n_header(data)] + bytes(len(data) - n_header(data)),
    "last bit flipped": lambda data: flip(data, len(data) - 1),
    "bit in the middle flipped": lambda data: flip(data, len(data) // 2, 5),
    "bytes appended": lambda data: data + b"x",
    "two entries in one": lambda data: data + data,
    "another file": lambda data: b'["not", "an", "entry"]\n' + data,
    "a plain pickle": lambda data: pickle.dumps(VALUE),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_entry_is_set_aside_reported_and_computed_again(store, messages, monkeypatch, damage):
    compute = Counted()
    store.get("generation", KEY, compute)
    path = store.path("generation", KEY)
    whole = path.read_bytes()
    damaged = damage(whole)
    path.write_bytes(damaged)

    (found,) = store.verify()
    assert found.problem
    assert path.read_bytes() == damaged

    with monkeypatch.context() as patched:
        patched.setattr(entry_file, "load", lambda *args: pytest.fail("a damaged entry was decoded"))
        assert_is_value(store.get("generation", KEY, compute))
    assert compute.n_calls == 2
    assert path.with_suffix(".damaged").read_bytes() == damaged
    assert len(messages) == 1
    assert messages[0].startswith(f"{path}: ")
    assert messages[0].endswith(f"set aside as {path.stem}.damaged, computing it again")
    assert "\n" not in messages[0]

    assert path.read_bytes() == whole
    assert_is_value(store.get("generation", KEY, compute))
    assert compute.n_calls == 2
    assert len(messages) == 1


def test_a_sound_entry_is_decoded_through_the_guarded_function(store, monkeypatch):
    """Liveness of the guard above."""
    store.get("generation", KEY, Counted())
    text = np.frombuffer(b'"what safetensors read"', np.uint8)
    monkeypatch.setattr(entry_file, "load", lambda *args: {"json": text})
    assert store.get("generation", KEY, Counted()) == "what safetensors read"


def test_an_entry_in_another_ones_place_is_not_its_answer(store, messages):
    store.get("generation", KEY, Counted("mine"))
    other = KEY | {"seed": 4}
    place = store.path("generation", other)
    place.parent.mkdir(parents=True)
    os.replace(store.path("generation", KEY), place)
    assert store.get("generation", other, Counted("other's")) == "other's"
    assert "it answers another key" in messages[0]


def test_no_single_flipped_bit_gives_another_value_and_verify_sees_whatever_get_rejects(store, messages):
    compute = Counted()
    store.get("generation", KEY, compute)
    path = store.path("generation", KEY)
    whole = path.read_bytes()
    draw = random.Random(5)
    places = [*range(0, n_header(whole), 3), *draw.sample(range(n_header(whole), len(whole)), 60)]
    unseen = []
    for place in places:
        path.write_bytes(flip(whole, place, draw.randrange(8)))
        (seen,) = store.verify()
        messages.clear()
        assert_is_value(store.get("generation", KEY, compute))
        if bool(messages) != bool(seen.problem):
            unseen.append(place)
        path.write_bytes(whole)
    assert compute.n_calls > 60
    assert unseen == []


def test_a_computation_that_fails_leaves_nothing(store, tmp_path):
    def fail():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        store.get("generation", KEY, fail)
    assert files(tmp_path) == []
    assert store.n_computed == {}
    assert_is_value(store.get("generation", KEY, Counted()))


def test_an_entry_that_cannot_be_written_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(UserError, match="expected a place that can be written"):
        Store(tmp_path / "file").get("generation", KEY, Counted())


def fill(store: Store) -> dict[str, list[Path]]:
    stages = {"capture": [0, 1], "generation": [0, 1, 2]}
    for stage, numbers in stages.items():
        for n in numbers:
            store.get(stage, {"n": n}, Counted(n))
    return {stage: [store.path(stage, {"n": n}) for n in ns] for stage, ns in stages.items()}


def test_entries_and_verify_list_every_entry(store):
    paths = fill(store)
    everything = sorted(path for group in paths.values() for path in group)
    for listed in (list(store.entries()), list(store.verify())):
        assert sorted(entry.path for entry in listed) == everything
        assert [entry.problem for entry in listed] == [""] * 5
        assert all(entry.n_bytes == entry.path.stat().st_size for entry in listed)
        assert all(entry.path in paths[entry.stage] for entry in listed)


def test_a_store_that_does_not_exist_is_empty_and_is_not_made(store, tmp_path):
    assert list(store.entries()) == list(store.verify()) == []
    assert store.prune(now_s=0.0) == 0
    assert not (tmp_path / "store").exists()


def test_verify_names_the_damaged_entry_alone(store):
    paths = fill(store)
    victim = paths["generation"][1]
    victim.write_bytes(flip(victim.read_bytes(), victim.stat().st_size - 1))
    problems = {entry.path: entry.problem for entry in store.verify() if entry.problem}
    assert list(problems) == [victim]
    assert "SHA-256" in problems[victim]
    victim.write_bytes(victim.read_bytes()[:-1])
    (problem,) = (entry.problem for entry in store.verify() if entry.problem)
    assert "were written" in problem


def test_prune_removes_what_it_was_asked_to_and_says_how_much(store):
    paths = fill(store)
    n_bytes = sum(path.stat().st_size for path in paths["capture"])
    now = paths["capture"][0].stat().st_mtime
    assert store.prune(stage="capture", older_than_s=3600, now_s=now) == 0
    assert store.prune(stage="capture", older_than_s=3600, now_s=now + 3700) == n_bytes
    assert not any(path.exists() for path in paths["capture"])
    assert all(path.exists() for path in paths["generation"])
    assert store.prune(now_s=now + 60) > 0
    assert list(store.entries()) == []


def test_prune_by_age_looks_at_each_entry(store):
    old, new, _ = fill(store)["generation"]
    os.utime(old, (1000, 1000))
    store.prune(stage="generation", older_than_s=3600, now_s=new.stat().st_mtime + 10)
    assert not old.exists()
    assert new.exists()


def test_prune_leaves_everything_that_is_no_entry(store, tmp_path):
    fill(store)
    for name in ("models/x/config.json", "effects/quickstart.nc", "README.md"):
        (tmp_path / "store" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "store" / name).write_text("keep", encoding="utf-8")
    store.prune(now_s=2e10)
    kept = [str(path.relative_to(tmp_path / "store")) for path in files(tmp_path / "store")]
    assert kept == ["README.md", "effects/quickstart.nc", "form.txt", "models/x/config.json"]


@pytest.mark.parametrize("before", [None, b"old"])
def test_atomic_path_leaves_the_old_file_or_none_when_the_writer_fails(tmp_path, before):
    target = tmp_path / "new" / "out.bin"
    if before is not None:
        write_bytes(target, before)
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert [path.read_bytes() for path in files(tmp_path)] == ([] if before is None else [before])
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"whole")
        assert temporary.parent == target.parent
    assert [path.read_bytes() for path in files(tmp_path)] == [b"whole"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_atomic_path_leaves_nothing_when_interrupted(tmp_path, stop):
    with pytest.raises(stop), atomic_path(tmp_path / "out.bin") as temporary:
        temporary.write_bytes(b"half")
        raise stop
    assert files(tmp_path) == []


def test_a_full_disk_is_a_user_error_and_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "out.txt"
    write_text(target, "old")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="got No space left on device; free space"):
        write_text(target, "new")
    assert [path.read_text(encoding="utf-8") for path in files(tmp_path)] == ["old"]


def test_the_name_appears_only_when_the_file_is_whole(tmp_path, monkeypatch):
    target, order = tmp_path / "out.bin", []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("sync"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("rename"), replace(a, b)))
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"whole")
        assert not target.exists()
    assert order == ["sync", "rename", "sync"]  # the file, its name, its folder
    assert target.read_bytes() == b"whole"


def test_a_folder_in_the_way_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="got Is a directory"):
        write_text(tmp_path, "x")
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match="expected a place that can be written"):
        write_text(tmp_path / "file" / "below", "x")


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_have_the_permissions_that_the_umask_leaves(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "out.txt", "x")
        Store(tmp_path / "store").get("generation", KEY, Counted())
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in files(tmp_path)}
    assert modes == {0o666 & ~umask}


@pytest.mark.parametrize("name", ["x" * 255, "感" * 85, "\U0001f600" * 63], ids=["x", "kanji", "emoji"])
def test_the_longest_names_that_the_file_system_takes_can_be_written(tmp_path, name):
    write_text(tmp_path / name, "x")
    assert (tmp_path / name).read_text(encoding="utf-8") == "x"
