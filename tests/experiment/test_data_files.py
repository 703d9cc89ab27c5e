"""Where `data/...` is looked up: as given, in the current folder, in the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from phase7.experiment.data_files import find_data, packaged_data, profile_names
from phase7.experiment.profile import load_profile
from phase7.experiment.prompts import load_prompts
from phase7.vocabulary.errors import UserError


def test_a_file_that_exists_is_taken_as_it_is(tmp_path):
    own = tmp_path / "data" / "keywords.toml"
    own.parent.mkdir()
    own.write_text("[gratitude]\n", encoding="utf-8")
    assert find_data("data/keywords.toml", tmp_path) == own
    assert find_data(own, Path("/")) == own


def test_data_that_is_not_here_comes_with_the_package(tmp_path):
    found = find_data("data/neutral_prompts.json", tmp_path)
    assert found == packaged_data() / "neutral_prompts.json"
    assert len(load_prompts(found).prompts) > 10
    assert load_profile("quickstart", tmp_path).models == ("smollm2",)


@pytest.mark.parametrize(
    "path", ["data/no_such.json", "other/neutral_prompts.json", "neutral_prompts.json",
             "data/../README.md", "data/profiles", "/data/neutral_prompts.json"],
)  # fmt: skip
def test_nothing_else_is_looked_up_elsewhere(tmp_path, path):
    assert find_data(path, tmp_path) == tmp_path / path


def test_profiles_of_both_places_are_named(tmp_path):
    folder = tmp_path / "data" / "profiles"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text("", encoding="utf-8")
    assert profile_names(tmp_path) == ["answer", "baseline", "mine", "quickstart"]
    with pytest.raises(UserError, match="answer, baseline, mine, quickstart"):
        load_profile("no-such", tmp_path)
