"""Texts of heads that were only swept: in the effects file, wherever it lies, and shown from there."""

from __future__ import annotations

import re
import shutil

import netCDF4
import numpy as np
import pytest
import xarray as xr
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

import phase7
from phase7.effects.file import write_effects
from phase7.report import render_html
from phase7.vocabulary.errors import UserError
from tests import tiny

pytestmark = pytest.mark.slow

GROUP = "model/gratitude"
N_SWEPT = tiny.N_LAYERS * tiny.N_HEADS  # the tiny model's heads


@pytest.fixture
def elsewhere(built, tmp_path):
    """The tree of the effects file alone, far from its store."""
    return phase7.open_effects(shutil.copy(built / "store/effects/small.nc", tmp_path / "copied.nc"))


def test_every_swept_head_has_the_texts_that_its_scores_are_of(elsewhere):
    """VADER, asked here about each text, gives the sweep's numbers."""
    sweep, analyzer = elsewhere[f"{GROUP}/sweep"], SentimentIntensityAnalyzer()

    def positive(texts: list[str]) -> float:
        return float(np.mean([analyzer.polarity_scores(text)["pos"] for text in texts]))

    texts, differing = sweep["texts"].to_dataset(), 0
    assert texts.sizes["head_set"] == N_SWEPT
    scores = sweep.to_dataset().sel(metric="sentiment_positive", mode="result")
    for label in texts["head_set"].values:
        layer, head = map(int, label.split(":"))
        pairs = elsewhere[f"{GROUP}/sweep"].phase7.texts(label)
        assert {pair.mode for pair in pairs} == {"result"}
        by_prompt = {}
        for pair in pairs:
            by_prompt.setdefault(pair.prompt, []).append(pair)
        assert len(by_prompt) == 2
        own = scores.sel(layer=layer, head=head)
        for prompt, some in by_prompt.items():
            at = own.isel(prompt=list(own["prompt_text"].values).index(prompt))
            assert positive([one.patched for one in some]) == pytest.approx(float(at["patched"]))
            assert positive([one.control for one in some]) == pytest.approx(float(at["control_patched"]))
            assert positive([one.baseline for one in some]) == pytest.approx(float(at["baseline"]))
            differing += sum(one.patched != one.baseline for one in some)
    assert differing > N_SWEPT


def test_a_group_answers_for_its_swept_heads_and_first_for_the_confirmed(elsewhere):
    group = elsewhere[GROUP]
    confirmed = set(map(str, group["texts"]["head_set"].values))
    swept = sorted(set(map(str, group["sweep/texts"]["head_set"].values)) - confirmed)
    assert swept and confirmed
    own = group.phase7.texts(swept[0])
    assert own.to_dataframe().equals(group["sweep"].phase7.texts(swept[0]).to_dataframe())
    both = next(label for label in confirmed if "," not in label)
    splits = {}
    for where, node in (("confirmation", group), ("discovery", group["sweep"])):
        prompts = {pair.prompt for pair in node.phase7.texts(both, "result")}
        known = group.to_dataset()
        split = known["split"].values[np.isin(known["prompt_text"].values, list(prompts))]
        splits[where] = set(split)
    assert splits == {"confirmation": {"confirmation"}, "discovery": {"discovery"}}
    with pytest.raises(UserError, match="one of the modes result, got 'v_only'"):
        group.phase7.texts(swept[0], "v_only")
    with pytest.raises(UserError, match="heads with texts"):
        group.phase7.texts("9:9")


def test_was_generated_tells_what_the_sweep_wrote(elsewhere):
    texts = elsewhere[f"{GROUP}/sweep/texts"].to_dataset()
    wanted = (texts["mode"] == "result") & (texts["split"] == "discovery")
    assert (texts["was_generated"].astype(bool) == wanted).all()
    assert 0 < int(wanted.sum()) < wanted.size
    empty = texts["patched_text"].where(~texts["was_generated"].astype(bool), "")
    assert (empty == "").all()


def test_plain_xarray_reads_them_as_strings(built):
    with xr.open_datatree(built / "store/effects/small.nc") as tree:
        text = tree[f"{GROUP}/sweep/texts"]["patched_text"].sel(head_set="0:0", mode="result").load()
    assert all(isinstance(one, str) for one in text.values.ravel())
    assert any(text.values.ravel())


def test_strange_texts_come_back_and_many_take_little_space(elsewhere, tmp_path):
    """The long one makes all others take its room, which the compression takes away again."""
    strange = ["", " ", "ありがとう \u2028 🙂", "x " * 3000, "a\nb\r\n", "\ufffd"]
    node = elsewhere[f"{GROUP}/sweep/texts"]
    values = node["patched_text"].values
    values[0, 0].flat[: len(strange)] = strange
    node["patched_text"].values = values
    write_effects(elsewhere, tmp_path / "strange.nc")
    again = phase7.open_effects(tmp_path / "strange.nc")[f"{GROUP}/sweep/texts"]["patched_text"]
    assert again.values.tolist() == values.tolist()
    with netCDF4.Dataset(tmp_path / "strange.nc") as file:
        written = file[f"{GROUP}/sweep/texts/patched_text"]
        assert written.dtype == "S1"
        assert written.filters()["zlib"]
        n_characters = written.size
    assert n_characters > 1_000_000
    assert (tmp_path / "strange.nc").stat().st_size < n_characters / 2


def test_a_metric_of_ones_own_is_measured_on_swept_heads(elsewhere):
    sweep = elsewhere[f"{GROUP}/sweep"]
    made = sweep.phase7.measure("n_characters", len)
    assert dict(made.sizes)["head_set"] == N_SWEPT
    pairs = sweep.phase7.texts("2:1")
    wanted = np.mean([len(one.patched) - len(one.baseline) for one in pairs])
    got = made["delta"].sel(head_set="2:1", mode="result", metric="n_characters")
    assert float(got) == pytest.approx(wanted)
    confirmed = elsewhere[GROUP].phase7.measure("n_characters", len)
    assert "discovery" not in set(elsewhere[GROUP]["split"].sel(prompt=confirmed["prompt"]).values)


def test_the_html_browser_has_a_drawer_for_each_swept_head(elsewhere):
    page = re.sub("<[^>]*>", "", render_html(elsewhere, lang="en"))
    drawers = re.findall(r"sweep: (\d+:\d+)[^,]*, result \(2 prompts\)", page)
    assert sorted(drawers) == sorted(elsewhere[f"{GROUP}/sweep/texts"]["head_set"].values)


def test_a_sweep_without_text_has_none(elsewhere):
    without = elsewhere.filter(lambda node: node.path != f"/{GROUP}/sweep/texts")
    with pytest.raises(UserError, match=r"\[sweep\] text = true"):
        without[f"{GROUP}/sweep"].phase7.texts("0:0")
    assert without[GROUP].phase7.texts()
