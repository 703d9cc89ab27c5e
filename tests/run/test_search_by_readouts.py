"""A sweep by attribution, sets of its first heads and positive controls, from profile to effects file.

Every kind of number is worked out a second time without the pipeline: by the engine with donors made by
hand, by plain generation, and by plain transformers.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import phase7
from phase7.engine.decode.attribution import slopes
from phase7.engine.decode.loop import generate
from phase7.engine.model.tokens import decode, encode
from phase7.engine.patch.capture import capture
from phase7.engine.patch.donors import single
from phase7.engine.patch.patching import Patch
from phase7.experiment.declared import Readouts
from phase7.experiment.predictions import check_stage
from phase7.experiment.profile import Sampling, Sweep, load_profile
from phase7.experiment.statistics import Statistics
from phase7.run.backend import Backend
from phase7.run.executor import one_thread
from phase7.run.paths import Paths
from phase7.run.pipeline import Run
from phase7.store import Store
from phase7.store.inventory import checked
from phase7.vocabulary.heads import Head, parse_heads
from phase7.vocabulary.metrics import METRICS
from tests import stages, tiny
from tests.by_hand import direct_mean, mean_donor
from tests.plain_patching import PlainModel, ids_of_words, read_out
from tests.run.made_up import Counting
from tests.run.small_project import NEUTRAL, REPOSITORY, arrays, assert_same_bits, build, write_data


class Telling(Counting):
    """A scorer whose numbers tell texts apart."""

    name = "telling"

    def score(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        return {"politeness": np.array([stages.number(text, "politeness") for text in texts])}


PROFILE = f"""
models = ["model"]
emotions = ["gratitude"]
scorers = ["{__name__}:Telling"]
[sampling]
max_new_tokens = 6
samples = 2
seed = 5
[sweep]
text = false
readouts = "attribution"
checked_heads = 3
[confirm]
target_heads = "0:1,2:3"
strongest = 1
strongest_sets = [2]
random_sets = 1
modes = ["result"]
lengths = []
[readouts]
words = ["the", "and"]
max_new_tokens = 5
[statistics]
resamples = 200
selection_metrics = ["logodds_words"]
[engine]
max_rows = 16
"""
#: One for each neutral prompt but the last, so that one recipient has no match.
EMOTION = [
    "Thank you so much, I am grateful",
    "Thank you for the",
    "So much sugar, thank you and",
    "I am so grateful for the lift",
    "I am grateful to the bank",
]
DISCOVERY, CONFIRMATION, MATCHED = (0, 2, 4), (1, 3, 5), (1, 3)
SAMPLING = Sampling(max_new_tokens=6, samples=2, seed=5)
ALL_HEADS = parse_heads("all", n_layers=tiny.N_LAYERS, n_heads=tiny.N_HEADS)
#: Read-outs of the sweep are a first order, in single precision.
AGREES = 2e-5


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The project after `build search`."""
    folder = tmp_path_factory.mktemp("search")
    write_data(folder, NEUTRAL, {"search": PROFILE})
    prompts = json.dumps({"prompts": EMOTION})
    (folder / "data" / "gratitude_prompts.json").write_text(prompts, encoding="utf-8")
    shutil.copy(REPOSITORY / "data" / "keywords.toml", folder / "data" / "keywords.toml")
    tiny.save("llama", folder / "model")
    build(folder, "search")
    return folder


@pytest.fixture(scope="module")
def tree(built):
    return phase7.open_effects(built / "store" / "effects" / "search.nc")["model/gratitude"]


def tokens(text: str) -> tuple[int, ...]:
    return encode(tiny.load("llama"), text, "raw")


@cache
def captured(text: str):
    with one_thread():
        return capture(tiny.load("llama"), tokens(text), all_queries=False)


@cache
def unpatched(prompt: str, sampling: Sampling) -> np.ndarray:
    """Tokens of plain generation, [sample, step]."""
    nothing = Patch(heads=(Head(1, 1),), mode="result", donor="self")
    with one_thread():
        got = generate(
            tiny.load("llama"), prompt, tokens(prompt), [nothing], donors={}, sampling=sampling
        )
    return got.baseline_tokens


def path_of(index: int) -> list[int]:
    """The recipient's own first five tokens."""
    (path,) = unpatched(NEUTRAL[index], replace(SAMPLING, max_new_tokens=5, samples=1))
    assert (path >= 0).any()
    return [int(token) for token in path if token >= 0]


@cache
def words() -> tuple[int, ...]:
    """The tokens of "the" and "and" in all spellings that are one token."""
    return tuple(ids_of_words(tiny.load("llama").tokenizer, ("the", "and")))


