"""What a plan foresees is what a run then does, and a guess of its time grows with the work."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from phase7.cli import main
from phase7.experiment.data_files import packaged_data
from phase7.experiment.profile import Engine, Profile, load_profile
from phase7.models.files import ModelFiles, find_model, read_sizes
from phase7.run.backend import Backend
from phase7.run.counted import Counting
from phase7.run.estimated import Rates, Work, measured_rates, n_weights
from phase7.run.foreseen import Foreseen, foreseen_stages
from phase7.run.inputs import others_of, read_prompts
from phase7.run.memory import bounded
from phase7.run.paths import Paths
from phase7.run.pipeline import Run
from phase7.run.plan import plan_of
from phase7.store import Store
from tests import tiny
from tests.run.small_project import NEUTRAL, REPOSITORY, write_data

TIMES = json.loads((packaged_data() / "profiles" / "times.json").read_text(encoding="utf-8"))
MORE = ["A green door opens on the yard", "Two spoons lie in the drawer", "The clock on the wall says"]
PROFILE = """
models = ["model"]
emotions = ["gratitude"]
scorers = ["keywords"]
[sampling]
max_new_tokens = 5
samples = 2
[patching]
control = ["neutral", "anger"]
[sweep]
{sweep}
n_prompts = 3
[confirm]
target_heads = "{targets}"
strongest = 2
strongest_sets = [3]
random_sets = 2
modes = ["result"]
n_prompts = 3
curve = [1, 2]
lengths = []
strengths = [0.5]
[readouts]
words = ["the", "and"]
max_new_tokens = 3
[statistics]
resamples = 100
selection_metrics = ["logodds_words"]
{more}
"""
READ, WRITTEN = 'text = false\nreadouts = "attribution"\nchecked_heads = 2', 'modes = ["result"]'
ANSWER = "[answer]\nsizes = [2]\nstrengths = [1.0, 4.0]\nfresh_prompts = 2\n"
SCREEN = "[screen]\nheads = 5\nchecked_heads = 2\n"


def paths_in(folder: Path) -> Paths:
    return Paths(
        root=folder, store=folder / "store", effects=folder / "e.nc", plots=folder / "plots",
        report=None, run_record=folder / "run.json", patching=lambda model, emotion: folder / "r.pkl",
    )  # fmt: skip


def project_of(folder: Path, monkeypatch, **parts: str) -> tuple[Profile, Paths]:
    write_data(folder, [*NEUTRAL, *MORE], {"small": PROFILE.format(**parts)})
    anger = {"prompts": ["This is an outrage and I am furious", "Stop it, you make me so angry"]}
    (folder / "data/anger_prompts.json").write_text(json.dumps(anger))
    (folder / "data/keywords.toml").write_bytes((REPOSITORY / "data/keywords.toml").read_bytes())
    tiny.save("llama", folder / "model")
    monkeypatch.chdir(folder)
    return load_profile("small", folder), paths_in(folder)


def model_of(paths: Paths) -> ModelFiles:
    return find_model("model", store_root=paths.store)


def stages_of(profile: Profile, paths: Paths) -> list[Foreseen]:
    model, prompts = model_of(paths), read_prompts(profile, paths.root)
    profile = bounded(profile, [read_sizes(model)])
    emotion = prompts.emotions["gratitude"]
    others = others_of(profile, prompts, emotion)
    return foreseen_stages(profile, model, prompts.neutral, emotion, others)


@pytest.mark.slow
@pytest.mark.parametrize(
    "parts",
    [
        {"sweep": READ, "targets": "", "more": ANSWER},
        {"sweep": READ, "targets": "0:0,1:1", "more": ""},
        {"sweep": WRITTEN, "targets": "", "more": ""},
        {"sweep": 'text = false\nreadouts = "exact"', "targets": "", "more": SCREEN},
        {"sweep": 'text = false\nreadouts = "exact"\nhalving = [1, 2]', "targets": "", "more": ""},
    ],
)
def test_the_run_computes_what_was_foreseen(tmp_path, monkeypatch, parts):
    """Batch for batch, though other heads stand where the sweep's will; a target among these spares some."""
    profile, paths = project_of(tmp_path, monkeypatch, **parts)
    run = Run(profile, paths, show_progress=False, backend=Backend(name="serial"))
    foreseen = stages_of(profile, paths)
    tokens = {
        one.stage.name: sum(batch.n_tokens for batch in one.stage.batches())
        for one in foreseen
        if one.stage.has_text
    }
    taken = {name.rpartition(" ")[2]: n_tokens for name, n_tokens in run.rehearse().tokens.items()}
    assert taken.keys() <= tokens.keys()
    # An answer is tested only where some candidate keeps within the guards.
    assert tokens.keys() - taken.keys() <= {"answer", "fresh", "rivals"}
    for name, n_tokens in taken.items():
        assert n_tokens == tokens[name] or (parts["targets"] and n_tokens < tokens[name]), name
    reading = sum(
        len(list(plan.batches()))
        for one in foreseen
        if one.stage.name in taken or not one.stage.has_text
        for _, plan in one.readings(paths.root)
        if not plan.stage.is_attributed
    )
    assert run.store.n_computed["readout"] == reading


