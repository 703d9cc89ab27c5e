"""The command line: help, listings, and one line with exit code 2 for every mistake."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
from safetensors.torch import load_file, save_file

import phase7
from phase7.cli import main
from phase7.cli.arguments import make_parser
from phase7.models.registry import REGISTRY
from phase7.scoring.choose import choose_scorers
from phase7.store import Store
from phase7.vocabulary.errors import UserError, or_meant
from tests import tiny

REPOSITORY = Path(__file__).parents[2]
COMMANDS = ("build", "patch", "report", "models", "store")
PROFILE = 'models = ["model"]\nemotions = ["gratitude"]\nscorers = ["vader", "keywords"]\n'
SMALL = (
    "[sampling]\nmax_new_tokens = 2\n[confirm]\ntarget_heads = '0:1'\nmodes = ['result']\nlengths = []\n"
)
ESCAPE = "\x1b[31mred\x07\x9b0m\u202e"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a tiny model, prompts, keywords and profiles; tests change copies."""
    folder = tmp_path_factory.mktemp("project") / "made"
    (folder / "data" / "profiles").mkdir(parents=True)
    for name, prompts in (
        (
            "neutral",
            ["The kettle is on the second shelf, beside", "She wrote the number on a card"],
        ),
        ("gratitude", ["Thank you so much, I am grateful", "I am so grateful for the lift"]),
    ):
        path = folder / "data" / f"{name}_prompts.json"
        path.write_text(json.dumps({"prompts": prompts}), encoding="utf-8")
    shutil.copy(REPOSITORY / "data" / "keywords.toml", folder / "data" / "keywords.toml")
    (folder / "data" / "profiles" / "small.toml").write_text(PROFILE + SMALL, encoding="utf-8")
    tiny.save("gpt2", folder / "model")
    return folder


