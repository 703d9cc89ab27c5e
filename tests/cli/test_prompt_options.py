"""How `patch` is told what surrounds a prompt, what its errors call things, and what terminals can show."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from phase7.cli import main
from phase7.cli.arguments import make_parser
from phase7.cli.commands import _patch_profile
from phase7.experiment.profile import load_profile
from phase7.run.inputs import read_prompts
from phase7.vocabulary.errors import UserError

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("neutral", "joy"):
        Path(f"{name}.json").write_text(json.dumps({"prompts": [name]}), encoding="utf-8")
    Path("model").mkdir()
    config = {"num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 8}
    Path("model", "config.json").write_text(json.dumps(config), encoding="utf-8")
    Path("model", "model.safetensors").write_bytes(b"weights")
    return tmp_path


def arguments(*more: str) -> list[str]:
    return [
        "patch", "--quiet", "--model=model", "--head-spec=0:1", "--neutral-prompts=neutral.json",
        "--emotion-prompts=joy.json", "--output=r.pkl", *more,
    ]  # fmt: skip


def test_flags_say_what_a_profile_says(project):
    flags = (
        "--prompt-format=chat", "--system=Be brief.", "--date=2025-01-31", "--template-argument=a=false",
        "--template-argument", "b=true", "--template-argument=c=12", "--template-argument=d=-0.5",
        "--template-argument=e=1e5", "--template-argument=f==", "--template-argument=g=",
    )  # fmt: skip
    by_flags = _patch_profile(make_parser().parse_args(arguments(*flags))).prompts
    Path("p.toml").write_text(
        'models = ["model"]\nemotions = ["joy"]\n[prompts]\nneutral = "neutral.json"\n'
        'emotion = "joy.json"\nformat = "chat"\nsystem = "Be brief."\ndate = "2025-01-31"\n'
        '[prompts.template]\na = false\nb = true\nc = 12\nd = -0.5\ne = "1e5"\nf = "="\ng = ""\n',
        encoding="utf-8",
    )
    assert load_profile("p.toml", project).prompts == by_flags
    assert by_flags.template[0] == ("a", False) and type(by_flags.template[2][1]) is int


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_profile_may_begin_with_a_byte_order_mark(project, encoding):
    text = 'models = ["model"]\nemotions = ["joy"]\n[prompts]\nsystem = "簡潔に"\n'
    Path("p.toml").write_bytes(text.encode(encoding))
    assert load_profile("p.toml", project).prompts.system == "簡潔に"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("date = 2025-01-31", "date: expected a value of type str"),
        ('date = "31.1.2025"', "expected a day such as 2025-01-31, as text, got '31.1.2025'"),
        ('date = "20250131"', "expected a day such as 2025-01-31, as text, got '20250131'"),
        ("template = 1", "template: expected a table of texts, numbers, true and false"),
        ("[prompts.template]\na = [1]", "template: expected a table of texts, numbers, true and false"),
        ("[prompts.template]\na = nan", "template: expected a table of texts, numbers, true and false"),
    ],
)
def test_what_could_not_be_kept_or_given_is_refused(project, text, told):
    Path("p.toml").write_text(
        f'models = ["model"]\nemotions = ["joy"]\n[prompts]\n{text}\n', encoding="utf-8"
    )
    with pytest.raises(UserError) as caught:
        load_profile("p.toml", project)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("--head-spec=9:9", "--head-spec: expected layers 0-2 and heads 0-3, got '9:9'"),
        ("--head-spec=x", "--head-spec: expected"),
        ("--head-spec= ", "--head-spec: expected a head spec, got an empty one"),
        ("--max-tokens=0", "--max-tokens: expected a number from 1"),
        ("--top-p=0", "--top-p: expected a number above 0"),
        ("--temperature=-1", "--temperature: expected"),
        ("--samples=0", "--samples: expected"),
        ("--n-prompts=-1", "--n-prompts: expected"),
        ("--random-heads=-1", "--random-heads: expected"),
        ("--seed=-1", "--seed: expected"),
        ("--max-rows=2", "--max-rows: expected"),
        ("--date=today", "--date: expected a day such as 2025-01-31"),
        ("--prompt-format=chat", "--prompt-format chat: expected a model with a chat template"),
        ("--template-argument=a", "--template-argument: expected NAME=VALUE, got 'a'"),
        ("--template-argument=a b=1", "--template-argument: expected NAME=VALUE, got 'a b=1'"),
        ("--template-argument=--", "template-argument: expected a value, got '--'"),
        ("--template-argument=a=\0", "template-argument: expected text in UTF-8"),
    ],
)
def test_an_error_names_the_flag(project, capsys, flag, told):
    try:
        code = main(arguments("--dry-run", flag))
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert not any(name in line for name in ("confirm.", "target_heads", "strongest_sets"))


@pytest.mark.parametrize("encoding", ["ascii", "ascii:strict", "cp932", "utf-8"])
def test_a_path_that_the_terminal_cannot_show_is_escaped(project, encoding):
    """As `models fetch` prints a folder's."""
    (project / "model").rename(project / "感謝é")
    done = subprocess.run(
        [sys.executable, "-m", "phase7", "models", "fetch", "./感謝é"],
        env={
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONIOENCODING": encoding,
            "PYTHONUTF8": "1",
        },
        capture_output=True,
        check=False,
    )
    assert done.stderr == b"" and done.returncode == 0
    code = encoding.partition(":")[0]
    shown = "感謝é: 感謝é".encode(code, "backslashreplace")
    assert done.stdout.startswith(shown + b" (fingerprint")


def test_prompts_of_a_table_need_their_column_and_are_paired_by_scenario(tmp_path):
    rows = {"plain": ("one,1", "two,2"), "joy": ("B,2", "A,1")}
    for name, lines in rows.items():
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,topic", *lines]), encoding="utf-8")
    command = ["patch", "--head-spec", "0:0", "--output", "r.pkl"]
    command += ["--neutral-prompts", str(tmp_path / "plain.csv")]
    command += ["--emotion-prompts", str(tmp_path / "joy.csv")]
    named = [*command, "--prompt-column", "text", "--scenario-column", "topic"]
    profile = _patch_profile(make_parser().parse_args(named))
    assert profile.emotions == ("joy",) and profile.confirm.positive_controls
    read = read_prompts(
        replace(profile, prompts=replace(profile.prompts, emotion=str(tmp_path / "{emotion}.csv"))),
        tmp_path,
    )
    assert read.neutral.prompts == ("one", "two") and read.emotions["joy"].prompts == ("A", "B")
    with pytest.raises(UserError, match="without the name of the prompts' column"):
        _patch_profile(make_parser().parse_args(command))
    left_out = make_parser().parse_args([*named, "--no-positive-controls"])
    assert _patch_profile(left_out).confirm.positive_controls is False


def test_the_store_may_stand_in_the_environment(monkeypatch):
    monkeypatch.delenv("PHASE7_STORE", raising=False)
    assert make_parser().parse_args(["build"]).store == Path("store")
    monkeypatch.setenv("PHASE7_STORE", "/elsewhere")
    assert make_parser().parse_args(["build"]).store == Path("/elsewhere")
    assert make_parser().parse_args(["build", "--store", "here"]).store == Path("here")