# --- the guess of its time -----------------------------------------------------------------------


def test_a_guess_is_the_sum_of_its_kinds_scaled_by_weights_and_batches_at_once():
    seconds = dict.fromkeys(Work().counts, 0.0) | {"text_tokens": 0.5, "readings": 2.0, "groups": 7.0}
    rates = Rates(seconds=seconds, weights=100, processors=2, processor="one like this")
    work = Work(text_tokens=10, readings=3, groups=2)
    assert rates.of(work, 100, 2) == 10 * 0.5 + 3 * 2.0 + 2 * 7.0
    assert rates.of(work, 300, 1) == (10 * 0.5 + 3 * 2.0) * 3 * 2 + 2 * 7.0


def test_every_kind_of_work_has_a_measured_rate():
    rates = measured_rates()
    assert rates.seconds.keys() == Work().counts.keys()
    assert min(rates.seconds.values()) >= 0 and rates.seconds["swept_tokens"] > 0


@pytest.mark.parametrize("name", TIMES)
def test_where_a_profile_was_timed_the_guess_is_no_further_off_than_it_says(name, tmp_path, monkeypatch):
    monkeypatch.setenv("PHASE7_MODELS", str(tmp_path / "models"))
    paths = dataclasses.replace(paths_in(tmp_path), root=REPOSITORY)
    two = Backend(n_jobs=TIMES[name]["processors"])
    plan = plan_of(load_profile(name, REPOSITORY), paths, two)
    assert 0.5 < plan.seconds / TIMES[name]["seconds"] < 2


def test_what_is_stored_takes_no_time(tmp_path, monkeypatch):
    profile, paths = project_of(tmp_path, monkeypatch, sweep=WRITTEN, targets="0:0", more="")
    serial = Backend(name="serial")
    before = plan_of(profile, paths, serial)
    store, n_tokens = Store(paths.store), 0
    sweep = stages_of(profile, paths)[0].stage
    for batch in list(sweep.batches())[:2]:
        store.get("generation", batch.key, dict)
        n_tokens += batch.n_tokens
    after, rates = plan_of(profile, paths, serial), measured_rates()
    spared = rates.of(Work(swept_tokens=n_tokens), n_weights(read_sizes(model_of(paths))), 1)
    assert before.seconds - after.seconds == pytest.approx(spared)
    assert spared > 0


@pytest.mark.parametrize(
    "change", [{"scorers": ("someone/classifier",)}, {"engine": Engine(device="cuda", max_rows=64)}]
)
def test_nothing_is_guessed_of_other_devices_and_scorers(tmp_path, monkeypatch, change):
    profile, paths = project_of(tmp_path, monkeypatch, sweep=WRITTEN, targets="0:0", more="")
    changed = dataclasses.replace(profile, **change)
    assert plan_of(changed, paths, Backend(name="serial")).seconds is None


def test_a_dry_run_of_ones_own_profile_gives_minutes(tmp_path, monkeypatch, capsys):
    project_of(tmp_path, monkeypatch, sweep=READ, targets="0:0", more="")
    assert main(["build", "small", "--dry-run"]) == 0
    (line,) = re.findall("^time: .*", capsys.readouterr().out, re.M)
    assert re.fullmatch(
        r"time: about \d+ (s|min) at the speed of .*, maybe half or twice that, downloads apart; `phase7 plan small --budget"
        " 30m` measures it here on a few prompts",
        line,
    )
    patch = ["patch", "--model=model", "--head-spec=0:1", "--output=out/x.pkl"]
    patch += ["--neutral-prompts=data/neutral_prompts.json"]
    patch += ["--emotion-prompts=data/gratitude_prompts.json"]
    assert main([*patch, "--dry-run"]) == 0
    assert re.search(r"^time: about \d+ (s|min) at the speed of ", capsys.readouterr().out, re.M)


