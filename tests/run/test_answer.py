"""The answer, from the profile to the effects file: choice under the guards, and two tests by text."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.numpy import load_file
from scipy.stats import false_discovery_control
from transformers import DynamicCache

import phase7
from phase7.cli import main
from phase7.effects.guards import kept_in_range
from phase7.engine.decode.forced import forced_pass
from phase7.engine.model.tokens import encode
from phase7.engine.patch.capture import capture
from phase7.engine.patch.donors import DonorSum
from phase7.engine.patch.patching import Patch
from phase7.experiment.answer import choice_stage, fresh_recipients, trials
from phase7.experiment.declared import Answer
from phase7.experiment.tested import confirm_stage, sweep_stage
from phase7.findings.group import Group
from phase7.findings.trials import chosen, compared, metrics_that_hold
from phase7.report.numbers import Numbers
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.guards import GUARDS
from phase7.vocabulary.heads import HeadSet, parse_heads
from tests import stages, tiny
from tests.plain_patching import read_out
from tests.run.small_project import EMOTION, NEUTRAL, REPOSITORY, write_data

PROFILE = """
models = ["model"]
emotions = ["gratitude"]
scorers = ["keywords"]
[sampling]
max_new_tokens = 6
samples = 2
seed = 5
[patching]
control = ["neutral", "anger"]
[sweep]
text = false
readouts = "attribution"
checked_heads = 0
n_prompts = 4
[confirm]
target_heads = "0:1"
modes = ["result"]
n_prompts = 3
against_text = false
positive_controls = false
lengths = []
[answer]
sizes = [2, 4]
strengths = [0.5, 1.0, 3.0]
samples = 3
fresh_prompts = 2
[readouts]
words = ["the", "and"]
max_new_tokens = 3
[statistics]
resamples = 200
selection_metrics = ["logodds_words"]
"""
MORE = ["A green door opens on the yard", "Two spoons lie in the drawer", "The clock on the wall says"]
PROMPTS = [*NEUTRAL, *MORE]
METRIC = "logodds_words"
PAGE = REPOSITORY / "docs/how-to/use-the-vector.md"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("answer")
    write_data(folder, PROMPTS, {"small": PROFILE})
    anger = {"prompts": ["This is an outrage and I am furious", "Stop it, you make me so angry"]}
    (folder / "data/anger_prompts.json").write_text(json.dumps(anger))
    (folder / "data/keywords.toml").write_bytes((REPOSITORY / "data/keywords.toml").read_bytes())
    tiny.save("llama", folder / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["build", "small", "--quiet", "--lang=en"]) == 0
    return folder


@pytest.fixture(scope="module")
def tree(project):
    return phase7.open_effects(project / "store/effects/small.nc")["model/gratitude"]


@pytest.mark.slow
def test_the_candidate_that_raises_the_read_out_most_under_the_guards_is_chosen(tree):
    choice = tree["choice"].to_dataset()
    assert dict(choice.sizes)["strength"] == 3 and dict(choice.sizes)["head_set"] == 2
    net = choice.net_delta.sel(metric=METRIC)
    discovery = tree.split.values == "discovery"
    assert discovery.sum() == 4
    best, chosen = -np.inf, None
    for label in choice.head_set.values:
        for strength in choice.strength.values:
            one = choice.sel(head_set=label, strength=strength)
            guards = one.sel(metric=list(GUARDS))
            assert np.isfinite(guards.patched.values[:, discovery]).all()
            low, high = np.percentile(guards.baseline.values[:, discovery], (5, 95), axis=1)
            high[1] = max(high[1], 1 / 3)  # one of three 4-grams, in one sample
            mean = guards.patched.mean("prompt").values
            assert one.guards_kept == float(((low <= mean) & (mean <= high)).all())
            if one.guards_kept == 1 and net.sel(head_set=label, strength=strength) > max(best, 0):
                best, chosen = float(net.sel(head_set=label, strength=strength)), (label, strength)
    assert choice.guards_kept.sum() > 0
    marked = choice.chosen.where(choice.chosen, drop=True)
    assert (str(marked.head_set.item()), float(marked.strength.item())) == chosen
    answer = tree["answer"].to_dataset()
    assert (answer.attrs["heads"], answer.attrs["strength"]) == chosen


def test_the_answer_is_tested_on_confirmation_prompts_and_again_on_fresh_ones(tree):
    answer = tree["answer"].to_dataset()
    used = {
        str(trial): set(
            np.flatnonzero(np.isfinite(answer.patched.sel(trial=trial, metric=METRIC).values))
        )
        for trial in answer.trial.values
    }
    places = dict(zip(tree.prompt.values.tolist(), tree.split.values.tolist(), strict=True))
    splits = list(places.values())
    assert used["confirmation"] == {i for i, split in enumerate(splits) if split == "confirmation"}
    assert used["fresh"] == {i for i, split in enumerate(splits) if split == "fresh"}
    assert len(used["confirmation"]) == 3 and len(used["fresh"]) == 2
    for name in ("patched", "control_patched", "baseline", "against_patched"):
        assert np.isfinite(answer[name].sel(metric="gratitude_keywords")).any(), name
        assert np.isfinite(answer[name].sel(metric=METRIC)).any() == (name != "against_patched")
    net = answer.patched - answer.control_patched
    np.testing.assert_allclose(answer.net_delta, net.mean("prompt"), atol=1e-12)
    specific = answer.patched - answer.against_patched
    np.testing.assert_allclose(
        answer.specific_delta.sel(metric="gratitude_keywords"),
        specific.sel(metric="gratitude_keywords").mean("prompt"),
        atol=1e-12,
    )


def test_tests_of_one_trial_are_one_family(tree):
    answer = tree["answer"].to_dataset()
    own = answer.is_of_emotion.values
    assert answer.metric.values[own].tolist() == ["gratitude_keywords", "goemotions_gratitude"]
    for trial in answer.trial.values:
        one = answer.sel(trial=trial).isel(metric=np.flatnonzero(own))
        p = np.concatenate([one.net_p_value.values, one.specific_p_value.values.ravel()])
        q = np.concatenate([one.net_q_value.values, one.specific_q_value.values.ravel()])
        known = np.isfinite(p)
        assert known.sum() == 2  # keywords, net and against anger: there is no classifier here
        np.testing.assert_allclose(q[known], false_discovery_control(p[known]), atol=1e-12)
    for name in ("net_p_value", "net_q_value", "net_ci_low"):
        assert np.isnan(answer[name].sel(metric=METRIC)).all()


def test_a_second_build_computes_nothing(project, monkeypatch):
    monkeypatch.chdir(project)
    assert main(["build", "small", "--quiet", "--force", "--lang=en"]) == 0
    record = json.loads((project / "results/small/run.json").read_text())
    assert sum(record["entries_computed"].values()) == 0


def answer_profile(**changes):
    profile = stages.changed("sweep", stages.BY_READOUTS, n_prompts=4)
    answer = Answer(**({"sizes": (2, 4), "fresh_prompts": 2} | changes))
    return replace(profile, answer=answer, confirm=replace(profile.confirm, n_prompts=3))


def stages_of(profile, n_neutral: int = 12):
    neutral = stages.prompts("neutral", n_neutral)
    emotion = stages.prompts("gratitude", n_neutral)
    sweep = sweep_stage(profile, stages.FILES, neutral, emotion)
    confirm = confirm_stage(profile, stages.FILES, neutral, emotion, ())
    return sweep, confirm, stages.prompts("anger", n_neutral)


def test_choice_and_tests_stand_on_separate_prompts_and_noise():
    sweep, confirm, anger = stages_of(answer_profile())
    ranked = parse_heads("all", n_layers=3, n_heads=4)
    candidates = choice_stage(sweep, ranked)
    assert set(candidates.recipients) <= set(sweep.recipients)
    assert candidates.sampling.samples == 1 and candidates.has_text
    found = trials(confirm, sweep, candidates.cells[0], [anger])
    assert [one.name for one in found] == ["confirmation", "fresh"]
    first, second = (one.own for one in found)
    assert first.recipients == confirm.recipients
    assert not set(second.recipients) & {*sweep.recipients, *confirm.recipients}
    assert len(second.recipients) == 2
    assert second.sampling.seed == first.sampling.seed + 1 == second.profile.sampling.seed
    for one in found:
        (rival,) = one.rivals
        assert rival.roles == ("emotion",) and rival.emotion == anger and rival.has_text
        assert rival.recipients == one.own.recipients and rival.sampling == one.own.sampling


def test_too_few_fresh_prompts_are_refused():
    sweep, confirm, _ = stages_of(answer_profile(fresh_prompts=9))
    with pytest.raises(
        UserError, match=r"answer\.fresh_prompts: expected 9 neutral prompts beside the 7"
    ):
        fresh_recipients(confirm, sweep)


def test_guards_are_kept_between_the_percentiles_of_the_baseline():
    baseline = np.array([np.arange(21.0), np.zeros(21)])
    inside, above = np.array([1.0, 19.0]), np.array([19.5, 19.5])
    cells = np.stack([
        [np.resize(inside, 21), np.zeros(21)],
        [np.resize(above, 21), np.zeros(21)],
        [np.full(21, 0.5), np.zeros(21)],
        [np.resize(inside, 21), np.eye(1, 21)[0]],
        [np.full(21, np.nan), np.zeros(21)],
    ])  # fmt: skip
    np.testing.assert_array_equal(kept_in_range(baseline, cells, 0.04), [1, 0, 0, 0, np.nan])
    assert np.isnan(kept_in_range(np.full((2, 3), np.nan), cells[..., :3], 0.1)).all()
    single = np.array([[np.resize(inside, 21), np.eye(1, 21)[0]]])  # mean 1 / 21 = 0.048
    assert kept_in_range(baseline, single, 0.05) == [1]


# --- the direction of what was chosen --------------------------------------------------------------


def test_the_page_steers_plain_transformers_as_the_patch_does(project, tree):
    """Code of docs/how-to/use-the-vector.md, on a prompt of one's own, against the package's patch."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    space: dict = {}
    exec(code, space)
    path = project / "results/small/vectors/model_gratitude.safetensors"
    heads = HeadSet.parse(tree["answer"].attrs["heads"]).heads
    bridged, plain = tiny.load("llama"), tiny.hf_model("llama")
    tokens, way = list(encode(bridged, "The ferry goes at", "raw")), [41, 300, 7, 262]
    captured = {
        name: DonorSum(
            capture(bridged, encode(bridged, text, "raw"), all_queries=False) for text in texts
        ).mean()
        for name, texts in {"emotion": EMOTION, "control": PROMPTS}.items()
    }
    patch = Patch(heads=heads, donor="emotion", write="add", strength=1.5, reference="control")
    sets = {"words": (5, 41, 262)}
    found = forced_pass(bridged, tokens, way, [patch], donors=captured, token_sets=sets)

    def by_transformers(alpha: float):
        hooks, cache, logits = space["steered"](plain, path, alpha), DynamicCache(), []
        with torch.no_grad():
            for read in (tokens, *([one] for one in way[:-1])):
                ids = torch.tensor([read])
                logits.append(plain(ids, past_key_values=cache, use_cache=True).logits[0, -1].double())
        for hook in hooks:
            hook.remove()
        stacked = torch.stack(logits)
        return read_out(stacked, stacked, way, sets)["words"]

    np.testing.assert_allclose(found.patched.log_odds["words"][0], by_transformers(1.5), atol=1e-4)
    np.testing.assert_allclose(found.baseline.log_odds["words"], by_transformers(0.0), atol=1e-4)
    assert np.abs(by_transformers(1.5) - by_transformers(0.0)).max() > 1e-2


