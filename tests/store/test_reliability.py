"""What docs/reliability.md promises beyond the memo: marker, seals, locks, origins, determinism, memory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from phase7.effects.file import open_effects, write_effects
from phase7.models import wheel
from phase7.models.registry import REGISTRY
from phase7.run import provenance
from phase7.store import Damaged, Store, marker, write_text
from phase7.store.locks import remove_if_free, work_lock
from phase7.store.sums import SUMS_NAME, check_folder, check_sealed, write_folder_sums
from phase7.store.writing import ABANDONED_AFTER_S, _machine, is_abandoned
from phase7.vocabulary.errors import UserError
from tests.programs.faults.project import make, numbers

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def messages():
    return []


@pytest.fixture
def store(tmp_path, messages):
    return Store(tmp_path / "store", on_damage=messages.append)


def dead_process() -> int:
    """The id of a process that has ended."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


# --- the store's marker ------------------------------------------------------------------------


def test_a_store_of_a_newer_version_is_refused_by_everything(store, monkeypatch):
    store.get("x", {"n": 1}, lambda: 1)
    monkeypatch.setattr(marker, "FORMAT_VERSION", marker.FORMAT_VERSION - 1)
    for act in (
        lambda: store.get("x", {"n": 1}, lambda: 1),
        lambda: list(store.entries()),
        lambda: list(store.verify()),
        lambda: store.prune(now_s=2e10),
    ):
        with pytest.raises(UserError, match="upgrade phase7"):
            act()
    monkeypatch.undo()
    assert store.get("x", {"n": 1}, lambda: pytest.fail("computed again")) == 1


def test_a_damaged_marker_is_set_aside_and_written_again(store, messages):
    store.get("x", {"n": 1}, lambda: 1)
    note = store.root / "form.txt"
    whole = note.read_bytes()
    note.write_bytes(whole.replace(b"2 ", b"1 ", 1))
    store.get("x", {"n": 2}, lambda: 2)
    assert note.read_bytes() == whole
    assert len(messages) == 1


# --- left behind -------------------------------------------------------------------------------


def test_prune_removes_what_dead_processes_left_and_nothing_that_lives(store):
    store.get("x", {"n": 1}, lambda: 1)
    place = store.path("x", {"n": 1}).parent
    dead = place / f".{_machine()}-{dead_process()}-abcdefgh.tmp"
    live = place / f".{_machine()}-{os.getpid()}-abcdefgh.tmp"
    foreign, nameless = place / ".00000000-1-abcdefgh.tmp", place / ".abcdefgh.tmp"
    lock = place / ".entry.safetensors.lock"
    for path in (dead, live, foreign, nameless, lock):
        path.write_bytes(b"half")
    assert [entry.path for entry in store.entries()] == [store.path("x", {"n": 1})]
    now = dead.stat().st_mtime + 60
    store.prune(older_than_s=1e6, now_s=now)
    assert not dead.exists() and not lock.exists()
    assert live.exists() and foreign.exists() and nameless.exists()
    store.prune(older_than_s=1e6, now_s=now + ABANDONED_AFTER_S)
    assert live.exists()
    assert not foreign.exists() and not nameless.exists()
    assert not is_abandoned(place / "notes.tmp", now + 1e9)


def test_prune_looks_nowhere_but_in_the_stores_own_folders(store, tmp_path):
    store.get("x", {"n": 1}, lambda: 1)
    other = store.root / "other" / ".abcdefgh.tmp"
    other.parent.mkdir()
    other.write_bytes(b"not the store's")
    os.utime(other, (1000, 1000))
    store.prune(now_s=2e10)
    assert other.exists()


def test_a_lock_file_goes_with_its_lock_and_a_held_one_stays(tmp_path, messages):
    path = tmp_path / "entry"
    with work_lock(path, messages.append):
        (held,) = tmp_path.iterdir()
        assert not remove_if_free(held)
        assert held.exists()
    assert list(tmp_path.iterdir()) == []


def test_without_file_locks_the_work_is_done_and_that_is_said_once(tmp_path, messages, monkeypatch):
    import errno

    from phase7.store import locks

    def no_locks(*args):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(locks, "_acquire", no_locks)
    monkeypatch.setattr(locks, "_told", set())
    store = Store(tmp_path / "store", on_damage=messages.append)
    assert [store.get("x", {"n": n}, lambda n=n: n) for n in range(3)] == [0, 1, 2]
    assert len(messages) == 1
    assert "no file locks" in messages[0]


