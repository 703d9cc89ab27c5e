"""Contrasts of continuations, from the profile to arrays: values, keys, attributions and refusals."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import log_softmax

import phase7
from phase7.cli import main
from phase7.effects.attribution import gather_attribution
from phase7.effects.readouts import StageReadouts, gather_readouts
from phase7.engine.decode.attribution import slopes_of
from phase7.engine.decode.corrected import dropped_slopes, integrated_effects
from phase7.engine.decode.loop import generate
from phase7.engine.decode.read_logits import log_likelihood_of
from phase7.engine.model.tokens import encode
from phase7.engine.patch.patching import Patch
from phase7.experiment.attribution import AttributionPlan
from phase7.experiment.contrasts import ContrastPlan, contrast_plans
from phase7.experiment.declared import Pair, Readouts, Screen
from phase7.experiment.positive_controls import prompting_stage
from phase7.experiment.profile import Confirm, Sampling, Sweep
from phase7.experiment.screening import screen_stage
from phase7.experiment.stages import Stage
from phase7.experiment.statistics import Statistics
from phase7.run.executor import Executor
from phase7.store import Store, canonical
from phase7.vocabulary.heads import Head
from tests import stages, tiny
from tests.by_hand import direct_mean
from tests.plain_patching import PlainModel
from tests.run.small_project import PROFILE as TOML
from tests.run.test_executor import EMOTION
from tests.run.test_executor import NEUTRAL as FEW
from tests.stages import changed

NEUTRAL = replace(FEW, prompts=FEW.prompts[:4])
MATCHED = replace(EMOTION, prompts=tuple(f"{text} now" for text in NEUTRAL.prompts))
PAIR = Pair(target=" the end of it", foil=" and so")
N_STEPS = 4
PROFILE = replace(
    stages.PROFILE,
    sampling=Sampling(max_new_tokens=3, temperature=1.0, seed=2),
    sweep=Sweep(heads="0:1,1:3,2:0", modes=("result", "v_only")),
    confirm=Confirm(target_heads="0:1,2:3", modes=("result",), lengths=()),
    readouts=Readouts(continuations=2, pairs=(PAIR,), max_new_tokens=N_STEPS),
)


def stage_of(make=stages.confirm, profile=PROFILE, **others) -> Stage:
    given = {"neutral": NEUTRAL, "emotion": MATCHED} | others
    return make(profile, files=tiny.load("llama").files, **given)


def executor(stage: Stage, root) -> Executor:
    made = Executor(stage.files, stage.profile.engine, Store(root), lambda line: None)
    made.model = tiny.load("llama")
    return made


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("contrasts")


@pytest.fixture(scope="module")
def read(root) -> dict[str, StageReadouts]:
    stage = stage_of()
    run = executor(stage, root)
    return {one.contrast.name: gather_readouts(one, run.read(one)) for one in contrast_plans(stage)}


def tokens_of(text: str) -> list[int]:
    return list(encode(tiny.load("llama"), text, "raw"))


def said_after(prompt: str) -> list[int]:
    """What the unpatched model says, drawn with no plan or executor in between."""
    got = generate(
        tiny.load("llama"), prompt, encode(tiny.load("llama"), prompt, "raw"),
        [Patch(heads=(Head(1, 1),), mode="result", donor="self")],
        donors={}, sampling=replace(PROFILE.sampling, max_new_tokens=N_STEPS),
    )  # fmt: skip
    return [int(token) for token in got.baseline_tokens[0] if token >= 0]


#: Of either metric: targets, foils, and how a continuation's log-likelihoods are put together.
def by_definition():
    even = (0, 2)
    plain_ids = [
        tiny.load("llama").tokenizer(t, add_special_tokens=False)["input_ids"]
        for t in (PAIR.target, PAIR.foil)
    ]
    return {
        "loglik_gratitude": (
            [said_after(MATCHED.prompts[i]) for i in even],
            [said_after(NEUTRAL.prompts[i]) for i in even],
            np.mean,
        ),
        "logdiff_the_end_of_it_and_so": (plain_ids[:1], plain_ids[1:], np.sum),
    }


def contrast_by_hand(logits_along, targets, foils, put_together) -> list[float]:
    """Whole continuations, then first tokens."""
    values = []
    for paths in (targets, foils):
        likelihoods = []
        for path in paths:
            steps = log_softmax(logits_along(path), axis=-1)
            likelihoods.append([steps[t, token] for t, token in enumerate(path)])
        values.append(
            [
                np.mean([put_together(one) for one in likelihoods]),
                np.mean([one[0] for one in likelihoods]),
            ]
        )
    return [a - b for a, b in zip(*values, strict=True)]


@pytest.mark.slow
def test_they_are_those_of_plain_transformers(read):
    """Continuations, donors and places worked out by hand, for every cell, both donors and every prompt."""
    plain, stage = PlainModel("llama"), stage_of()
    captured = {text: plain.capture(tokens_of(text)) for text in (*NEUTRAL.prompts, *MATCHED.prompts)}
    emotion = direct_mean([captured[text] for text in MATCHED.prompts])
    assert stage.recipients == (1, 3)
    assert [*read] == [*by_definition()]
    for name, definition in by_definition().items():
        got = read[name]
        assert got.metrics == (name, f"{name}_first")
        assert got.n_self_rows > 0 and got.max_self_logit_gap == 0.0
        for p, index in enumerate(stage.recipients):
            prompt = NEUTRAL.prompts[index]
            others = direct_mean([captured[text] for text in NEUTRAL.prompts if text != prompt])

            def along(heads, donor, prompt=prompt):
                return lambda path: plain.patched_logits(
                    tokens_of(prompt), path, heads, "result", "generated", donor
                )

            expected = contrast_by_hand(along((), emotion), *definition)
            np.testing.assert_allclose(got.baseline[:, p], expected, atol=1e-4)
            for c, cell in enumerate(stage.cells):
                for role, donor in (("emotion", emotion), ("control", others)):
                    expected = contrast_by_hand(along(cell.heads, donor), *definition)
                    np.testing.assert_allclose(got.patched[role][c, :, p], expected, atol=1e-4)


def test_the_comparison_above_would_see_another_cell(read):
    """Liveness: cells, donors, prompts and metrics differ by far more than the tolerance."""
    for got in read.values():
        emotion, control = got.patched["emotion"], got.patched["control"]
        assert np.abs(emotion - got.baseline).max() > 1e-2
        assert np.abs(emotion - control).max() > 5e-3
        assert np.abs(np.diff(got.baseline, axis=0)).min() > 1e-2
        assert np.abs(np.diff(got.baseline, axis=1)).max() > 1e-2


def test_own_activations_change_no_bit(tmp_path):
    stage = stage_of(profile=changed("patching", PROFILE, donor="self"))
    for plan in contrast_plans(stage):
        found = gather_readouts(plan, executor(stage, tmp_path).read(plan))
        unpatched = np.broadcast_to(found.baseline, found.patched["emotion"].shape)
        np.testing.assert_array_equal(found.patched["emotion"], unpatched)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["result", "v_only"])
def test_attributions_are_the_slopes_of_exact_patches(root, mode):
    """The exact change of a small step, divided by it; control and emotion alike."""
    strength = 0.003
    stage = stage_of(stages.sweep)
    weak = replace(
        stage, cells=tuple(replace(cell, strength=strength) for cell in stage.cells if cell.mode == mode)
    )
    n_compared = 0
    for plan in contrast_plans(stage):
        attribution = AttributionPlan(readouts=plan)
        found = gather_attribution(attribution, executor(stage, root).attribute(attribution))
        exact = gather_readouts(
            ContrastPlan(stage=weak, contrast=plan.contrast),
            executor(stage, root).read(ContrastPlan(stage=weak, contrast=plan.contrast)),
        )
        np.testing.assert_allclose(found.baseline, exact.baseline, atol=1e-4)
        cells = [replace(cell, strength=1.0) for cell in weak.cells]
        for role in stage.roles:
            slope = (exact.patched[role] - exact.baseline) / strength
            predicted = found.of_cells(cells, role)
            assert np.abs(slope).max() > 1e-2
            np.testing.assert_allclose(predicted, slope, atol=0.05 * np.abs(slope).max())
            n_compared += predicted.size
    assert n_compared == 2 * 2 * 3 * 2 * 2


@pytest.mark.slow
@pytest.mark.parametrize("gradient", ["integrated", "dropped"])
def test_corrected_estimates_are_sums_over_continuations(root, gradient):
    """Of one recipient, with the engine's corrections of every continuation by itself."""
    screen = Screen(gradient=gradient, steps=2)
    statistics = Statistics(selection_metrics=("loglik_gratitude",))
    profile = replace(PROFILE, screen=screen, statistics=statistics)
    stage = screen_stage(stage_of(stages.sweep, profile))
    run, model, index = executor(stage, root), tiny.load("llama"), stage.recipients[0]
    donors = [run.donors.of(stage, role, index) for role in ("emotion", "control")]
    prompt = tokens_of(NEUTRAL.prompts[index])
    for plan in contrast_plans(stage):
        attribution = AttributionPlan(readouts=plan)
        found = gather_attribution(attribution, run.attribute(attribution))
        targets, foils, put_together = by_definition()[plan.contrast.name]
        total = 0.0
        for paths, sign in ((targets, 1), (foils, -1)):
            for path in paths:
                read = log_likelihood_of(model, path, by_token=put_together is np.mean)
                if gradient == "dropped":
                    slopes = dropped_slopes(model, prompt, path, read, positions="generated")
                    one = np.array([each.effects(donors, "v_only") for each in slopes])
                else:
                    given = slopes_of(model, prompt, path, read, positions="generated")
                    recipient = (model, prompt, path, read, given)
                    one = np.array(
                        [integrated_effects(*recipient, donor, "v_only", n_steps=2) for donor in donors]
                    )
                total = total + sign * one / len(paths)
        mode = found.modes.index("v_only")
        if gradient == "dropped":
            expected = np.abs(total[:, 0] - total[:, 1]).sum(axis=0) / (tiny.N_LAYERS - 1)
            got = found.dropped[mode][..., 0]
        else:
            expected = total[0]
            got = found.heads["emotion"][mode][..., 0]
        assert np.abs(expected).max() > 1e-2
        np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max())


