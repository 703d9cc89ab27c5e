"""Progress: a line a minute where no bar can be drawn, a bar on a terminal, nothing where unwanted."""

from __future__ import annotations

import io
import sys

from phase7.run.progress import Lines, progress


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
