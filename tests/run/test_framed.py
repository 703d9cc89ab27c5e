"""What is measured is what was asked: prompts as models read them, from the command line to the result."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import phase7
from phase7.cli import main
from phase7.engine.model.loading import load_model
from phase7.engine.model.tokens import encode
from phase7.experiment.profile import Confirm, Profile, Sampling
from phase7.experiment.prompts import PromptFiles, PromptSet
from phase7.models.files import find_model
from phase7.models.framing import RAW
from phase7.models.tokenizer import load_tokenizer
from phase7.run.backend import Backend
from phase7.run.framed import dated, framed
from phase7.run.inputs import Prompts
from phase7.run.paths import Paths
from phase7.run.pipeline import Run
from phase7.vocabulary.errors import UserError
from tests import odd_tokenizers as odd
from tests import stages, tiny

NEUTRAL = ["the kettle is on the shelf", "she wrote the number", "buses leave at ten"]
EMOTION = ["thank you so much", "i am grateful for the lift"]
PROMPTS = PromptFiles(neutral="neutral.json", emotion="{emotion}.json")
#: Of models that write an unknown word, and a word with a blank in front of it.
SEEDS = {"by words": 6, "dropping blanks": 1}
MODELS = ("parts", "dated", "thinking", "closing", "by words", "dropping blanks")


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A folder of tiny models, one for each odd tokenizer."""
    folder: Path = tmp_path_factory.mktemp("models")
    for name in (*MODELS, "nul"):
        tokenizer = odd.TOKENIZERS["by words" if name == "nul" else name]()
        model = tiny.hf_model("gpt2", SEEDS.get(name, 0))
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        if name in ("by words", "nul"):  # no end in any file
            model.config.eos_token_id = model.generation_config.eos_token_id = None
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    _with_nul(folder / "nul" / "tokenizer.json")
    return folder


