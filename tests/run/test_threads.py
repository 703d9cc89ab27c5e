"""Batches side by side in one process: twins of a model, and threads that end when they should."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch
from filelock import FileLock

from phase7.engine.decode.loop import generate
from phase7.engine.model.tokens import encode
from phase7.engine.patch.patching import Patch
from phase7.experiment.profile import Engine, Sampling
from phase7.run.executor import Executor, one_thread
from phase7.run.threads import NAME, Threads
from phase7.run.units import Unit
from phase7.store import Store
from phase7.store import locks as store_locks
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.heads import parse_heads
from phase7.vocabulary.modes import MODES
from tests import tiny

ALL_HEADS = parse_heads("all", n_layers=tiny.N_LAYERS, n_heads=tiny.N_HEADS)


def sweep(model, text: str, seed: int = 3, each_step=lambda n_prompts: None):
    patches = [Patch(heads=(head,), mode=mode, donor="zero") for head in ALL_HEADS for mode in MODES]
    sampling = Sampling(max_new_tokens=6, temperature=1.0, top_p=0.9, seed=seed, samples=2)
    tokens = encode(model, text, "raw")
    return generate(model, text, tokens, patches, donors={}, sampling=sampling, each_step=each_step)


def assert_same(one, other) -> None:
    np.testing.assert_array_equal(one.baseline_tokens, other.baseline_tokens)
    np.testing.assert_array_equal(one.patched_tokens, other.patched_tokens)
    np.testing.assert_array_equal(one.kl_first_token_nats, other.kl_first_token_nats)


# --- twins ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_a_twin_has_the_same_weights_and_hooks_of_its_own(architecture):
    model = tiny.load(architecture)
    twin = model.for_another_thread()
    weights = [{name: p.data_ptr() for name, p in m.bridge.named_parameters()} for m in (model, twin)]
    assert weights[0] == weights[1] != {}
    seen = []
    hook = {0: lambda z, hook: seen.append(len(z))}
    tokens = torch.tensor([[1, 2, 3]])
    with torch.inference_mode(), model.hooked({"z": hook}):
        logits = twin.bridge(tokens)
        assert seen == []
        assert torch.equal(model.bridge(tokens), logits)
        assert seen == [1]
    assert twin.tokenizer is not model.tokenizer
    assert twin.buffers is not model.buffers
    assert twin.shortcuts == model.shortcuts
    assert_same(sweep(twin.for_another_thread(), "Buses leave"), sweep(model, "Buses leave"))


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_batches_side_by_side_have_the_bits_they_have_alone(architecture):
    model = tiny.load(architecture)
    texts = ["Buses leave at ten past", "She wrote the number on a card", "The kettle is on"]
    with one_thread():
        alone = [sweep(model, text) for text in texts]
    assert not np.array_equal(alone[0].patched_tokens, alone[1].patched_tokens)
    models = [model, model.for_another_thread(), model.for_another_thread()]
    found: dict[int, list] = {}

    def work(number: int) -> None:
        with one_thread():
            found[number] = [sweep(models[number], texts[(number + i) % 3]) for i in range(3)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(3):
        for i, got in enumerate(found[number]):
            assert_same(got, alone[(number + i) % 3])


# --- threads -------------------------------------------------------------------------------------


class Work:
    """Executors whose units do what the test says, in the store's own way."""

    def __init__(self, tmp_path, monkeypatch, does=lambda unit, step: unit.key["n"], n_threads=2):
        self.store = Store(tmp_path / "store", on_damage=lambda line: None)
        self.n_torch_threads: list[int] = []
        files = tiny.load("llama").files

        def compute(executor, group):
            (unit,) = group

            def value():
                self.n_torch_threads.append(torch.get_num_threads())
                return does(unit, executor._each_step)

            executor._store.get(unit.kind, unit.key, value)

        monkeypatch.setattr(Executor, "compute", compute)
        self.threads = Threads(
            lambda store, step: Executor(files, Engine(), store, lambda line: None, each_step=step),
            lambda: Store(self.store.root, on_damage=lambda line: None),
            n_threads,
        )


def units(n: int) -> list[Unit]:
    return [Unit(kind="capture", key={"n": i}, arguments=()) for i in range(n)]


def n_alive() -> int:
    return sum(thread.name == NAME for thread in threading.enumerate())


def test_every_unit_is_computed_once_on_one_thread_of_torch(tmp_path, monkeypatch):
    work, before = Work(tmp_path, monkeypatch), torch.get_num_threads()
    for _ in range(2):  # a second call uses the same twins
        asked = units(9)
        assert sorted(u.key["n"] for u in work.threads(asked)) == list(range(9))
        assert all(work.store.has(u.kind, u.key) for u in asked)
    assert work.n_torch_threads == [1] * 9  # found in the store the second time
    assert torch.get_num_threads() == before


def test_two_units_run_at_once(tmp_path, monkeypatch):
    """Liveness: each waits for the other to have begun."""
    both = threading.Barrier(2, timeout=20)
    work = Work(tmp_path, monkeypatch, lambda unit, step: both.wait())
    assert len(list(work.threads(units(2)))) == 2


@pytest.mark.parametrize(
    "error", [UserError(expected="a", got="b", where="c", remedy="d"), IndexError(7), MemoryError()]
)
def test_an_error_ends_the_others_at_their_next_step(tmp_path, monkeypatch, error):
    begun = threading.Event()

    def does(unit, step):
        if unit.key["n"] == 0:
            assert begun.wait(20)
            raise error
        begun.set()
        while True:  # a batch of many steps
            step()
            time.sleep(0.005)

    work = Work(tmp_path, monkeypatch, does)
    with pytest.raises(type(error)) as caught:
        list(work.threads(units(5)))
    assert caught.value is error
    assert n_alive() == 0
    assert not any(work.store.has(u.kind, u.key) for u in units(5))


def test_who_stops_listening_ends_the_threads(tmp_path, monkeypatch):
    def does(unit, step):
        while unit.key["n"]:
            step()
            time.sleep(0.005)

    work = Work(tmp_path, monkeypatch, does)
    running = work.threads(units(4))
    assert next(running).key == {"n": 0}
    assert n_alive() > 0  # liveness
    with pytest.raises(KeyboardInterrupt):
        running.throw(KeyboardInterrupt)
    assert n_alive() == 0


def test_a_stop_ends_the_wait_for_another_process(tmp_path, monkeypatch):
    monkeypatch.setattr(store_locks, "PATIENCE_S", 0.1)
    monkeypatch.setattr(store_locks, "_BREATH_S", 0.1)
    work = Work(tmp_path, monkeypatch)
    first, second = units(2)
    path = work.store.path(second.kind, second.key)
    path.parent.mkdir(parents=True)
    with FileLock(path.with_name(f".{path.name}.lock")):  # as another process holds it
        running = work.threads([first, second])
        assert next(running) is first
        running.close()
    assert n_alive() == 0


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_what_each_step_raises_ends_a_batch(architecture):
    steps = []

    def each_step(n_prompts: int) -> None:
        steps.append(n_prompts)
        if len(steps) == 5:
            raise RuntimeError("enough")

    model = tiny.load(architecture)
    with pytest.raises(RuntimeError, match="enough"):
        sweep(model, "Buses leave", each_step=each_step)
    assert steps == [1] * 5
    assert_same(sweep(model, "Buses leave"), sweep(model, "Buses leave"))  # no hook is left behind