def test_continuations_follow_discovery_prompts_alone():
    """In the sweep, the confirmation and both kinds of positive control; read off the keys."""
    confirm = stage_of()
    confirmation = {NEUTRAL.prompts[i] for i in (1, 3)} | {MATCHED.prompts[i] for i in (1, 3)}
    allowed = {NEUTRAL.prompts[i] for i in (0, 2)} | {MATCHED.prompts[i] for i in (0, 2)}
    sources = [
        contrast_plans(stage_of(stages.sweep)),
        contrast_plans(confirm),
        contrast_plans(prompting_stage(confirm), confirm),
    ]
    for plans in sources:
        plan = plans[0]
        for batch in plan.batches():
            followed = [one["prompt"] for side in ("targets", "foils") for one in batch.key[side]]
            assert {*followed} == allowed and not {*followed} & confirmation
            assert [one["prompt"] for one in batch.key["targets"]] == [
                MATCHED.prompts[i] for i in (0, 2)
            ]
        assert plans[1].contrast.targets[0].text == PAIR.target


def keys(stage: Stage, number: int = 0) -> list[str]:
    return [canonical("readout", batch.key) for batch in contrast_plans(stage)[number].batches()]


@pytest.mark.parametrize(
    ("number", "section", "values"),
    [
        (0, "readouts", {"continuations": 1}),
        (0, "readouts", {"max_new_tokens": 5}),
        (0, "sampling", {"seed": 3}),
        (0, "sampling", {"temperature": 0.5}),
        (0, "sampling", {"top_p": 0.5}),
        (0, "engine", {"dtype": "bfloat16"}),
        (0, "patching", {"positions": "last"}),
        (1, "readouts", {"pairs": (replace(PAIR, foil=" or so"),)}),
        (1, "readouts", {"pairs": (replace(PAIR, target=" the end"),)}),
        (1, "readouts", {"pairs": (Pair(target=PAIR.foil, foil=PAIR.target),)}),
    ],
)
def test_whatever_changes_a_contrast_is_in_its_key(number, section, values):
    assert not {*keys(stage_of(), number)} & {
        *keys(stage_of(profile=changed(section, PROFILE, **values)), number)
    }