def test_the_vectors_page_names_what_the_file_holds(project, tree):
    folder = project / "results/small/vectors"
    tensors = load_file(folder / "model_gratitude.safetensors")
    layers = {head.layer for head in HeadSet.parse(tree["answer"].attrs["heads"]).heads}
    assert set(tensors) == {"sum", *(f"layers.{layer}" for layer in layers)}
    np.testing.assert_allclose(
        tensors["sum"], sum(tensors[f"layers.{one}"] for one in layers), rtol=1e-6
    )
    page = (folder / "model_gratitude.md").read_text(encoding="utf-8")
    assert tree["answer"].attrs["heads"] in page
    for layer in layers:
        assert f"`model.layers.{layer}.self_attn.o_proj`" in page


# --- what is said of it ----------------------------------------------------------------------------


def changed_answer(tree, **values):
    """The group with other values in its answer, by variable and place."""
    node = tree.copy(deep=True)
    answer = node["answer"].to_dataset().load()
    answer["guards_kept"][:] = 1.0
    for kind in ("net", "specific"):
        answer[f"{kind}_delta"][:] = 0.5
        answer[f"{kind}_q_value"][:] = 0.01
    for name, (place, value) in values.items():
        answer[name].loc[place] = value
    node["answer"] = xr.DataTree(answer)
    return Group(node)