@pytest.fixture
def project(made, tmp_path, monkeypatch):
    """A copy as the current directory, on a machine without network and with an empty hub cache."""

    def no_network(*args, **kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", no_network)
    folder = Path(shutil.copytree(made, tmp_path / "project"))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def phase7_command(capsys):
    """Run a command in this process: exit code, stdout, stderr."""
    handler = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main(arguments)
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    yield run
    signal.signal(signal.SIGTERM, handler)


def patch(**changes: str | None) -> list[str]:
    """Arguments of a `patch` that works, with some changed or (None) left out."""
    options = {
        "model": "model",
        "head_spec": "0:1",
        "neutral_prompts": "data/neutral_prompts.json",
        "emotion_prompts": "data/gratitude_prompts.json",
        "output": "out/x.pkl",
        "max_tokens": "2",
        "scorers": "vader,keywords",
        "lang": "en",
    } | changes
    flags = [(f"--{name.replace('_', '-')}", value) for name, value in options.items()]
    return ["patch", "--quiet", *(f"{flag}={value}" for flag, value in flags if value is not None)]


# --- what works --------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_exits_with_0_and_names_it(phase7_command, command):
    code, out, err = phase7_command(command, "--help")
    assert (code, err) == (0, "")
    assert f"phase7 {command}" in out


def test_help_lists_the_commands_and_version_prints_the_packages(phase7_command):
    code, out, _ = phase7_command("--help")
    assert code == 0
    assert all(command in out for command in COMMANDS)
    assert phase7_command("--version") == (0, f"phase7 {phase7.__version__}\n", "")


def test_the_arguments_that_the_mistakes_below_change_do_work(phase7_command, project):
    """Liveness of every refusal below: the same commands without the mistake exit with 0."""
    code, out, err = phase7_command(*patch())
    assert (code, err) == (0, "")
    assert "wrote out/x.pkl" in out
    assert (project / "out" / "x.pkl").is_file()
    code, out, err = phase7_command("build", "small", "--dry-run")
    assert (code, err) == (0, "")
    assert "total: " in out
    code, out, err = phase7_command("store", "prune", "--older-than-days", "1")
    assert (code, out, err) == (0, "freed 0.0 MB\n", "")


def test_models_lists_every_known_model_and_whether_it_is_here(phase7_command, project):
    code, out, err = phase7_command("models")
    assert (code, err) == (0, "")
    rows = {line.split()[0]: line for line in out.splitlines()}
    for name, spec in REGISTRY.items():
        assert spec.location in rows[name]
        assert spec.architecture in rows[name]
        assert f"{spec.download_bytes / 1e6:.0f} MB  no " in rows[name]
    assert phase7_command("models", "list") == (code, out, err)


def test_models_fetch_says_where_a_folder_lies_and_its_fingerprint(phase7_command, project):
    code, out, err = phase7_command("models", "fetch", "model")
    assert (code, err) == (0, "")
    assert out.startswith("model: model (fingerprint ")


def test_store_prints_sizes_entries_damage_and_what_prune_freed(phase7_command, project):
    store = Store(project / "store")
    for n in range(3):
        store.get("generation", {"n": n}, lambda: list(range(1000)))
    paths = [entry.path for entry in store.entries()]

    code, out, err = phase7_command("store")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split()[:3] == ["generation", "3", "entries"]
    code, out, _ = phase7_command("store", "entries")
    assert code == 0
    assert all(str(path.relative_to(project)) in out for path in paths)
    assert phase7_command("store", "verify") == (0, "3 entries, 0 damaged\n", "")

    paths[1].write_bytes(paths[1].read_bytes()[:-1])
    code, out, err = phase7_command("store", "verify")
    assert (code, err) == (1, "")
    assert out.startswith(str(paths[1].relative_to(project)))
    assert out.endswith("3 entries, 1 damaged\n")

    assert phase7_command("store", "prune", "--stage", "capture") == (0, "freed 0.0 MB\n", "")
    assert all(path.exists() for path in paths)
    assert phase7_command("store", "prune", "--stage", "generation")[0] == 0
    assert not any(path.exists() for path in paths)


# --- mistakes ----------------------------------------------------------------------------------

MISTAKES = {
    "no command": [],
    "unknown command": ["frobnicate"],
    "unknown option": ["models", "--frobnicate"],
    "one argument too many": ["store", "size", "and more"],
    "unknown profile": ["build", "nope"],
    "profile is a folder": ["build", "folder.toml"],
    "profile is no TOML": ["build", "broken.toml"],
    "unknown key in the profile": ["build", "key.toml"],
    "profile without prompts": ["build", "prompts.toml"],
    "profile with unknown model": ["build", "model.toml"],
    "profile with two models of one name": ["build", "same.toml"],
    "profile with bad heads": ["build", "heads.toml", "--dry-run"],
    "profile with unknown scorer": ["build", "scorer.toml"],
    "bad language": ["build", "small", "--lang", "fr"],
    "required options missing": ["patch"],
    "neutral prompts missing": patch(neutral_prompts="none.json"),
    "emotion prompts missing": patch(emotion_prompts="none.json"),
    "prompts are a folder": patch(neutral_prompts="data"),
    "prompts are no JSON": patch(emotion_prompts="broken.toml"),
    "head spec of another form": patch(head_spec="3;5"),
    "head that the model lacks": patch(head_spec="99:0"),
    "no head": patch(head_spec=""),
    "tokens are no number": patch(max_tokens="many"),
    "tokens are no whole number": patch(max_tokens="2.5"),
    "no tokens": patch(max_tokens="0"),
    "more tokens than the context holds": patch(max_tokens="99"),
    "temperature is NaN": patch(temperature="nan"),
    "temperature is infinite": patch(temperature="inf"),
    "temperature is negative": patch(temperature="-1"),
    "top-p is 0": patch(top_p="0"),
    "top-p above 1": patch(top_p="1.5"),
    "seed is negative": patch(seed="-1"),
    "seed is enormous": patch(seed="9" * 400),
    "no samples": patch(samples="0"),
    "negative number of prompts": patch(n_prompts="-1"),
    "too few rows": patch(max_rows="2"),
    "rows for no patch": patch(max_rows="8", samples="4"),
    "unknown mode": patch(patch_mode="value"),
    "unknown donor": patch(donor="median"),
    "unknown device": patch(device="abacus"),
    "unknown scorer": patch(scorers="bert"),
    "scorer twice": patch(scorers="vader,vader"),
    "unknown model": patch(model="gpt3"),
    "mistyped model folder": patch(model="../modell"),
    "hub not reached": patch(model="gpt2"),
    "very long model name": patch(model="m" * 5000),
    "chat without a template": patch(prompt_format="chat"),
    "output is a folder": patch(output="data"),
    "output is a folder with the right ending": patch(output="folder.pkl"),
    "output is no pickle": patch(output="out/x.csv"),
    "output below a file": patch(output="broken.toml/x.pkl"),
    "store is a file": patch(store="broken.toml"),
    "report is a folder": patch(report="data"),
    "effects missing": ["report", "none.nc"],
    "effects are a folder": ["report", "data"],
    "effects are no netCDF": ["report", "broken.toml"],
    "fetch nothing": ["models", "fetch"],
    "fetch an unknown model": ["models", "fetch", "gpt3"],
    "unknown action of models": ["models", "delete"],
    "unknown action of store": ["store", "clear"],
    "days are no number": ["store", "prune", "--older-than-days", "week"],
    "days are NaN": ["store", "prune", "--older-than-days", "nan"],
}


@pytest.mark.parametrize("arguments", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_on_stderr_and_exit_code_2(phase7_command, project, arguments):
    (project / "folder.toml").mkdir()
    (project / "folder.pkl").mkdir()
    (project / "broken.toml").write_text("models = [", encoding="utf-8")
    (project / "other").mkdir()
    (project / "other" / "model").symlink_to(project / "model")
    for name, text in {
        "key": PROFILE + "modles = 1",
        "prompts": PROFILE + "[prompts]\nneutral = 'none.json'",
        "model": PROFILE.replace('"model"', '"nowhere"'),
        "same": PROFILE.replace('"model"', '"model", "other/model"') + SMALL,
        "heads": PROFILE + "[confirm]\ntarget_heads = '0:99'",
        "scorer": PROFILE.replace('"vader"', '"bert"') + SMALL,
    }.items():
        (project / f"{name}.toml").write_text(text, encoding="utf-8")
    code, out, err = phase7_command(*arguments)
    assert code == 2
    assert err.startswith("phase7")
    assert ": error: " in err.partition("\n")[0]
    assert err.endswith("\n")
    assert len(err.splitlines()) == 1, err
    assert "Traceback" not in err
    assert out == ""


def test_a_mistake_leaves_no_output_and_no_result(phase7_command, project):
    assert phase7_command(*patch(scorers="bert"))[0] == 2
    assert phase7_command(*patch(output="data"))[0] == 2
    assert not list(project.rglob("*.pkl"))
    assert not list(project.rglob("*.nc"))


def test_a_model_that_gives_no_numbers_is_one_line_and_nothing_is_stored(phase7_command, project):
    path = project / "model" / "model.safetensors"
    weights = load_file(path)
    weights["transformer.h.1.mlp.c_proj.bias"][3] = float("nan")
    save_file(weights, path, metadata={"format": "pt"})
    code, out, err = phase7_command(*patch())
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "NaN or infinity in the weight transformer.h.1.mlp.c_proj.bias" in err
    assert not list(project.rglob("store/memo/*/*/*.safetensors"))
    assert not list(project.rglob("*.pkl")) + list(project.rglob("*.nc"))
    tiny.save("gpt2", project / "model")  # liveness: a whole one leaves both
    assert phase7_command(*patch())[0] == 0
    assert list(project.rglob("store/memo/*/*/*.safetensors"))
    assert list(project.rglob("*.pkl"))


def test_a_mistake_in_a_subprocess_has_the_same_code_and_no_traceback(project):
    done = subprocess.run(
        [sys.executable, "-m", "phase7", "build", "nope"],
        capture_output=True, text=True, check=False, env={"PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("phase7: error: data/profiles/nope.toml: expected a readable profile")
    assert len(done.stderr.splitlines()) == 1


# --- the terminal ------------------------------------------------------------------------------


def assert_harmless(text: str) -> None:
    assert [c for c in text if not c.isprintable() and c != "\n"] == []


@pytest.mark.parametrize(
    "arguments",
    [
        [ESCAPE],
        ["models", f"--{ESCAPE}"],
        ["build", ESCAPE],
        ["build", "small", f"--{ESCAPE}"],
        ["models", "fetch", ESCAPE],
        ["models", "fetch", "x", ESCAPE],
        ["store", ESCAPE],
        ["report", ESCAPE],
        patch(head_spec=ESCAPE),
        patch(model=ESCAPE),
        patch(neutral_prompts=ESCAPE),
        patch(max_tokens=ESCAPE),
        patch(scorers=ESCAPE),
        patch(device=ESCAPE),
        patch(output=f"{ESCAPE}.csv"),
        patch(store=f"data/keywords.toml/{ESCAPE}"),
    ],
    ids=lambda arguments: " ".join(arguments).encode("unicode_escape").decode()[:60],
)
def test_control_characters_of_a_mistake_do_not_reach_the_terminal(phase7_command, project, arguments):
    code, out, err = phase7_command(*arguments)
    assert code == 2
    assert_harmless(out + err)
    assert "red" in err
    assert len(err.splitlines()) == 1


def test_control_characters_of_paths_that_work_do_not_reach_the_terminal(phase7_command, project):
    store = f"store{ESCAPE}"
    arguments = patch(output=f"out{ESCAPE}/x{ESCAPE}.pkl", store=store)
    arguments.remove("--quiet")
    code, out, err = phase7_command(*arguments)
    assert code == 0
    assert "red" in out
    assert_harmless(out)
    assert_harmless("\n".join(line for line in err.split("\n") if line.startswith("phase7:")))
    for action in ("entries", "verify"):
        entry = next(iter(Store(project / store).entries())).path
        entry.write_bytes(b"damaged")
        code, out, err = phase7_command("store", action, "--store", store)
        assert code == (1 if action == "verify" else 0)
        assert "red" in out
        assert_harmless(out + err)


@pytest.mark.parametrize("name", [f"model{ESCAPE}", ".model", "-model", "(model)", "model ", "a model"])
@pytest.mark.parametrize("what", ["model", "emotion"])
def test_a_file_name_that_the_effects_file_cannot_hold_is_made_one_that_it_can(
    phase7_command, project, name, what
):
    if what == "model":
        (project / "model").rename(project / name)
        arguments = patch(model=name)
    else:
        (project / "data" / "gratitude_prompts.json").rename(project / "data" / f"{name}.json")
        arguments = patch(emotion_prompts=f"data/{name}.json")
    code, out, _ = phase7_command(*arguments)
    assert code == 0
    assert_harmless(out)
    tree = phase7.open_effects(project / "out" / "x.nc")
    (group,) = (node.path for node in tree.subtree if node.path.count("/") == 2)
    assert_harmless(group)
    assert "model" in group.split("/")[1 if what == "model" else 2]


def test_names_that_are_no_unicode_are_told_without_a_traceback(project):
    done = subprocess.run(
        [sys.executable.encode(), b"-m", b"phase7", b"build", b"caf\xe9"],
        capture_output=True, check=False, env={"PYTHONPATH": str(REPOSITORY), "PYTHONUTF8": "1"},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"caf" in done.stderr


def test_what_is_said_in_japanese_stays_readable(phase7_command, project):
    code, _, err = phase7_command("build", "感謝")
    assert code == 2
    assert "感謝" in err


# --- weight ------------------------------------------------------------------------------------


def test_importing_the_command_line_loads_no_heavy_library():
    heavy = ("torch", "transformers", "transformer_lens", "numpy", "xarray", "matplotlib", "joblib")
    code = (
        "import sys, phase7.cli\n"
        "try: phase7.cli.main(['patch', '--help'])\n"
        "except SystemExit: pass\n"
        f"print('loaded:', sorted(set(sys.modules) & set({heavy!r})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert done.stdout.endswith("loaded: []\n")


def test_an_error_that_cannot_be_written_still_gives_its_exit_code(monkeypatch):
    class Full:
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

        flush = write

    monkeypatch.setattr(sys, "stderr", Full())
    assert main(["models", "fetch"]) == 2


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_while_a_string_is_executed_gives_the_conventional_code(tmp_path, name):
    """As while torch defines its dataclasses: `python -m` must not kill itself at its end."""
    (tmp_path / "signalled.py").write_text(
        "import phase7.cli\n"
        "def run(argv):\n"
        f"    exec('import os, signal; os.kill(os.getpid(), signal.{name})')\n"
        "phase7.cli._run = run\n"
        "phase7.cli.command()\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "signalled"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 128 + getattr(signal, name)
    assert done.stderr == (
        "phase7: stopped; finished entries are kept, run the same command again to continue\n"
    )


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["build", "quickstar"], "did you mean quickstart? else name one of these profiles"),
        (["build", "typo.toml"], "expected one of the keys"),
        (["build", "typo.toml"], "got 'emotionz'; did you mean emotions? else remove or rename the key"),
        (["models", "fetch", "SmolM2"], "did you mean smollm2? else see `phase7 models`"),
        (["build", "--report=r.pdf"], "r.pdf: expected a report that ends in .md or .html, got '.pdf'"),
        (["report", "--output=r.pdf"], "r.pdf: expected a report"),
    ],
)
def test_a_near_miss_is_told(command, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "typo.toml").write_text('models = ["gpt2"]\nemotionz = ["gratitude"]\n')
    assert main(command) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert told in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["typo.toml"]


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["biuld"], "did you mean build? else see phase7 --help"),
        (patch(head_spec=None, head_spc="0:1"), "arguments: --head-spc (did you mean --head-spec? else"),
        (["build", "--dry-rum"], "did you mean --dry-run? else see phase7 build --help"),
        (["store", "prun"], "did you mean prune? else see phase7 store --help"),
        (["build", "--jobs", "1.5"], "expected 1 to 4096 batches at once, got '1.5'"),
        (["store", "prune", "--older-than-days", "x"], "expected 0 to 1,000,000 days, got 'x'"),
        (["plan", "--effect", "0"], "expected a positive number, got '0'"),
        (["store", "size", "more"], "unrecognized arguments: more (see phase7 store --help)"),
    ],
)
def test_a_near_miss_of_an_option_is_told(phase7_command, command, told):
    code, out, err = phase7_command(*command)
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert told in err and "_days" not in err and "_jobs" not in err


def test_a_device_that_is_not_here_is_refused_before_the_model_is_fetched(
    phase7_command, project, monkeypatch
):
    monkeypatch.setattr("subprocess.run", None)  # what would fetch SmolLM2
    code, _, err = phase7_command(*patch(model="smollm2", device="cuda:99"))
    assert code == 2 and err.count("\n") == 1
    assert "--device: expected a device that torch has here, such as cpu, got 'cuda:99'" in err
    assert not (project / "store" / "models").exists()


def test_nothing_is_meant_by_what_is_like_nothing():
    assert or_meant("xyzzy", ["gratitude", "anger"], "see the list") == "see the list"
    with pytest.raises(UserError, match=r"did you mean embedded\? else correct the name"):
        choose_scorers(("embeded",), root=Path(), store_root=Path("store"))
    assert or_meant("Angre", ["gratitude", "anger"], "x") == "did you mean anger? else x"


def test_every_option_has_its_help():
    """Of all commands; `--lang` and others say more than their name."""
    parser = make_parser()
    (commands,) = (action for action in parser._actions if isinstance(action.choices, dict))
    for name, command in commands.choices.items():
        for action in command._actions:
            assert action.help or action.choices, (name, action.dest)