def test_a_pair_shares_its_entries_with_other_continuations_and_names():
    other = changed("readouts", PROFILE, continuations=1, pairs=(replace(PAIR, name="end"),))
    assert keys(stage_of(profile=other), 1) == keys(stage_of(), 1)


@pytest.mark.slow
def test_a_build_has_contrasts_beside_its_texts(project, capsys):
    ours = (
        '\n[readouts]\ncontinuations = 1\nmax_new_tokens = 3\npairs = [{target = " the", foil = " and"}]\n'
        '[statistics]\nresamples = 200\nselection_metrics = ["loglik_{emotion}"]\n'
    )
    text = TOML.replace("[statistics]\nresamples = 200\n", "").replace(
        "[sweep]\n", '[sweep]\nreadouts = "attribution"\ntext = false\n'
    )
    (project / "data/profiles/small.toml").write_text(text + ours, encoding="utf-8")
    assert main(["build", "small", "--dry-run"]) == 0
    assert "confirm read-outs: loglik_gratitude, loglik_gratitude_first;" in capsys.readouterr().out
    assert main(["build", "small", "--quiet", "--lang", "en"]) == 0
    tree = phase7.open_effects(project / "store/effects/small.nc")
    main_node = tree["model/gratitude"].to_dataset()
    contrasts = [
        "loglik_gratitude",
        "loglik_gratitude_first",
        "logdiff_the_and",
        "logdiff_the_and_first",
    ]
    assert [m for m in main_node.metric.values if m.startswith("log")] == contrasts
    assert set(main_node.measured_on.sel(metric=contrasts).values) == {"logits"}
    # Three prompts cannot reject, so that there is a p and no q.
    assert main_node.net_p_value.sel(metric=contrasts).notnull().any()
    predicted = tree["model/gratitude/attribution"].to_dataset().predicted_net_delta
    assert predicted.sel(metric=contrasts, half="discovery", mode="result").notnull().all()
    # One token either way: the whole is the first token, and the difference is that of the logits.
    whole, first = (main_node.delta.sel(metric=name) for name in contrasts[2:])
    np.testing.assert_allclose(whole, first, atol=1e-12)
    report = (project / "results/small/report.md").read_text(encoding="utf-8")
    assert "`loglik_gratitude`" in report and "`logdiff_the_and`" in report