@pytest.mark.parametrize("link", [False, True])
def test_a_pipe_or_device_is_never_replaced(tmp_path, link):
    os.mkfifo(tmp_path / "pipe")
    target = tmp_path / "pipe"
    if link:
        target = tmp_path / "link"
        target.symlink_to(tmp_path / "pipe")
    with pytest.raises(UserError, match="a device or a pipe"):
        write_text(target, "x")
    assert (tmp_path / "pipe").is_fifo()


def test_a_link_to_a_file_stays_a_link(tmp_path):
    (tmp_path / "file").write_text("old", encoding="utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text(encoding="utf-8") == "new"


# --- checksums of models and effects -----------------------------------------------------------


@pytest.mark.parametrize("damage", ["changed", "missing", "new", "record"])
def test_a_model_folder_is_compared_with_its_sums(tmp_path, damage):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes(name.encode())
    assert check_folder(tmp_path) is False
    write_folder_sums(tmp_path)
    assert check_folder(tmp_path) is True
    if damage == "changed":
        (tmp_path / "config.json").write_bytes(b"config.jsoN")
    elif damage == "missing":
        (tmp_path / "config.json").unlink()
    elif damage == "new":
        (tmp_path / "more.json").write_bytes(b"")
    else:
        record = tmp_path / SUMS_NAME
        record.write_text(record.read_text().replace("a", "b", 1), encoding="utf-8")
    with pytest.raises(Damaged):
        check_folder(tmp_path)


def test_a_model_without_sums_gets_them_and_that_is_told(tmp_path, messages):
    spec = REGISTRY["smollm2"]
    folder = wheel.folder_of(spec, tmp_path)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}", encoding="utf-8")
    assert wheel.ensure(spec, tmp_path, messages.append) == folder
    assert check_folder(folder)
    assert len(messages) == 1
    wheel.ensure(spec, tmp_path, messages.append)
    assert len(messages) == 1


def test_every_cut_of_an_effects_file_and_flips_all_over_it_are_found(tmp_path):
    import xarray as xr

    path = tmp_path / "x.nc"
    tree = xr.DataTree.from_dict({"/m/e": xr.Dataset({"x": ("i", [1.0, 2.0, 3.0])})})
    tree.attrs["schema_version"] = 1
    write_effects(tree, path)
    assert check_sealed(path) is True
    assert "checksum" not in open_effects(path).attrs
    whole = path.read_bytes()
    step = max(1, len(whole) // 150)
    for place in [*range(0, len(whole), step), *range(len(whole) - 80, len(whole))]:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << (place % 8)
        for broken in (bytes(flipped), whole[:place]):
            path.write_bytes(broken)
            with pytest.raises(UserError):
                open_effects(path)
    path.write_bytes(whole)
    assert float(open_effects(path)["m/e"].to_dataset().x[2]) == 3.0


def test_a_netcdf_file_of_another_program_opens_unchecked(tmp_path):
    import xarray as xr

    path = tmp_path / "x.nc"
    tree = xr.DataTree.from_dict({"/m/e": xr.Dataset({"x": ("i", [1.0])})})
    tree.attrs["schema_version"] = 1
    tree.to_netcdf(path)
    assert check_sealed(path) is False
    assert float(open_effects(path)["m/e"].to_dataset().x[0]) == 1.0


# --- where entries come from -------------------------------------------------------------------


def test_entries_of_other_libraries_are_told_in_one_line_and_recorded(tmp_path):
    here = provenance.made_with()
    there = here | {"torch": "1.0"}
    Store(tmp_path, made_with=lambda: there).get("x", {"n": 1}, lambda: 1)
    Store(tmp_path, made_with=provenance.made_with).get("x", {"n": 2}, lambda: 2)
    Store(tmp_path).get("x", {"n": 3}, lambda: 3)
    later = Store(tmp_path)
    assert [later.get("x", {"n": n}, lambda: 0) for n in (1, 2, 3)] == [1, 2, 3]
    line = provenance.mismatch(later.origins)
    assert line.startswith(f"1 entries of the store were made with torch 1.0 (here {here['torch']})")
    assert "\n" not in line
    recorded = provenance.stored_entries(later.origins)
    assert sorted(one["differs"] for one in recorded) == [[], [], ["torch"]]
    same = {k: n for k, n in later.origins.items() if "1.0" not in k.split('"torch": ')[-1][:6]}
    assert provenance.mismatch(same) == ""


# --- the whole command -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return make(tmp_path_factory.mktemp("reliability") / "template")


def run(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "phase7", *arguments],
        cwd=project, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"} | environment,
    )  # fmt: skip


