"""A dry run: it costs nothing, changes nothing, and says what the run would do."""

from __future__ import annotations

import dataclasses
import re
import socket
import subprocess
from pathlib import Path

import huggingface_hub
import pytest

from phase7.cli import main
from phase7.experiment.profile import Engine, load_profile
from phase7.experiment.prompts import PromptSet
from phase7.models.facts import ModelFacts
from phase7.models.registry import REGISTRY
from phase7.run.counted import Counting
from phase7.run.foreseen import foreseen_stages
from phase7.store import Store
from phase7.store.marker import NAME
from tests import tiny

REPOSITORY = Path(__file__).parents[2]
DAMAGED_NOTE = "phase7-store x\n"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The repository's data as the current directory, without network, pip, hub cache and models."""

    def forbidden(*args, **kwargs):
        raise AssertionError("a dry run must not ask for anything")

    for owner, name in (
        (socket, "getaddrinfo"),
        (socket.socket, "connect"),
        (subprocess, "run"),
        (subprocess, "Popen"),
    ):
        monkeypatch.setattr(owner, name, forbidden)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("PHASE7_MODELS", str(tmp_path / "models"))  # slow tests share one otherwise
    (tmp_path / "data").symlink_to(REPOSITORY / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


#: What the profile took elsewhere, or a guess, or neither.
TIME = re.compile(r"time: (.* where this profile was timed|about .*|not known before a run here)")


def plan_of(out: str) -> list[str]:
    """The lines of a dry run's plan; a build's last ones say how to get a pilot, and how long it takes."""
    *lines, last = [line for line in out.splitlines() if not TIME.match(line)]
    return lines if last.startswith("power: no pilot in the store; `phase7 plan ") else [*lines, last]


def everything(folder: Path) -> dict[Path, tuple[int, bytes]]:
    paths = [p for p in folder.rglob("*") if "data" not in p.parts]
    return {p: (p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else b"") for p in paths}


PATCH = [
    "patch", "--head-spec=0:1", "--neutral-prompts=data/neutral_prompts.json",
    "--emotion-prompts=data/gratitude_prompts.json", "--output=out/x.pkl",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("store", ["none", "empty", "with a damaged note"])
@pytest.mark.parametrize(
    ("command", "fetched"),
    [
        (["build"], ["smollm2"]),
        (["build", "baseline"], ["gpt2", "pythia-160m", "gpt-neo-125M"]),
        (PATCH, ["smollm2"]),
        ([*PATCH, "--model=gpt2", "--report=r.md"], ["gpt2"]),
    ],
)
def test_it_downloads_and_writes_nothing(project, capsys, store, command, fetched):
    if store != "none":
        (project / "store").mkdir()
    if store.startswith("with"):
        (project / "store" / NAME).write_text(DAMAGED_NOTE)
    before = everything(project)
    assert main([*command, "--dry-run"]) == 0
    assert everything(project) == before
    out, err = capsys.readouterr()
    assert err == ""
    lines = plan_of(out)
    assert lines != out.splitlines()
    for name in fetched:
        n_bytes = REGISTRY[name].download_bytes
        assert f"{name}: not here yet, will be fetched ({n_bytes / 1e6:.0f} MB)" in lines
    whole = sum(REGISTRY[name].download_bytes for name in fetched)
    assert re.fullmatch(
        rf"total: at most [\d,]+ tokens to generate, in batches of .* GB; {whole / 1e6:.0f} MB to fetch",
        lines[-1],
    )


def test_it_says_what_is_measured_and_what_the_sweep_will_choose(project, capsys):
    """The quickstart's lines: 270 heads on 20 prompts, and what they give on 20 others."""
    assert main(["build", "--dry-run"]) == 0
    lines = plan_of(capsys.readouterr().out)
    stages = [line.partition(": ")[0].removeprefix("smollm2/gratitude ") for line in lines[1:-3]]
    assert stages == [
        "sweep read-outs", "check read-outs", "confirm", "confirm read-outs", "prompting", "prompting read-outs", "shift",
        "shift read-outs",
    ]  # fmt: skip
    assert "; by attribution, 20 gradients of 270 cells x 20 prompts x 2 donors" in lines[1]
    assert "check read-outs: " in lines[2]
    # 6 heads, the first 10 and the first 40, and a random set of each size
    assert "confirm: 10 cells x 20 prompts x 2 donors, 20 batches of 88 rows, at most " in lines[3]
    assert "prompting: 20 gratitude prompts, unpatched, " in lines[5]
    assert "shift: 2 cells x 20 prompts x 1 donors, " in lines[7]
    assert lines[-3] == (
        "the sweep's 6 strongest heads, first 10 together, first 40 together, with 1 random of each such"
        " size, are known only after it; others stand for them above"
    )
    assert lines[-2] == "the first 6 heads of the sweep are taken apart as a circuit, on 10 prompts"


def test_a_model_of_unknown_size_is_named_and_the_others_are_planned(project, capsys):
    text = 'models = ["someone/some-model", "gpt2"]\nemotions = ["gratitude"]\n'
    (project / "two.toml").write_text(text)
    assert main(["build", "two.toml", "--dry-run"]) == 0
    lines = plan_of(capsys.readouterr().out)
    unknown = (
        "someone--some-model: not here yet; its size and its plan are not known until it is fetched"
    )
    assert unknown in lines
    assert lines[-1].endswith("; 548 MB to fetch; someone--some-model not counted")
    (project / "two.toml").write_text(text.replace(', "gpt2"', ""))
    assert main(["build", "two.toml", "--dry-run"]) == 0
    assert plan_of(capsys.readouterr().out) == [unknown]


def test_a_mistake_is_still_told_where_the_model_is_not_here(project, capsys):
    assert main([*PATCH, "--head-spec=30:0", "--dry-run"]) == 2
    assert "30" in capsys.readouterr().err
    assert main([*PATCH, "--model=gpt2", "--prompt-format=chat", "--dry-run"]) == 2
    assert "chat template" in capsys.readouterr().err


# --- cost ----------------------------------------------------------------------------------------

NEUTRAL = PromptSet(name="neutral", path="", prompts=("a", "b", "c", "d"))
ANGER = PromptSet(name="anger", path="", prompts=("e", "f", "g", "h"))
HERE = ModelFacts(name="m", fingerprint="1" * 64, n_layers=2, n_heads=3, has_chat_template=False)


def stages(model: ModelFacts):
    profile = load_profile("quickstart", REPOSITORY)
    profile = dataclasses.replace(
        profile,
        engine=Engine(max_rows=4 * profile.sampling.samples),  # the least that the shift can do with
        confirm=dataclasses.replace(profile.confirm, target_heads="0:1,1:2"),
    )
    return [one.stage for one in foreseen_stages(profile, model, NEUTRAL, ANGER) if one.stage.has_text]


def test_the_plan_is_the_same_whether_or_not_the_model_is_here(tmp_path):
    absent = dataclasses.replace(HERE, fingerprint="")
    for here, planned in zip(stages(HERE), stages(absent), strict=True):
        one, other = (
            Counting(store=Store(tmp_path), root=REPOSITORY).texts(stage) for stage in (here, planned)
        )
        assert dataclasses.replace(other, n_stored=0) == one
        assert other.n_stored is None


def test_what_the_store_holds_is_not_generated_again(tmp_path):
    for stage in stages(HERE):
        store = Store(tmp_path / stage.name)
        batches, before = list(stage.batches()), Counting(store=store, root=REPOSITORY).texts(stage)
        assert (before.n_stored, before.n_batches) == (0, len(batches))
        assert before.n_tokens == sum(batch.n_tokens for batch in batches)
        store.get("generation", batches[1].key, dict)
        after = Counting(store=store, root=REPOSITORY).texts(stage)
        assert (after.n_stored, after.n_tokens) == (1, before.n_tokens - batches[1].n_tokens)


def test_a_plan_for_a_model_that_is_here_is_exact(project, capsys):
    tiny.save("gpt2", project / "m")
    assert main([*PATCH, "--model=m", "--dry-run"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if not TIME.match(line)]
    assert "0 in the store, " in lines[0]
    assert re.fullmatch(r"total: [\d,]+ tokens to generate, in batches of .* GB", lines[-1])
