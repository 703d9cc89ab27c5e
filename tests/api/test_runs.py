"""A patch from Python is the command's, to the bit, and a changed model in memory is another model."""

from __future__ import annotations

import json

import pandas
import pytest
import torch

import phase7
from phase7.api.prompts import as_prompts
from phase7.cli import main
from phase7.store import Store
from phase7.vocabulary.errors import UserError
from tests import tiny
from tests.run.small_project import EMOTION, NEUTRAL

SAMPLING = {"max_new_tokens": 3, "samples": 2, "seed": 3}
QUICK = {
    "sampling": SAMPLING, "scorers": ["keywords"], "progress": False, "max_rows": 32,
    "positive_controls": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.save("llama", tmp_path_factory.mktemp("made") / "model")


@pytest.fixture(scope="module")
def model(folder):
    return phase7.load_model(folder)


def numbers(tree):
    """The effects without what tells when and where they were made."""
    whole = tree.copy()
    whole.attrs = {}
    return whole


def test_the_command_gives_the_same_numbers(folder, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, prompts in (("neutral", NEUTRAL[:3]), ("gratitude", EMOTION)):
        (tmp_path / f"{name}_prompts.json").write_text(json.dumps({"prompts": prompts}))
    command = (
        f"patch --model {folder} --neutral-prompts neutral_prompts.json --emotion-prompts"
        " gratitude_prompts.json --head-spec 0:1,2:3 --output out.pkl --max-tokens 3"
        " --samples 2 --seed 3 --scorers keywords --max-rows 32 --readout words:the"
        " --no-positive-controls --quiet"
    )
    assert main(command.split()) == 0
    made = phase7.patch(
        model,
        [(2, 3), (0, 1)],
        emotion=EMOTION,
        neutral=NEUTRAL[:3],
        readouts=["words:the"],
        name="gratitude",
        **QUICK,
    )
    there = phase7.open_effects("out.nc")
    assert numbers(made).identical(numbers(there))
    assert sorted(made["model/gratitude"].children) == sorted(there["model/gratitude"].children)
    assert "texts" in made["model/gratitude"].children
    one, other = (tree["model/gratitude"].to_dataset() for tree in (made, there))
    other["kl_first_token"] = other["kl_first_token"] * (1 + 1e-15)
    assert not one.identical(other)  # liveness


def test_nothing_is_written_without_a_store_and_with_one_nothing_is_computed_twice(
    model, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    asked = {"emotion": EMOTION, "neutral": NEUTRAL[:3], **QUICK}
    first = phase7.patch(model, "1:2", **asked)
    assert list(tmp_path.iterdir()) == []
    again = phase7.patch(model, "1:2", store="kept", **asked)
    n = len(list(Store(tmp_path / "kept").entries()))
    monkeypatch.setattr("phase7.engine.decode.loop.RunningBatch", None)  # whoever generates fails
    assert numbers(phase7.patch(model, "1:2", store="kept", **asked)).identical(numbers(again))
    assert (
        numbers(first).identical(numbers(again))
        and n == len(list(Store(tmp_path / "kept").entries())) > 0
    )
    with pytest.raises(TypeError):
        phase7.patch(model, "1:3", store="kept", **asked)  # liveness


def test_a_model_changed_in_memory_is_patched_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hf, tokenizer = tiny.hf_model("llama"), tiny.tokenizer()
    model = phase7.load_model(hf, tokenizer, name="tiny")
    asked = {"emotion": EMOTION, "neutral": NEUTRAL[:3], "store": "kept", **QUICK}
    before = phase7.patch(model, "1:2", **asked)
    store = Store(tmp_path / "kept")
    kept = {str(entry.path) for entry in store.entries() if entry.stage in ("capture", "generation")}
    hf.model.layers[0].self_attn.o_proj.weight.data[0, 0] = 0  # past torch's own count of changes
    after = phase7.patch(model, "1:2", **asked)
    both = {str(entry.path) for entry in store.entries() if entry.stage in ("capture", "generation")}
    assert len(both) == 2 * len(kept)  # no entry is shared
    fresh = phase7.load_model(hf, tokenizer, name="tiny")
    assert fresh.fingerprint == model.fingerprint
    with torch.no_grad():
        tokens = torch.tensor([model.encode(NEUTRAL[0])])
        torch.testing.assert_close(model.bridge(tokens), hf(tokens).logits, atol=1e-4, rtol=1e-4)
    name = "tiny/emotion"
    first = [one[name].dataset.kl_first_token.values for one in (before, after)]
    assert (first[0] != first[1]).any()
    hf.model.layers[0].mlp.up_proj.weight.data[1, 1] += 1
    assert phase7.load_model(hf, tokenizer).fingerprint != fresh.fingerprint


def test_prompts_in_memory_of_every_kind(tmp_path):
    path = tmp_path / "thanks_prompts.json"
    path.write_text(json.dumps({"prompts": EMOTION}))
    columns = {"text": EMOTION, "topic": ["a", "b", "c"]}
    tables = [pandas.DataFrame(columns), pytest.importorskip("datasets").Dataset.from_dict(columns)]
    for table in tables:
        found = as_prompts(table, "joy", "text", "topic")
        assert (found.name, found.prompts) == ("joy", tuple(EMOTION))
        assert found.scenarios == ("a", "b", "c")
        with pytest.raises(UserError, match="expected the name of one of the columns text, topic"):
            as_prompts(table, "joy")
        with pytest.raises(UserError, match="got 'words'"):
            as_prompts(table, "joy", "words")
    assert as_prompts(iter(EMOTION), "joy").prompts == as_prompts(path, "").prompts == tuple(EMOTION)
    assert as_prompts(path, "joy").name == "thanks"


@pytest.mark.slow
def test_a_sweep_searches_and_tests_the_strongest(model):
    tree = phase7.sweep(
        model,
        emotion=EMOTION,
        neutral=NEUTRAL[:4],
        search={"text": False, "readouts": "attribution", "checked_heads": 0},
        test={"target_heads": "", "strongest": 2, "strongest_sets": [2], "modes": ["result"],
              "positive_controls": False},
        statistics={"selection_metrics": ["logodds_words"], "resamples": 200},
        readouts=["words:the"],
        sampling=SAMPLING, scorers=["keywords"], progress=False,
    )  # fmt: skip
    group = tree["model/emotion"]
    assert len(group.phase7.top_heads("logodds_words")) == 2
    assert len(group["sweep"].phase7.top_heads("logodds_words", 100)) == 12
    assert group["head_sets"].sizes["head_set"] == 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"heads": "9:0"}, "head"),
        ({"emotion": []}, "an empty list"),
        ({"emotion": ["a", "a"]}, "the same prompt at index 0 and 1"),
        ({"emotion": [1]}, "something other than texts"),
        ({"emotion": 3}, "something other than texts"),
        ({"donor": "joy"}, "patch: donor: expected one of mean"),
        ({"modes": "result"}, "patch: modes: expected a list"),
        ({"sampling": {"max_tokens": 3}}, "sampling: expected one of the keys"),
        ({"sampling": {"seed": -1}}, "sampling: seed"),
        ({"readouts": ["joy"]}, "readouts: expected words:"),
        ({"scorers": ["joy"]}, "scorers: expected some of"),
        ({"columns": ("text", "")}, None),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_line(model, wrong, said):
    asked = {"heads": "1:2", "emotion": EMOTION[:2], "neutral": NEUTRAL[:2], **QUICK} | wrong
    if said is None:
        asked["emotion"] = "no/such/file.json"
        said = "a file that cannot be read"
    with pytest.raises(UserError, match=said):
        phase7.patch(model, asked.pop("heads"), **asked)


def test_what_is_no_model_is_refused_in_a_line(tmp_path):
    hf, tokenizer = tiny.hf_model("gpt2"), tiny.tokenizer()
    for given, said in (
        ((hf,), "and no tokenizer"),
        ((3, tokenizer), "got int"),
        (("no-such-model",), "expected a known model"),
    ):
        with pytest.raises(UserError, match=said):
            phase7.load_model(*given)
    with pytest.raises(UserError, match=r"expected the dtype that the model has \(float32\)"):
        phase7.load_model(hf, tokenizer, dtype="bfloat16")
    with pytest.raises(UserError, match="dtype of the model"):
        phase7.load_model(hf.half(), tokenizer)
    with torch.no_grad():
        hf.float().transformer.h[0].attn.c_proj.weight[0, 0] = float("nan")
    with pytest.raises(UserError, match="NaN or infinity in the weight"):
        phase7.load_model(hf, tokenizer)


def test_a_model_tells_what_it_is(model):
    assert repr(model).startswith(
        "<phase7 model model: 3 layers of 4 heads, float32 on cpu, from folder"
    )
    assert model.fingerprint[:16] in model._repr_html_()
    assert model.generate("The kettle", SAMPLING) == model.generate(
        "The kettle", phase7.Sampling(**SAMPLING)
    )