# --- what is counted -----------------------------------------------------------------------------


def lines_of(profile: Profile, paths: Paths) -> dict[str, str]:
    """A plan's lines by what they are about."""
    plan = plan_of(profile, paths, Backend(name="serial"))
    return {line.partition(": ")[0].rpartition("/")[2]: line for line in plan.lines}


def test_what_the_store_has_is_not_known_of_heads_that_are_not(tmp_path, monkeypatch):
    """Nor of what is read along the texts of a confirmation with such heads."""
    lines = lines_of(*project_of(tmp_path, monkeypatch, sweep=READ, targets="", more=""))
    assert ", at most " in lines["gratitude confirm"]
    assert ", 0 in the store, " in lines["gratitude shift"]
    assert ", at most " in lines["gratitude shift read-outs"]
    assert lines["total"].startswith("total: at most ")


def test_where_all_heads_are_declared_the_store_is_looked_into(tmp_path, monkeypatch):
    profile, paths = project_of(tmp_path, monkeypatch, sweep=WRITTEN, targets="0:0", more="")
    confirm = dataclasses.replace(profile.confirm, strongest=0, strongest_sets=(), curve=())
    lines = lines_of(dataclasses.replace(profile, confirm=confirm), paths)
    for name in ("confirm", "shift", "shift read-outs"):
        assert ", 0 in the store, " in lines[f"gratitude {name}"]
    assert re.match(r"total: \d", lines["total"])


def test_a_batch_that_two_emotions_share_is_counted_once(tmp_path, monkeypatch):
    """The sweep's with the control's donor, which is no emotion's."""
    profile, paths = project_of(tmp_path, monkeypatch, sweep=WRITTEN, targets="0:0", more="")
    neutral = dataclasses.replace(profile.patching, control="neutral")
    both = dataclasses.replace(profile, emotions=("gratitude", "anger"), patching=neutral)
    lines = lines_of(both, paths)
    n_batches = int(re.search(r"(\d+) batches", lines["anger sweep"])[1])
    assert f" {n_batches // 2} those of a stage above, " in lines["anger sweep"]
    assert "of a stage above" not in lines["gratitude sweep"]
    n_tokens = [int(re.search(r"(\d+) tokens", lines[f"{name} sweep"])[1]) for name in both.emotions]
    assert n_tokens[1] * 2 == n_tokens[0]


def test_a_corrected_gradient_is_counted_as_often_as_it_is_taken(tmp_path, monkeypatch):
    profile, paths = project_of(
        tmp_path, monkeypatch, sweep='text = false\nreadouts = "exact"', targets="", more=SCREEN
    )
    found = {}
    for gradient in ("plain", "dropped", "integrated"):
        screen = dataclasses.replace(profile.screen, gradient=gradient, steps=5)
        stages = stages_of(dataclasses.replace(profile, screen=screen), paths)
        counting = Counting(store=Store(paths.store), root=paths.root)
        found[gradient] = counting.stage(stages[0])[1].gradients
    n_arms = 2 * len(profile.sweep.modes)
    assert found == {"plain": 3, "dropped": 3 * tiny.N_LAYERS, "integrated": 3 * 5 * n_arms}


def test_an_added_difference_without_a_second_donor_is_refused_at_once(tmp_path, monkeypatch, capsys):
    more = ANSWER + 'write = "add"\n'
    parts = PROFILE.format(sweep=READ, targets="", more=more).replace('["neutral", "anger"]', '"none"')
    project_of(tmp_path, monkeypatch, sweep=READ, targets="", more="")
    (tmp_path / "mine.toml").write_text(parts, encoding="utf-8")
    for options in (["--dry-run"], []):
        assert main(["build", "mine.toml", *options]) == 2
        assert "answer.write: expected a donor and a control" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("backend", "dtype"),
    [({"name": "loky", "n_jobs": 2}, "float32"), ({"name": "serial"}, "bfloat16")],
)
def test_nothing_is_guessed_of_what_was_not_measured(tmp_path, monkeypatch, backend, dtype):
    profile, paths = project_of(tmp_path, monkeypatch, sweep=WRITTEN, targets="0:0", more="")
    changed = dataclasses.replace(profile, engine=Engine(dtype=dtype))
    assert plan_of(changed, paths, Backend(**backend)).seconds is None
    assert plan_of(profile, paths, Backend(name="serial")).seconds > 0
