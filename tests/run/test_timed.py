"""What a profile took elsewhere is told of the profile that was timed, and of no other."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from phase7.cli import main
from phase7.experiment.data_files import packaged_data
from phase7.experiment.profile import profile_path
from phase7.run.record import time_in_words
from phase7.run.timed import timed_elsewhere
from phase7.store.sums import file_sum

TIMES = json.loads((packaged_data() / "profiles" / "times.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", TIMES)
def test_every_time_is_of_the_profile_as_it_is(name):
    """Who changes a profile times it again."""
    assert file_sum(profile_path(name, Path())) == TIMES[name]["sha256"]
    assert TIMES[name]["seconds"] > 0 and TIMES[name]["processors"] > 0


def test_the_dry_run_of_a_new_user_gives_minutes(tmp_path):
    elsewhere = timed_elsewhere("quickstart", tmp_path)
    assert " min on 2 processors (" in elsewhere
    told = time_in_words("quickstart", tmp_path / "run.json", elsewhere)
    assert told.startswith(f"time: {elsewhere}; `phase7 plan quickstart --budget 30m` measures it here")


def test_a_profile_that_the_command_line_changes_has_not_been_timed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PHASE7_MODELS", str(tmp_path / "models"))
    told = {}
    for options in ((), ("--screen", "attribution")):
        assert main(["build", "--dry-run", *options]) == 0
        (told[options],) = re.findall("^time: .*", capsys.readouterr().out, re.M)
    assert " min on 2 processors (" in told[()]
    assert re.match(r"time: about \d+ min at the speed of ", told["--screen", "attribution"])


def test_another_profile_has_not_been_timed(tmp_path):
    mine = tmp_path / "quickstart.toml"
    mine.write_text('models = ["gpt2"]\nemotions = ["anger"]\n', encoding="utf-8")
    assert timed_elsewhere(str(mine), tmp_path) == ""
    assert timed_elsewhere("baseline", tmp_path) == ""
    assert time_in_words("baseline", tmp_path / "run.json").startswith("time: not known before a run")