@cache
def slopes_of(index: int):
    with one_thread():
        return slopes(
            tiny.load("llama"), tokens(NEUTRAL[index]), path_of(index),
            token_sets={"words": words()}, positions="generated",
        )  # fmt: skip


def predicted(index: int) -> dict[str, np.ndarray]:
    """[read-out, layer, head] of one recipient, by donors made by hand."""
    others = [text for i, text in enumerate(NEUTRAL) if i != index]
    return {
        "emotion": slopes_of(index).effect(mean_donor([captured(t) for t in EMOTION]), "result"),
        "control": slopes_of(index).effect(mean_donor([captured(t) for t in others]), "result"),
    }


LOG_ODDS = ("logodds_words", "logodds_words_first")
DIVERGENCES = ("kl_path", "kl_path_first")


@pytest.mark.slow
def test_the_effects_file_has_the_new_nodes(tree, built):
    for name in ("positive_controls", "attribution", "head_sets", "sweep"):
        assert name in tree.children
    assert list(tree["positive_controls"].positive_control.values) == [
        "prompting", "shift 1", "shift 2",
    ]  # fmt: skip
    assert list(tree["attribution"].half.values) == ["discovery", "confirmation"]
    assert (built / "results" / "search" / "report.md").stat().st_size > 0


def test_the_sweep_generated_no_text(tree, built):
    sweep = tree["sweep"].to_dataset()
    for name in ("patched", "control_patched", "delta", "net_delta", "net_p_value"):
        assert np.isnan(sweep[name].sel(metric=list(METRICS))).all()
    keys = [
        json.loads(checked(entry.path).key)["key"]
        for entry in Store(built / "store").entries()
        if entry.stage == "generation"
    ]
    generated = {key["prompt"] for key in keys}
    assert generated == {
        *(NEUTRAL[i] for i in CONFIRMATION),
        *(EMOTION[i] for i in MATCHED),
    }


def test_the_sweeps_readouts_are_baseline_and_attribution(tree):
    sweep, attribution = tree["sweep"].to_dataset(), tree["attribution"].to_dataset()
    whole = sweep.sel(mode="result", prompt=list(DISCOVERY), metric=list(LOG_ODDS))
    found = attribution.sel(half="discovery", mode="result", metric=list(LOG_ODDS))
    order = ("layer", "head", "metric")
    for name, control in (("predicted_delta", 0), ("predicted_net_delta", whole.control_patched)):
        zero = whole.baseline if name == "predicted_delta" else control
        mean = (whole.patched - zero).mean("prompt").transpose(*order)
        np.testing.assert_allclose(mean, found[name].transpose(*order), atol=1e-12)
    np.testing.assert_allclose(whole.net_delta, found.predicted_net_delta, atol=1e-12)
    assert np.isnan(sweep.patched.sel(metric=list(DIVERGENCES))).all()
    assert np.isnan(attribution.predicted_delta.sel(metric=[*METRICS, *DIVERGENCES])).all()
    assert np.isnan(attribution.predicted_delta.sel(mode=["v_only", "pattern_v"])).all()


def test_attributions_are_those_of_donors_made_by_hand(tree):
    """Every head, both donors, both halves, and prompt by prompt where the sweep has them."""
    sweep, attribution = tree["sweep"].to_dataset(), tree["attribution"].to_dataset()
    for half, recipients in (("discovery", DISCOVERY), ("confirmation", CONFIRMATION)):
        by_hand = [predicted(index) for index in recipients]
        emotion, control = (np.mean([one[r] for one in by_hand], axis=0) for r in by_hand[0])
        at = attribution.sel(half=half, mode="result")
        for m, metric in enumerate(LOG_ODDS):
            one = at.sel(metric=metric)
            np.testing.assert_allclose(one.predicted_delta, emotion[m], atol=AGREES)
            np.testing.assert_allclose(one.predicted_net_delta, (emotion - control)[m], atol=AGREES)
            assert np.abs(emotion[m]).max() > 100 * AGREES
    for index in DISCOVERY:
        own = sweep.sel(mode="result", prompt=index, metric="logodds_words")
        for name, role in (("patched", "emotion"), ("control_patched", "control")):
            np.testing.assert_allclose(own[name] - own.baseline, predicted(index)[role][0], atol=AGREES)


