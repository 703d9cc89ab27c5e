"""The curve over sets of growing size, from the profile to the effects file."""

from __future__ import annotations

import json

import numpy as np
import pytest

import phase7
from phase7.cli import main
from phase7.engine.model.tokens import encode
from phase7.experiment.chosen_heads import n_ranked
from phase7.experiment.curve import curve_of
from phase7.vocabulary.heads import HeadSet, parse_heads
from tests import stages, tiny
from tests.by_hand import direct_mean
from tests.plain_patching import PlainModel, ids_of_words, read_out
from tests.run.small_project import EMOTION, NEUTRAL, REPOSITORY, write_data

pytestmark = pytest.mark.slow

PROFILE = """
models = ["model"]
emotions = ["gratitude"]
scorers = ["keywords"]
[sampling]
max_new_tokens = 2
seed = 5
[sweep]
text = false
readouts = "attribution"
checked_heads = 0
[confirm]
target_heads = "0:1"
modes = ["result"]
curve = [1, 3, 5]
curve_random_sets = 4
curve_prompts = 2
positive_controls = true
lengths = []
[readouts]
words = ["the", "and"]
max_new_tokens = 3
[statistics]
resamples = 200
selection_metrics = ["logodds_words"]
"""
FIRST = "logodds_words_first"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("curve")
    write_data(folder, NEUTRAL, {"small": PROFILE})
    (folder / "data" / "keywords.toml").write_bytes((REPOSITORY / "data/keywords.toml").read_bytes())
    tiny.save("llama", folder / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["build", "small", "--quiet"]) == 0
    return phase7.open_effects(folder / "store/effects/small.nc")["model/gratitude"]


def tokens(text: str) -> list[int]:
    return list(encode(tiny.load("llama"), text, "raw"))


def ranked(tree) -> list[str]:
    """All heads by what the sweep predicts on the discovery prompts, most first."""
    net = tree["sweep"].to_dataset().net_delta.sel(mode="result", metric="logodds_words")
    order = np.argsort(-net.values.ravel(), kind="stable")
    return [f"{i // tiny.N_HEADS}:{i % tiny.N_HEADS}" for i in order]


def test_the_sets_are_the_sweeps_first_heads(tree):
    curve = tree["curve"].to_dataset()
    assert curve.n_heads.values.tolist() == [1, 3, 5, 12]
    for size in (1, 3, 5, 12):
        heads = sorted(ranked(tree)[:size], key=lambda one: tuple(map(int, one.split(":"))))
        assert curve.heads.sel(n_heads=size).item().split(",") == heads


def test_effects_are_those_of_plain_transformers(tree):
    """At the first step, for nested sets and the sum of singles; on confirmation prompts."""
    curve, plain = tree["curve"].to_dataset().sel(metric=FIRST), PlainModel("llama")
    captured = {text: plain.capture(tokens(text)) for text in (*NEUTRAL, *EMOTION)}
    ids = ids_of_words(tiny.load("llama").tokenizer, ("the", "and"))

    def net(heads) -> float:
        by_prompt = []
        for prompt in NEUTRAL[1::2][:2]:  # of three
            others = direct_mean([captured[text] for text in NEUTRAL if text != prompt])
            donors = (direct_mean([captured[text] for text in EMOTION]), others)
            logits = [
                plain.patched_logits(tokens(prompt), [7], heads, "result", "generated", donor)
                for donor in donors
            ]
            odds = [read_out(one, one, [7], {"words": ids})["words"][0] for one in logits]
            by_prompt.append(odds[0] - odds[1])
        return float(np.mean(by_prompt))

    singles = [net((tuple(map(int, head.split(":"))),)) for head in ranked(tree)[:3]]
    for size in (1, 3, 12):
        spec = curve.heads.sel(n_heads=size).item()
        heads = tuple((head.layer, head.head) for head in HeadSet.parse(spec).heads)
        np.testing.assert_allclose(curve.net_delta.sel(n_heads=size), net(heads), atol=1e-4)
    np.testing.assert_allclose(curve.sum_of_singles.sel(n_heads=3), sum(singles), atol=3e-4)
    assert abs(sum(singles) - curve.net_delta.sel(n_heads=3)) > 1e-3  # heads act upon each other
    np.testing.assert_allclose(curve.sum_of_singles.sel(n_heads=1), singles[0], atol=1e-4)


def test_there_are_random_sets_where_heads_are_left(tree):
    drawn = tree["curve"].to_dataset().random_effect.sel(metric=FIRST)
    assert np.isfinite(drawn.sel(n_heads=[1, 3, 5])).all() and np.isnan(drawn.sel(n_heads=12)).all()
    assert len(np.unique(drawn.sel(n_heads=3))) == 4
    assert np.isfinite(tree["curve"].sum_of_singles.sel(n_heads=12, metric=FIRST))  # not over 40


def test_random_sets_hold_no_head_of_the_nested_set_and_depend_on_the_seed_alone():
    heads = parse_heads("all", n_layers=3, n_heads=4)

    def curve(seed: int = 3, sizes=(2, 5, 50)):
        profile = stages.changed("confirm", stages.changed("sampling", seed=seed), curve_random_sets=20)
        wanted = json.loads(json.dumps(sizes))
        object.__setattr__(profile.confirm, "curve", tuple(wanted))
        return curve_of(profile, heads)

    found = curve()
    assert list(found.first) == [2, 5, 12] and list(found.drawn) == [2, 5]
    for size, sets in found.drawn.items():
        assert len(sets) == 20 and all(len(set(one)) == size for one in sets)
        assert not any(set(one) & set(found.first[size]) for one in sets)
    assert found.alone == heads[:12]
    assert curve() == found != curve(seed=4)
    assert n_ranked(stages.PROFILE) == 0
    assert curve_of(stages.PROFILE, heads) is None


def test_the_curve_is_read_on_the_first_prompts_of_the_confirmation(tree):
    curve = tree["curve"].to_dataset()
    assert int(curve.n_prompts) == 2 < int((tree.split.values == "confirmation").sum())