KEYWORDS = "gratitude_keywords"


@pytest.mark.parametrize(
    "spoiled",
    [
        {"net_q_value": ({"trial": "fresh", "metric": KEYWORDS}, 0.2)},
        {"specific_q_value": ({"trial": "confirmation", "against": "anger", "metric": KEYWORDS}, 0.2)},
        {"specific_delta": ({"trial": "fresh", "against": "anger", "metric": KEYWORDS}, -0.5)},
        {"net_q_value": ({"trial": "fresh", "metric": KEYWORDS}, np.nan)},
        {"guards_kept": ({"trial": "fresh"}, 0.0)},
    ],
)
def test_the_text_moves_where_every_comparison_of_both_trials_says_so(tree, spoiled):
    assert KEYWORDS in metrics_that_hold(changed_answer(tree))
    assert KEYWORDS not in metrics_that_hold(changed_answer(tree, **spoiled))


def test_the_report_tells_the_answer_and_its_numbers(project, tree, monkeypatch):
    monkeypatch.chdir(project)
    text = (project / "results/small/report.md").read_text(encoding="utf-8")
    picked = chosen(Group(tree))
    assert f"The first {picked.n_heads} heads at strength" not in text  # it does not move here
    assert f"the first {picked.n_heads} heads at strength {picked.strength:g}" in text
    (net,) = [
        row for row in compared(Group(tree))
        if (row.trial, row.metric, row.against) == ("fresh", KEYWORDS, "")
    ]  # fmt: skip
    table = text[text.index("tested by text") :]
    row = next(line for line in table.splitlines() if "| fresh |" in line and "control" in line)
    signed = Numbers(not_measured="", no_test="").signed(net.delta)
    assert KEYWORDS in row and f"| {signed} |" in row
    assert "(choice)" in text or "_choice." in text  # the figure of the candidates