def test_the_first_heads_are_those_that_are_predicted_to_raise_the_words(tree):
    settings = json.loads(tree.attrs["settings"])
    found = tree["attribution"].predicted_net_delta.sel(
        half="discovery", mode="result", metric="logodds_words"
    )
    ranked = [
        Head(int(i) // tiny.N_HEADS, int(i) % tiny.N_HEADS) for i in np.argsort(-found.values.ravel())
    ]
    assert settings["strongest_heads"] == [str(ranked[0])]
    assert settings["strongest_sets"] == [",".join(map(str, sorted(ranked[:2])))]
    (drawn,) = settings["random_sets"]
    assert not set(drawn.split(",")) & set(map(str, ranked[:2]))
    sets = tree["head_sets"].to_dataset().sel(mode="result", metric="logodds_words")
    assert set(sets.head_set.values) == {"0:1,2:3", settings["strongest_sets"][0], drawn}
    assert np.isfinite(sets.net_delta).all()
    alone = {"0:1", "2:3", str(ranked[0])}
    for label in sets.head_set.values:
        one = sets.sel(head_set=label)
        assert np.isfinite(one.synergy) == (set(label.split(",")) <= alone)
    assert settings["selection_rule"].startswith("mean over logodds_words")


def test_net_p_is_over_donor_pairs_too(tree):
    """Shares of head 2:3 by hand, of recipients that are not of the pair, and all flips of them."""
    shares = []
    for j in range(len(EMOTION)):
        donors = [single(captured(text[j])) for text in (EMOTION, NEUTRAL)]
        by_recipient = [
            np.subtract(*(slopes_of(i).effect(one, "result")[:, 2, 3] for one in donors))
            for i in CONFIRMATION
            if i != j
        ]
        shares.append(np.mean(by_recipient, axis=0))
    cell = tree.to_dataset().sel(layer=2, head=3, mode="result")
    for m, metric in enumerate(LOG_ODDS):
        own = np.array([share[m] for share in shares])
        flips = [abs(np.dot(s, own)) for s in itertools.product((-1, 1), repeat=len(own))]
        expected = np.mean(np.array(flips) >= abs(own.sum()) - 1e-9)
        one = cell.sel(metric=metric)
        if one.net_delta * own.mean() <= 0:
            expected = 1.0
        assert float(one.net_donor_p_value) == pytest.approx(expected)
        assert float(one.net_p_value) >= expected
    assert np.isnan(cell.net_donor_p_value.sel(metric=[*METRICS, *DIVERGENCES])).all()


def test_heads_drawn_at_random_are_patched_to_check_the_predictions(tree):
    """Against plain transformers on the discovery prompts; the others are NaN."""
    attribution = tree["attribution"].to_dataset()
    found = attribution.sel(mode="result", metric=list(READOUTS))
    drawn = np.argwhere(np.isfinite(found.checked_delta.values[..., 0])).tolist()
    assert len(drawn) == 3
    plain = PlainModel("llama")
    captures = {text: plain.capture(tokens(text)) for text in (*NEUTRAL, *EMOTION)}
    for layer, head in drawn:
        effects = []
        for index in DISCOVERY:
            others = [captures[text] for i, text in enumerate(NEUTRAL) if i != index]
            donors = direct_mean([captures[text] for text in EMOTION]), direct_mean(others)
            arms = [((), donors[0]), *((((layer, head),), donor) for donor in donors)]
            logits = [
                plain.patched_logits(
                    tokens(NEUTRAL[index]), path_of(index), heads, "result", "generated", donor
                )
                for heads, donor in arms
            ]
            read = [read_out(one, logits[0], path_of(index), {"words": words()}) for one in logits]
            steps = np.array([[one["words"], one["kl"]] for one in read])
            values = np.concatenate([steps.mean(axis=-1), steps[..., 0]], axis=-1)
            effects.append([values[1] - values[0], values[1] - values[2]])
        one = found.sel(layer=layer, head=head)
        got = [one.checked_delta, one.checked_net_delta]
        np.testing.assert_allclose(got, np.mean(effects, axis=0), atol=1e-4)
        assert np.abs(got).max() > 1e-2
    assert np.isnan(attribution.checked_delta.sel(mode="v_only")).all()


def test_which_heads_are_checked_depends_on_the_seed_alone():
    def drawn(**sampling: int) -> list[str]:
        profile = replace(
            stages.PROFILE,
            sweep=Sweep(readouts="attribution", checked_heads=4, modes=("result", "v_only")),
            readouts=Readouts(words=("the",)),
            statistics=Statistics(selection_metrics=("logodds_words",)),
        )
        stage = check_stage(stages.sweep(stages.changed("sampling", profile, **sampling)))
        assert stage is not None and not stage.has_text
        assert len(stage.cells) == 8  # in both modes
        return sorted({cell.label for cell in stage.cells})

    assert drawn(seed=3) == drawn(seed=3) == drawn(seed=3, samples=3)
    assert len({tuple(drawn(seed=seed)) for seed in range(5)}) > 3
    assert check_stage(stages.sweep()) is None  # nothing is predicted


# --- positive controls ---------------------------------------------------------------------------


def test_prompting_is_plain_generation_of_the_emotion_prompts(tree):
    got = tree["positive_controls"].patched.sel(positive_control="prompting", metric="politeness")
    for index in MATCHED:
        texts = [
            decode(tiny.load("llama"), [int(t) for t in row if t >= 0])
            for row in unpatched(EMOTION[index], SAMPLING)
        ]
        expected = np.mean([stages.number(text, "politeness") for text in texts])
        assert float(got.sel(prompt=index)) == pytest.approx(expected, abs=1e-12)
    unmatched = [p for p in got.prompt.values if p not in MATCHED]
    assert np.isnan(got.sel(prompt=unmatched)).all()


@cache
def by_transformers(prompt: int, strength: float | None) -> np.ndarray:
    """Read-outs along a neutral prompt's path: after the emotion prompt (None), or with all shifted."""
    plain, path = PlainModel("llama"), path_of(prompt)

    def mean(texts):
        return direct_mean([plain.capture(tokens(text)) for text in texts])

    emotion = mean(EMOTION)
    others = mean([text for i, text in enumerate(NEUTRAL) if i != prompt])
    nothing = plain.patched_logits(tokens(NEUTRAL[prompt]), path, (), "result", "generated", emotion)
    if strength is None:
        logits = plain.patched_logits(tokens(EMOTION[prompt]), path, (), "result", "generated", emotion)
    else:
        logits = plain.patched_logits(
            tokens(NEUTRAL[prompt]), path, ALL_HEADS, "result", "generated", emotion,
            strength=strength, reference=others,
        )  # fmt: skip
    found = read_out(logits, nothing, path, {"words": words()})
    steps = [found["words"], found["kl"]]
    return np.array([*(one.mean() for one in steps), *(one[0] for one in steps)])


READOUTS = ("logodds_words", "kl_path", "logodds_words_first", "kl_path_first")


def test_promptings_log_odds_are_those_of_plain_transformers(tree):
    """The emotion prompt, then the path of the neutral prompt of the same index."""
    got = tree["positive_controls"].patched.sel(positive_control="prompting")
    for index in MATCHED:
        expected = by_transformers(index, None)
        found = got.sel(prompt=index, metric=list(READOUTS)).values
        np.testing.assert_allclose(found[[0, 2]], expected[[0, 2]], atol=1e-4)
        assert np.isnan(found[[1, 3]]).all()  # no divergence from another prompt's baseline
        baseline = tree.baseline.sel(prompt=index, metric=list(READOUTS)).values
        assert np.abs(found - baseline)[[0, 2]].max() > 1e-2


@pytest.mark.parametrize(("name", "strength"), [("shift 1", 1.0), ("shift 2", 2.0)])
def test_the_shift_is_that_of_plain_transformers(tree, name, strength):
    got = tree["positive_controls"].patched.sel(positive_control=name)
    for index in CONFIRMATION:
        found = got.sel(prompt=index, metric=list(READOUTS)).values
        np.testing.assert_allclose(found, by_transformers(index, strength), atol=1e-4)


def test_two_prompts_with_a_match_are_too_few_for_shares_of_prompting(tree):
    """No sign-flip interval of two prompts excludes 0, so nothing says that prompting moves anything."""
    whole, controls = tree.to_dataset(), tree["positive_controls"].to_dataset()
    prompting = controls.sel(positive_control="prompting", metric=[*LOG_ODDS, "politeness"])
    assert np.isneginf(prompting.ci_low).all() and np.isposinf(prompting.ci_high).all()
    cell = whole.sel(layer=2, head=3, mode="result", metric=[*LOG_ODDS, "politeness"])
    assert np.isfinite(cell.net_delta).all()
    matched = {"prompt": list(MATCHED)}
    moved = (prompting.patched - cell.baseline).sel(matched).mean("prompt")
    np.testing.assert_allclose(prompting.delta, moved, rtol=1e-9)
    assert np.isnan(cell.prompting_share).all()


# --- again ---------------------------------------------------------------------------------------


def test_a_second_build_computes_nothing_and_finds_the_same(built, tmp_path, monkeypatch):
    monkeypatch.chdir(built)
    paths = Paths(
        root=Path(), store=Path("store"), effects=tmp_path / "effects.nc", plots=tmp_path,
        report=None, run_record=tmp_path / "run.json", patching=lambda m, e: tmp_path / "one.pkl",
    )  # fmt: skip
    again = Run(
        load_profile("search", Path()), paths, show_progress=False, backend=Backend(name="serial")
    )
    outcome = again.execute()
    assert not outcome.up_to_date
    assert not any(outcome.n_computed.values())
    for kind in ("generation", "path", "readout", "attribution", "lens"):
        assert outcome.n_hits[kind] > 0
    assert_same_bits(arrays(built / "store/effects/search.nc"), arrays(paths.effects))
