"""The words of a run's emotions: read before anything is computed, and none where none are listed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from phase7.run.inputs import read_prompts
from phase7.vocabulary.errors import UserError
from tests.run import made_up
from tests.run.made_up import PROFILE


@pytest.fixture
def project(tmp_path):
    made_up.fill(tmp_path)
    return tmp_path


def test_the_users_own_file_counts_and_an_emotion_may_be_missing_from_it(project):
    path = project / "data" / "keywords.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text('[gratitude]\nthank = ["thanks", "Thank"]\nglad = ["glad"]\n', encoding="utf-8")
    profile = replace(PROFILE, emotions=("gratitude", "anger"))
    assert read_prompts(profile, project).words == {"gratitude": ("glad", "thank", "thanks")}


def test_the_packages_words_are_the_fallback(project):
    words = read_prompts(replace(PROFILE, emotions=("gratitude",)), project).words
    assert "grateful" in words["gratitude"]
    assert list(words["gratitude"]) == sorted(words["gratitude"])


def test_a_broken_file_is_one_line(project):
    path = project / "data" / "keywords.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text("[gratitude", encoding="utf-8")
    with pytest.raises(UserError, match="restore or correct the file"):
        read_prompts(PROFILE, project)