def _with_nul(path: Path) -> None:
    """A NUL character in every other word that no prompt holds."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    used = {word for prompt in (*NEUTRAL, *EMOTION) for word in prompt.split()}
    settings["model"]["vocab"] = {
        word if word in used or i < 1 else f"{word}\0more": i
        for word, i in settings["model"]["vocab"].items()
    }
    path.write_text(json.dumps(settings), encoding="utf-8")


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, prompts in (("neutral", NEUTRAL), ("gratitude", EMOTION)):
        Path(f"{name}.json").write_text(json.dumps({"prompts": prompts}), encoding="utf-8")
    return tmp_path


Measure = Callable[..., dict[str, Any]]


@pytest.fixture
def measure(models, project) -> Measure:
    """Run one head of a model and return its pickle."""

    def run(
        model: str,
        *,
        place: str = "",
        emotion: str = "gratitude",
        prompts: PromptFiles = PROMPTS,
        n: int = 4,
        modes: Any = ("result",),
    ) -> dict[str, Any]:
        folder = project / place
        profile = Profile(
            name="p",
            models=(str(models / model),),
            emotions=(emotion,),
            scorers=("keywords",),
            prompts=prompts,
            sampling=Sampling(max_new_tokens=n, temperature=0.0),
            confirm=Confirm(target_heads="1:2", positive_controls=False, lengths=(), modes=modes),
        )
        folder.mkdir(exist_ok=True)
        paths = Paths(
            root=project,
            store=project / "store",
            effects=folder / "r.nc",
            plots=folder / "plots",
            report=None,
            run_record=folder / "run.json",
            patching=lambda model, emotion: folder / "r.pkl",
        )
        made = Run(profile, paths, show_progress=False, backend=Backend(name="serial"), warn=print)
        outcome = made.execute()
        print("computed", sum(outcome.n_computed.values()))
        found: dict[str, Any] = pickle.loads((folder / "r.pkl").read_bytes())
        return found

    return run


@cache
def plain_model(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()


def greedy(folder: Path, ids: tuple[int, ...], n: int) -> list[int]:
    """The tokens that plain transformers generates."""
    model = plain_model(folder)
    prompt = torch.tensor([ids])
    made = model.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=n, do_sample=False
    )
    return [int(token) for token in made[0, len(ids) :]]


def expected_texts(models: Path, name: str, prompts: list[str], n: int = 4) -> list[list[str]]:
    """Continuations of prompts that are exactly what the model reads."""
    tokenizer = load_tokenizer(models / name)
    texts = []
    for prompt in prompts:
        ids = tuple(tokenizer(prompt, add_special_tokens=False)["input_ids"])
        before, whole = (
            tokenizer.decode(i, skip_special_tokens=True)
            for i in (ids, [*ids, *greedy(models / name, ids, n)])
        )
        texts.append([whole[len(before) :]])
    return texts


# --- the right texts -----------------------------------------------------------------------------


def test_a_template_of_parts_is_given_parts(models, measure):
    got = measure("parts", prompts=replace(PROMPTS, system="be brief"))
    prompts = [f"[system] be brief\n[user] {p}\n[assistant] " for p in NEUTRAL]
    assert got["baseline"]["texts"] == expected_texts(models, "parts", prompts)
    assert got["settings"]["system_message"] == "be brief"


def test_template_arguments_are_given_and_recorded(models, measure):
    got = measure("thinking", prompts=replace(PROMPTS, template=(("enable_thinking", False),)))
    prompts = [f"[user] {p}\n[assistant] <off>" for p in NEUTRAL]
    assert got["baseline"]["texts"] == expected_texts(models, "thinking", prompts)
    assert got["settings"]["template_arguments"] == {"enable_thinking": False}


def test_a_tokenizers_own_end_is_told_and_left_out(models, measure, capsys):
    got = measure("closing")
    assert "ends every text with <|endoftext|>, left out of the prompts" in capsys.readouterr().out
    assert got["baseline"]["texts"] == expected_texts(models, "closing", NEUTRAL)


def test_unknown_words_go_on(models, measure):
    got = measure("by words", n=20)
    model = load_model(find_model(str(models / "by words"), store_root=models))
    assert model.eos_ids == frozenset() and model.tokenizer.eos_token is None
    continued = [greedy(models / "by words", encode(model, prompt, RAW), 20) for prompt in NEUTRAL]
    assert any(0 in new[:-1] for new in continued)  # an unknown word is written, and not at the end
    assert got["baseline"]["texts"] == expected_texts(models, "by words", NEUTRAL, 20)


def test_a_blank_in_front_of_a_text_is_kept(models, measure):
    got = measure("dropping blanks")
    expected = expected_texts(models, "dropping blanks", NEUTRAL)
    assert got["baseline"]["texts"] == expected
    assert any(text.startswith(" ") for (text,) in expected)


# --- days ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_entries_of_two_days_do_not_mix(models, measure, capsys):
    computed = []
    for day, place in ((30, "a"), (31, "b"), (30, "c")):
        got = measure("dated", place=place, prompts=replace(PROMPTS, date=f"2025-01-{day}"))
        computed.append(int(capsys.readouterr().out.split()[-1]))
        opening = f"[system] Today is {day} Jan 2025.\n"
        prompts = [f"{opening}[user] {p}\n[assistant] " for p in NEUTRAL]
        assert got["baseline"]["texts"] == expected_texts(models, "dated", prompts)
        assert got["settings"]["prompt_date"] == f"2025-01-{day}"
        assert got["provenance"]["config"]["prompts"]["date"] == f"2025-01-{day}"
    assert computed[0] == computed[1] > computed[2] == 0


def test_the_day_of_the_run_is_recorded_where_a_template_asks_for_it(models):
    asks, does_not = (
        find_model(str(models / name), store_root=models) for name in ("dated", "thinking")
    )
    assert asks.reads_clock and not does_not.reads_clock
    today = datetime.now().date().isoformat()
    profile = stages.changed("prompts", format="auto")
    assert dated(profile, [does_not, asks]).prompts.date == today
    assert dated(profile, [does_not]) == profile
    assert dated(stages.changed("prompts", format="raw"), [asks]).prompts.date == ""
    given = stages.changed("prompts", date="2001-01-01")
    assert dated(given, [asks]) == given


# --- what is refused, and what is told -----------------------------------------------------------


def prompts_of(neutral: list[str], **emotions: list[str]) -> Prompts:
    def made(name: str, texts: list[str]) -> PromptSet:
        return PromptSet(name=name, path=f"{name}.json", prompts=tuple(texts))

    return Prompts(
        neutral=made("neutral", neutral), emotions={n: made(n, texts) for n, texts in emotions.items()}
    )


def read(models: Path, name: str, prompts: Prompts, **settings: Any) -> tuple[Any, list[str]]:
    told: list[str] = []
    profile = Profile(
        name="p", models=(name,), emotions=tuple(prompts.emotions), prompts=PromptFiles(**settings)
    )
    files = find_model(str(models / name), store_root=models)
    return framed([files], profile, prompts, told.append), told


@pytest.mark.parametrize(
    ("neutral", "emotion"),
    [(["a lamp", "b", "a lamp "], ["c"]), (["a", "b"], ["c ", "d", "c"]), (["a", "b"], ["c", " b"])],
)
def test_prompts_that_the_template_makes_equal_are_refused(models, tmp_path, neutral, emotion):
    odd.templated(odd.NO_SYSTEM).save_pretrained(tmp_path / "trims")
    tiny.hf_model("gpt2").save_pretrained(tmp_path / "trims")
    with pytest.raises(UserError, match="expected prompts that differ in what the model reads") as e:
        read(tmp_path, "trims", prompts_of(neutral, joy=emotion))
    assert "model trims" in e.value.where
    read(models, "thinking", prompts_of(neutral, joy=emotion))  # which keeps blanks


def test_overlap_of_files_is_told(models):
    _, told = read(
        models, "thinking", prompts_of(["a.", "b.", "c."], joy=["c.", "x.", "a."], pride=["x."])
    )
    assert told == [
        "neutral.json (3 prompts) and joy.json (3 prompts) share 2 prompts;"
        " a recipient is left out of its own donors",
        "joy.json (3 prompts) and pride.json (1 prompts) share 1 prompt",
    ]
    assert read(models, "thinking", prompts_of(["a.", "b."], joy=["c."]))[1] == []


@pytest.mark.parametrize(
    ("neutral", "n_open"),
    [
        (["The bus leaves at", "First, then,", "Where is it?"], 2),
        (["バスは十時に", "「はい」と"], 2),
        (["how do i boil an egg", "List them."], 0),  # half of them: a question may lack its mark
        (['"Yes," he said.', "駅はどこですか。", "Why (and how)? ", "Stop!", "So…"], 0),
    ],
)
def test_openings_in_a_chat_template_are_told(models, neutral, n_open):
    prompts = prompts_of(neutral, joy=["so happy that"])
    expected = (
        f"thinking: {n_open} of {len(neutral)} prompts in neutral.json break off; its chat template"
    )
    told = read(models, "thinking", prompts)[1]
    assert [line.startswith(expected) for line in told] == [True] * bool(n_open)
    assert read(models, "thinking", prompts, format="raw")[1] == []


def test_an_argument_that_no_template_reads_is_refused(models):
    with pytest.raises(UserError, match="got enable_thinkin;"):
        read(models, "thinking", prompts_of(["a"], joy=["b"]), template=(("enable_thinkin", False),))


def test_every_prompt_of_a_run_has_its_digest_where_keys_need_them(models):
    (files,), _ = read(models, "parts", prompts_of(["a", "b"], joy=["c"], pride=["d"]))
    assert set(files.tokens) == {"a", "b", "c", "d"} and len(set(files.tokens.values())) == 4
    (plain,), _ = read(models, "thinking", prompts_of(["a", "b"], joy=["c"], pride=["d"]))
    assert plain.tokens == {}


# --- overlap -------------------------------------------------------------------------------------


def test_emotion_prompts_that_are_the_neutral_ones_have_no_net_effect(measure, capsys):
    """Both means then leave out the recipient and are one and the same."""
    Path("same.json").write_text(Path("neutral.json").read_text(encoding="utf-8"), encoding="utf-8")
    got = measure("thinking", emotion="same", modes=("result", "v_only", "pattern_v"))
    assert "share 3 prompts; a recipient is left out" in capsys.readouterr().out
    for cell in got["cells"]:
        emotion, control = (cell["patched_texts"][role] for role in ("emotion", "control"))
        assert emotion == control
        kl = cell["kl_first_token_nats"]
        np.testing.assert_array_equal(kl["emotion"], kl["control"])
        assert (kl["emotion"] > 0).all()  # both do something
    apart = measure("thinking", place="apart", modes=("result", "v_only", "pattern_v"))
    for cell in apart["cells"]:
        kl = cell["kl_first_token_nats"]
        assert (kl["emotion"] != kl["control"]).all()


# --- texts in files ------------------------------------------------------------------------------


def test_a_nul_character_in_a_text_is_the_same_in_every_file(models, measure):
    """In the text itself it is replaced; an effects file would cut the text there."""
    got = measure("nul", n=8)
    tree = phase7.open_effects("r.nc")
    texts = tree["nul/gratitude/texts"].to_dataset()
    assert texts.baseline_text.values.tolist() == got["baseline"]["texts"]
    assert any("\ufffdmore" in text for (text,) in got["baseline"]["texts"])
    patched = texts.patched_text.sel(head_set="1:2", mode="result").values.tolist()
    assert patched == got["cells"][0]["patched_texts"]["emotion"]
    nodes = [node.to_dataset() for node in tree.subtree]
    words = [str(w) for one in nodes if "token" in one.data_vars for w in one.token.values.flat]
    assert any(word.endswith("\ufffdmore") for word in words)


# --- one effects file for each result ------------------------------------------------------------


def patch(model: Path, output: str, *more: str) -> int:
    return main([
        "patch", "--quiet", "--backend=serial", "--model", str(model), "--head-spec=1:2",
        "--neutral-prompts=neutral.json", "--emotion-prompts=gratitude.json", "--scorers=keywords",
        "--max-tokens=2", "--output", output, *more,
    ])  # fmt: skip


@pytest.mark.slow
def test_results_of_one_name_in_two_folders_have_two_effects_files(models, project):
    assert patch(models / "thinking", "a/r.pkl") == 0
    first = Path("a/r.nc").read_bytes()
    assert patch(models / "thinking", "b/r.pkl", "--seed=1", "--temperature=2") == 0
    assert Path("a/r.nc").read_bytes() == first
    texts = {}
    for folder in ("a", "b"):
        found = pickle.loads(Path(folder, "r.pkl").read_bytes())
        stored = phase7.open_effects(f"{folder}/r.nc")["thinking/gratitude/texts"].baseline_text
        texts[folder] = found["baseline"]["texts"]
        assert stored.values.tolist() == texts[folder]
    assert texts["a"] != texts["b"]


@pytest.mark.slow
def test_an_effects_file_that_is_not_the_results_own_is_replaced_by_force_only(models, project, capsys):
    Path("r.nc").write_bytes(b"somebody's")
    before = sorted(os.listdir())
    for more in ((), ("--dry-run",)):
        assert patch(models / "thinking", "r.pkl", *more) == 2
        assert "r.nc: expected no file there, or one that this result's" in capsys.readouterr().err
        assert Path("r.nc").read_bytes() == b"somebody's" and sorted(os.listdir()) == before
    assert patch(models / "thinking", "r.pkl", "--force") == 0
    assert patch(models / "thinking", "r.pkl", "--seed=1") == 0  # its own by now
    assert phase7.open_effects("r.nc").attrs["profile"] == "r"
