"""The settings that a report tells are the profile's and the stages' own."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from phase7.experiment.chosen_heads import random_heads
from phase7.experiment.profile import Confirm, Engine, Patching, Profile, Sampling, Sweep
from phase7.experiment.prompts import PromptFiles, PromptSet
from phase7.experiment.tested import confirm_stage, sweep_stage
from phase7.models.files import ModelFiles
from phase7.run.settings import group_settings
from phase7.vocabulary.heads import Head

FILES = ModelFiles(
    name="m", fingerprint="f" * 64, n_layers=4, n_heads=3, has_chat_template=True, reads_clock=True,
    folder=Path("m"), source="folder m", revision=None,
)  # fmt: skip
NEUTRAL = PromptSet(name="neutral", path="", prompts=tuple(f"n{i}" for i in range(7)))
ANGER = PromptSet(name="anger", path="", prompts=("a", "b"))
PROFILE = Profile(
    name="p", models=("m",), emotions=("anger",),
    sampling=Sampling(max_new_tokens=9, temperature=0.5, top_p=0.75, samples=3, seed=11),
    prompts=PromptFiles(
        system="Be brief.", template=(("enable_thinking", False),), date="2025-01-31"
    ),
    patching=Patching(donor="paired", control="shuffled", positions="last", primary_mode="v_only"),
    sweep=Sweep(n_prompts=2, max_new_tokens=5),
    confirm=Confirm(target_heads="1:0", random_heads=2, modes=("v_only",), n_prompts=3),
    engine=Engine(max_rows=64),
)  # fmt: skip


class Keywords:
    def describe(self) -> dict:
        return {"name": "keywords"}


def settings(profile: Profile = PROFILE, neutral: PromptSet = NEUTRAL) -> dict:
    strongest = [Head(3, 1), Head(0, 2)]
    return group_settings(
        FILES,
        confirm_stage(profile, FILES, neutral, ANGER, strongest),
        sweep_stage(profile, FILES, neutral, ANGER),
        strongest=strongest,
        first=[(Head(0, 2), Head(3, 1))],
        drawn=[(Head(1, 1), Head(2, 0))],
        selection_metrics=["politeness", "anger_keywords"],
        scorers=[Keywords()],
    )


def test_they_say_what_the_profile_says():
    told = settings()
    wanted = {
        "model": "m", "model_source": "folder m", "fingerprint": "f" * 64, "n_layers": 4, "n_heads": 3,
        "emotion": "anger", "target_heads": "1:0", "patch_mode": "v_only", "modes": ["v_only"],
        "donor": "paired", "control": "shuffled", "positions": "last", "use_attn_result": False,
        "n_neutral_prompts": 7, "n_emotion_prompts": 2, "n_discovery_prompts": 2,
        "n_confirmation_prompts": 3, "max_new_tokens": 9, "sweep_max_new_tokens": 5, "sweep_readouts": "exact",
        "temperature": 0.5, "top_p": 0.75, "samples": 3, "seed": 11, "prompt_format": "chat",
        "dtype": "float32", "device": "cpu", "scorers": [{"name": "keywords"}], "alpha": 0.05,
        "is_target_named": True, "strongest_sets": ["0:2,3:1"], "random_sets": ["1:1,2:0"],
        "strongest_heads": ["3:1", "0:2"], "discovery_overlaps_confirmation": False,
        "system_message": "Be brief.", "template_arguments": {"enable_thinking": False},
        "prompt_date": "2025-01-31", "screen": None,
    }  # fmt: skip
    assert {name: told[name] for name in wanted} == wanted
    assert told["random_heads"] == [str(head) for head in random_heads(PROFILE, FILES)]
    assert len(told["random_heads"]) == 2
    assert "root mean square over politeness, anger_keywords of" in told["selection_rule"]
    assert told.keys() - wanted.keys() == {"random_heads", "selection_rule", "families"}
    assert json.loads(json.dumps(told)) == told


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"patching": Patching(control="none")}, {"control": None}),
        (
            {"sweep": None},
            {"n_discovery_prompts": 0, "sweep_max_new_tokens": 0, "n_confirmation_prompts": 3},
        ),
        ({"sweep": Sweep()}, {"n_discovery_prompts": 4, "sweep_max_new_tokens": 9}),
        ({"engine": Engine(dtype="bfloat16", device="cuda")}, {"dtype": "bfloat16", "device": "cuda"}),
    ],
)
def test_they_follow_the_profile(changes, told):
    found = settings(dataclasses.replace(PROFILE, **changes))
    assert {name: found[name] for name in told} == told
    before = settings()
    assert any(before[name] != found[name] for name in told)


def test_a_prompt_used_for_choosing_and_for_testing_is_admitted():
    single = PromptSet(name="neutral", path="", prompts=("only one",))
    assert settings(neutral=single)["discovery_overlaps_confirmation"] is True