@pytest.mark.slow
def test_patch_compares_two_continuations(project, capsys):
    command = [
        "patch", "--model", "model", "--head-spec", "0:1", "--output", "out/mine.pkl",
        "--neutral-prompts", "data/neutral_prompts.json", "--max-tokens", "3",
        "--emotion-prompts", "data/gratitude_prompts.json", "--scorers", "keywords", "--quiet",
    ]  # fmt: skip
    assert main([*command, "--readout", "words:the", "--readout", "pair: the end| and"]) == 0
    result = pickle.loads((project / "out/mine.pkl").read_bytes())
    stored = phase7.open_effects(project / "out/mine.nc")["model/gratitude"].to_dataset()
    for metric in ("logodds_words", "logdiff_the_end_and"):
        value = stored.net_delta.sel(layer=0, head=1, mode="result", metric=metric).item()
        cell = next(c for c in result["cells"] if c["mode"] == "result")
        assert cell["statistics"]["net_delta"][result["metrics"].index(metric)] == value != 0
    capsys.readouterr()
    for spec, told in (
        ("pair: the| the", "expected a target and another foil"),
        ("pair: the|", "expected a target and another foil"),
        ("pair: the", "expected words: with commas"),
        ("pair:.|!", "a name of letters, digits and _"),
    ):
        assert main([*command, "--readout", spec]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert told in line