@pytest.mark.slow
def test_hash_seed_order_of_heads_and_history_change_no_bit(template, tmp_path):
    found = []
    for number, (targets, hash_seed) in enumerate(
        (("0:1,2:3", "0"), ("2:3,0:1", "1"), ("2:3, 0:1", "7"))
    ):
        project = Path(shutil.copytree(template, tmp_path / str(number)))
        profile = project / "data" / "profiles" / "small.toml"
        profile.write_text(profile.read_text().replace("0:1,2:3", targets), encoding="utf-8")
        if number == 2:  # another history: half of the entries are from before
            shutil.copytree(tmp_path / "0" / "store" / "memo", project / "store" / "memo")
            for i, entry in enumerate(sorted((project / "store" / "memo").rglob("*.safetensors"))):
                if i % 2:
                    entry.unlink()
        done = run(project, "build", "small", "--quiet", PYTHONHASHSEED=hash_seed)
        assert done.returncode == 0, done.stderr
        found.append(numbers(project))
    assert found[0] == found[1] == found[2]
    more = Path(shutil.copytree(template, tmp_path / "more"))  # other rows in the plan
    profile = more / "data" / "profiles" / "small.toml"
    profile.write_text(profile.read_text().replace("0:1,2:3", "0:1,1:2,2:3"), encoding="utf-8")
    assert run(more, "build", "small", "--quiet").returncode == 0
    wider = numbers(more)
    cells = [k for k in found[0] if k in wider and not k.startswith("/") and "," not in k.split()[0]]
    assert len(cells) > 20
    assert [k for k in cells if wider[k] != found[0][k]] == []
    other = Path(shutil.copytree(template, tmp_path / "other"))
    profile = other / "data" / "profiles" / "small.toml"
    profile.write_text(profile.read_text().replace("seed = 5", "seed = 6"), encoding="utf-8")
    assert run(other, "build", "small", "--quiet").returncode == 0
    assert numbers(other) != found[0]  # liveness: the comparison sees another run


@pytest.mark.slow
def test_verbose_logs_stages_entries_and_seconds_and_run_json_keeps_them(template, tmp_path):
    project = Path(shutil.copytree(template, tmp_path / "project"))
    done = run(project, "build", "small", "--verbose")
    assert done.returncode == 0, done.stderr
    assert "model/gratitude sweep: " in done.stderr
    assert "generation" in done.stderr and "computed in" in done.stderr
    record = json.loads((project / "results" / "small" / "run.json").read_text(encoding="utf-8"))
    assert record["entries_computed"]["generation"] > 0
    assert record["self_check"]["failures"] == 0
    assert {"outputs", "model/gratitude sweep"} <= record["stage_seconds"].keys()
    again = run(project, "build", "small", "--verbose", "--force")
    assert "from the store in" in again.stderr and "computed in" not in again.stderr


@pytest.mark.slow
def test_memory_is_flat_over_a_thousand_patches():
    """After a start-up of 200, another 800 patched runs may add 8 MB at most."""
    code = (
        "import gc, os, psutil\n"
        "from phase7.experiment.profile import Sampling\n"
        "from phase7.engine.decode.loop import generate\n"
        "from phase7.vocabulary.heads import Head\n"
        "from phase7.engine.patch.patching import Patch\n"
        "from phase7.engine.model.tokens import encode\n"
        "from tests import tiny\n"
        "model = tiny.load('llama')\n"
        "def rss():\n"
        "    gc.collect(); return psutil.Process().memory_info().rss\n"
        "for n in range(1000):\n"
        "    prompt = f'The kettle is on shelf {n}'\n"
        "    patch = Patch(heads=(Head(n % 3, n % 4),), mode='result', donor='zero', positions='generated')\n"
        "    generate(model, prompt, encode(model, prompt, 'raw'), [patch], donors={},\n"
        "             sampling=Sampling(max_new_tokens=4, seed=n), use_attn_result=False)\n"
        "    if n == 199: before = rss()\n"
        "print(before, rss())\n"
    )
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    before, after = map(int, done.stdout.split()[-2:])
    print(f"resident memory: {before / 1e6:.1f} MB after 200 patches, {after / 1e6:.1f} MB after 1,000")
    assert after - before < 8e6
