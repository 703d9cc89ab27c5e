"""Progress: a line a minute where no bar can be drawn, a bar on a terminal, nothing where unwanted."""

from __future__ import annotations

import io
import sys
from dataclasses import replace

import pytest

from phase7.cli.terminal import say
from phase7.experiment.profile import Sampling
from phase7.run.executor import Executor
from phase7.run.progress import Lines, Once, progress
from phase7.run.threads import Threads
from phase7.store import Store
from tests import stages, tiny
from tests.run.test_executor import EMOTION, NEUTRAL


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_line_a_minute_with_what_is_left():
    clock, lines = Clock(), []
    told = Lines("smollm2/gratitude confirm", 1000, clock=clock, write=lines.append)
    for second in range(1, 241):
        clock.now = float(second)
        told.update(4)
    assert lines == [
        "phase7: smollm2/gratitude confirm: 24% after 60 s, about 3 min left",
        "phase7: smollm2/gratitude confirm: 48% after 2 min, about 2 min left",
        "phase7: smollm2/gratitude confirm: 72% after 3 min, about 70 s left",
        "phase7: smollm2/gratitude confirm: 96% after 4 min, about 10 s left",
    ]


def test_a_line_leaves_out_what_comes_before_the_first_tokens():
    clock, lines = Clock(), []
    told = Lines("work", 100, clock=clock, write=lines.append)
    for second, n in ((60.0, 5), (120.0, 0), (130.0, 10), (190.0, 20)):  # a minute of loading
        clock.now = second
        told.update(n)
    assert lines == [
        "phase7: work: 5% after 60 s",  # no speed yet
        "phase7: work: 5% after 2 min",
        "phase7: work: 35% after 3 min, about 5 min left",  # 30 of 95 in 130 s
    ]


def test_short_work_and_finished_work_say_nothing():
    clock, lines = Clock(), []
    told = Lines("work", 10, clock=clock, write=lines.append)
    told.update(5)
    clock.now = 100.0
    told.update(5)
    assert lines == []


def test_piped_output_has_no_carriage_returns_and_a_terminal_has_a_bar(monkeypatch):
    piped = io.StringIO()
    monkeypatch.setattr(sys, "stderr", piped)
    with progress("work", 10, is_shown=True) as bar:
        bar.update(10)
    assert isinstance(bar, Lines) and piped.getvalue() == ""
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress("work", 10, is_shown=True) as bar:
        bar.update(5)
    assert "work" in terminal.getvalue() and "\r" in terminal.getvalue()


def test_nothing_is_shown_where_it_is_not_wanted_or_there_is_nothing_to_do(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    for total, is_shown in ((10, False), (0, True)):
        with progress("work", total, is_shown=is_shown) as bar:
            bar.update(total)
    assert terminal.getvalue() == ""


def test_work_under_way_is_told_once():
    told = []
    once = Once(told.append)
    for n in (10, 10, 10):  # of two batches of 25 tokens at once, one of which ends early
        once.under_way(n)
    once.done(25)
    once.under_way(10)
    once.done(25)
    assert sum(told) == 50 and told == [10, 10, 10, 10, 10]
    once.done(7)
    assert sum(told) == 57


@pytest.mark.slow
@pytest.mark.parametrize("positions", ["generated", "all"])  # together, and one prompt after the other
@pytest.mark.parametrize("n_threads", [0, 2])
def test_the_tokens_of_a_prompt_are_told_step_by_step(tmp_path, n_threads, positions):
    n_steps = 8
    model = tiny.load("llama")
    files = replace(model.files, loaded=lambda: model)
    profile = replace(
        stages.PROFILE,
        sampling=Sampling(max_new_tokens=n_steps, temperature=1.0, seed=2),
        patching=replace(stages.PROFILE.patching, positions=positions),
        sweep=None,
    )
    stage = stages.confirm(profile, files=files, neutral=NEUTRAL, emotion=EMOTION)

    def make(store, step):
        return Executor(files, profile.engine, store, lambda line: None, each_step=step)

    threads = Threads(make, lambda: Store(tmp_path), n_threads) if n_threads else None
    executor = Executor(files, profile.engine, Store(tmp_path), lambda line: None, threads)
    told = []
    entries = list(executor.run(stage, told.append))
    total = sum(batch.n_tokens for batch, _ in entries)
    assert sum(told) == total
    assert len(told) >= n_steps and max(told) <= total / n_steps
    told.clear()
    assert len(list(executor.run(stage, told.append))) == len(entries) and told == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_stands_above_the_bar_and_not_in_it(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress("a job", 100, is_shown=True) as bar:
        bar.update(10)
        before = len(terminal.getvalue())
        say("loading a model")
        bar.update(10)
    written = terminal.getvalue()
    assert "a job" in written[:before] and "a job" in written[before:].partition("model\n")[2]
    line = written[before:].partition("phase7: loading a model\n")[0]
    assert line.endswith("\r") and set(line) <= {"\r", " "} and " " in line  # the bar is wiped first


def test_what_comes_before_the_first_tokens_makes_no_estimate_long(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress("a job", 100, is_shown=True) as bar:
        monkeypatch.setattr(bar, "_time", lambda: now[0])
        bar.start_t = bar.last_print_t = 0.0
        now[0] = 40.0  # the model was loaded
        bar.update(10)
        assert (bar.n, bar.format_dict["elapsed"], bar.format_dict["initial"]) == (10, 0.0, 10)
        now[0] = 42.0
        bar.update(20)
        assert bar.n == 30
        assert bar.format_dict["rate"] == pytest.approx(10.0)
        assert "30.0/100 [00:02<00:07" in str(bar)
