"""Read-outs of a stage, from the profile to arrays: their values, their keys, and what they leave alone."""

from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest

import phase7
from phase7.cli import main
from phase7.effects.readouts import StageReadouts, gather_readouts
from phase7.engine.decode.loop import generate
from phase7.engine.model.tokens import encode
from phase7.engine.patch.patching import Patch
from phase7.experiment.declared import Readouts
from phase7.experiment.profile import Confirm, Profile, Sampling, Sweep
from phase7.experiment.readouts import ReadoutPlan, readout_plan
from phase7.run.executor import Executor
from phase7.run.together import side_by_side
from phase7.run.units import generation_unit, path_unit
from phase7.store import Store, canonical
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.guards import GUARDS
from phase7.vocabulary.heads import Head
from phase7.vocabulary.metrics import METRICS
from phase7.vocabulary.modes import MODES
from phase7.vocabulary.readouts import is_readout, readout_metrics
from tests import stages, tiny
from tests.by_hand import direct_mean
from tests.plain_patching import PlainModel, ids_of_words, read_out
from tests.run.small_project import PROFILE as TOML
from tests.run.small_project import REPOSITORY, arrays
from tests.run.test_executor import EMOTION, NEUTRAL
from tests.stages import OTHER_VALUES, changed

#: Words that the tiny model has tokens for; of an emotion's it has none.
WORDS = ("the", "and")
N_STEPS = 5
#: The metrics of text, guards included.
TEXT = (*METRICS, *GUARDS)
PROFILE = replace(
    stages.PROFILE,
    sampling=Sampling(max_new_tokens=3, temperature=1.0, seed=2),
    sweep=None,
    confirm=Confirm(target_heads="0:1,2:3", modes=MODES, lengths=()),
    readouts=Readouts(words=WORDS, max_new_tokens=N_STEPS),
)


def plan_of(profile: Profile = PROFILE) -> ReadoutPlan:
    files = tiny.load("llama").files
    stage = stages.confirm(profile, files=files, neutral=NEUTRAL, emotion=EMOTION)
    plan = readout_plan(stage, REPOSITORY)
    assert plan is not None
    return plan


def executor(plan: ReadoutPlan, root) -> Executor:
    made = Executor(plan.stage.files, plan.stage.profile.engine, Store(root), lambda line: None)
    made.model = tiny.load("llama")
    return made


def read(plan: ReadoutPlan, root) -> StageReadouts:
    return gather_readouts(plan, executor(plan, root).read(plan))


@pytest.fixture(scope="module")
def readouts(tmp_path_factory) -> StageReadouts:
    return read(plan_of(), tmp_path_factory.mktemp("readouts"))


def path_of(prompt: str) -> list[int]:
    """The first sample of the recipient's unpatched text, drawn with no executor in between."""
    model = tiny.load("llama")
    got = generate(
        model, prompt, encode(model, prompt, "raw"), [Patch(heads=(Head(1, 1),), mode="result", donor="self")],
        donors={}, sampling=replace(PROFILE.sampling, max_new_tokens=N_STEPS),
    )  # fmt: skip
    return [int(token) for token in got.baseline_tokens[0] if token >= 0]


def by_definition(logits, baseline, path, ids) -> list[float]:
    """In the order of the metrics: means along the path, then the first step."""
    found = read_out(logits, baseline, path, {"words": ids})
    steps = [found["words"], found["kl"]]
    return [*(one.mean() for one in steps), *(one[0] for one in steps)]


def test_they_are_those_of_plain_transformers(readouts):
    """Donors, paths, sets and places worked out by hand, for every cell, both donors and every prompt."""
    plain, model, stage = PlainModel("llama"), tiny.load("llama"), plan_of().stage

    def tokens(text: str) -> list[int]:
        return list(encode(model, text, "raw"))

    ids = ids_of_words(model.tokenizer, WORDS)
    captured = {text: plain.capture(tokens(text)) for text in (*NEUTRAL.prompts, *EMOTION.prompts)}
    emotion = direct_mean([captured[text] for text in EMOTION.prompts])
    for p, index in enumerate(stage.recipients):
        prompt = NEUTRAL.prompts[index]
        others = direct_mean([captured[text] for text in NEUTRAL.prompts if text != prompt])
        path = path_of(prompt)
        assert path
        baseline = plain.patched_logits(tokens(prompt), path, (), "result", "generated", emotion)
        expected = by_definition(baseline, baseline, path, ids)
        np.testing.assert_allclose(readouts.baseline[:, p], expected, atol=1e-4)
        for c, cell in enumerate(stage.cells):
            for role, donor in (("emotion", emotion), ("control", others)):
                logits = plain.patched_logits(
                    tokens(prompt), path, cell.heads, cell.mode, "generated", donor
                )
                expected = by_definition(logits, baseline, path, ids)
                np.testing.assert_allclose(readouts.patched[role][c, :, p], expected, atol=1e-4)


def test_the_comparison_above_would_see_another_cell(readouts):
    """Liveness: cells, donors, prompts and metrics all differ by far more than the tolerance."""
    emotion, control = readouts.patched["emotion"], readouts.patched["control"]
    assert np.abs(emotion - readouts.baseline).max(axis=(0, 2)).min() > 1e-2
    assert np.abs(emotion - control).max(axis=(0, 2)).min() > 1e-2
    assert np.abs(np.diff(emotion, axis=0)).max(axis=(1, 2)).min() > 1e-2
    assert np.abs(np.diff(readouts.baseline, axis=1)).max() > 1e-2


def test_own_activations_change_no_bit(tmp_path):
    profile = changed("patching", PROFILE, donor="self")
    for rows in (64, 9):  # in one batch, and in several of other sizes
        found = read(plan_of(changed("engine", profile, max_rows=rows)), tmp_path / str(rows))
        np.testing.assert_array_equal(
            found.patched["emotion"],
            np.broadcast_to(found.baseline, found.patched["emotion"].shape),
        )
        assert (found.patched["control"] != found.baseline).any()
        assert found.n_self_rows and found.max_self_logit_gap == 0.0


def test_a_second_reading_computes_nothing(readouts, tmp_path):
    plan = plan_of()
    first = executor(plan, tmp_path)
    list(first.read(plan))
    n_prompts, n_batches = len(plan.stage.recipients), len(list(plan.batches()))
    n_computed = Counter(first._store.n_computed)
    assert (n_computed["path"], n_computed["readout"]) == (n_prompts, n_batches)
    second = executor(plan, tmp_path)
    second.model = None  # nothing may need it
    again = gather_readouts(plan, second.read(plan))
    assert second._store.n_computed == {}
    np.testing.assert_array_equal(again.baseline, readouts.baseline)
    np.testing.assert_array_equal(again.patched["emotion"], readouts.patched["emotion"])


def test_a_path_that_differs_is_refused():
    plan = plan_of(changed("engine", PROFILE, max_rows=9))
    entries = [
        (batch, {"baseline": np.full(4, float(i)), "patched": np.zeros((len(batch.patches), 4))}
         | {"n_self_rows": 1, "max_self_logit_gap": 0.0})
        for i, batch in enumerate(plan.batches())
    ]  # fmt: skip
    with pytest.raises(UserError, match="one baseline read-out for a prompt"):
        gather_readouts(plan, entries)


def test_a_model_without_a_token_of_the_emotion_is_told(tmp_path):
    plan = plan_of(changed("readouts", PROFILE, emotions=("gratitude",)))
    with pytest.raises(UserError, match="a word of gratitude that is a single token"):
        read(plan, tmp_path)


# --- keys ----------------------------------------------------------------------------------------

#: Settings that no key of a read-out knows, and why that is right.
NOT_IN_A_KEY = {
    "sampling.max_new_tokens": "the path has a length of its own",
    "sampling.samples": "all arms follow the first sample",
    "patching.primary_mode": "says which mode the report is about",
    "engine.max_rows": "says how patches are cut into batches",
    "patching.against": "emotions whose stages run beside",
    "readouts.continuations": "contrasts have entries of their own",
    "readouts.pairs": "contrasts have entries of their own",
}
SETTINGS = [
    f"{section}.{field.name}"
    for section, record in (
        ("sampling", Sampling), ("patching", type(PROFILE.patching)), ("engine", type(PROFILE.engine)),
        ("readouts", Readouts),
    )
    for field in fields(record)
]  # fmt: skip


def keys(profile: Profile) -> set[str]:
    """Those of all batches of read-outs."""
    plan = plan_of(profile)
    return {canonical("readout", batch.key) for batch in plan.batches()}


@pytest.mark.parametrize("setting", [s for s in SETTINGS if s not in NOT_IN_A_KEY])
def test_a_readout_is_another_for_each_value_of_a_setting(setting):
    section, _, name = setting.partition(".")
    values = [v for v in OTHER_VALUES[section][name] if v != getattr(getattr(PROFILE, section), name)]
    found = [keys(PROFILE), *(keys(changed(section, PROFILE, **{name: value})) for value in values)]
    assert len(found) > 1
    assert len(set().union(*found)) == sum(map(len, found))


@pytest.mark.parametrize("setting", NOT_IN_A_KEY)
def test_what_changes_no_readout_changes_no_key(setting):
    section, _, name = setting.partition(".")
    searched = replace(PROFILE, sweep=Sweep())  # whose prompts can be continued
    longer = changed("readouts", searched, max_new_tokens=1000)  # than any text, so of its own
    for value in OTHER_VALUES[section][name]:
        assert keys(changed(section, longer, **{name: value})) == keys(longer)


def test_a_path_is_the_stages_own_baseline_where_that_is_long_enough(tmp_path):
    """The tokens are those of a path of its own; the key is that of the texts' first batch."""
    own = plan_of()
    texts = plan_of(changed("sampling", PROFILE, max_new_tokens=N_STEPS + 2))
    assert own.continued_in(0) is None
    batch = texts.continued_in(0)
    assert batch is not None and batch.key == next(iter(texts.stage.batches())).key
    assert texts.path_key(0)["baseline"] == batch.key
    first, second = (executor(plan, tmp_path)._ways(plan) for plan in (own, texts))
    assert first == second and all(len(path) == N_STEPS for path in first.values())


def test_paths_are_generated_together_and_are_those_they_are_alone(tmp_path):
    stage = plan_of().stage
    prompts = [NEUTRAL.prompts[i] for i in stage.recipients]
    units = [path_unit(stage, prompt) for prompt in prompts]
    texts = generation_unit(stage, next(iter(stage.batches())))
    assert side_by_side([*units, texts], 512, 1) == [tuple(units), (texts,)]
    together = executor(plan_of(), tmp_path)
    together.compute(units)
    assert together._store.n_computed == {"path": len(prompts)}
    found = [together._entry(unit)["tokens"].tolist() for unit in units]
    assert found == [path_of(prompt) for prompt in prompts]
    assert len({tuple(path) for path in found}) > 1


# --- a run ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_build_with_readouts_has_them_beside_the_same_texts(built, project, capsys):
    ours = '\n[readouts]\nwords = ["the", "and"]\nmax_new_tokens = 4\n'
    (project / "data/profiles/small.toml").write_text(TOML + ours, encoding="utf-8")
    assert main(["build", "small", "--dry-run"]) == 0
    assert "confirm read-outs: logodds_words, kl_path" in capsys.readouterr().out
    assert main(["build", "small", "--quiet"]) == 0
    plain, read = (arrays(folder / "store/effects/small.nc") for folder in (built, project))
    metrics = [str(name) for name in read["/model/gratitude:metric"]]
    assert metrics == [*TEXT, *readout_metrics(["words"])]
    assert set(read["/model/gratitude:measured_on"][len(TEXT) :]) == {"logits"}
    tested = ~np.isnan(read["/model/gratitude/sweep:net_p_value"][..., 0, len(TEXT) :])
    assert (tested == [True, False, True, False]).all()  # divergences have no direction to test
    measured = ~np.isnan(read["/model/gratitude/sweep:net_delta"][..., 0, len(TEXT) :])
    assert measured.all()
    for name, array in plain.items():
        longer = read[name]
        axes = [i for i, (a, b) in enumerate(zip(array.shape, longer.shape, strict=True)) if a != b]
        for axis in axes:
            longer = longer.take(range(array.shape[axis]), axis)
        np.testing.assert_array_equal(longer, array, err_msg=name)
    plain_report, report = (
        (folder / "results/small/report.md").read_text(encoding="utf-8") for folder in (built, project)
    )
    assert "logodds" not in plain_report
    effects = phase7.open_effects(project / "store/effects/small.nc")["model/gratitude"].to_dataset()
    one = effects.sel(layer=2, head=3, mode="result", metric="logodds_words")
    (row,) = (
        line for line in report.splitlines() if line.startswith("| `2:3` | `result` | `logodds_words` |")
    )
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    values = [one.delta, one.control_delta, one.net_delta]
    swept = effects.net_delta.sel(metric="logodds_words").where(
        effects.net_q_value.sel(metric="logodds_words") < 0.05
    )
    if swept.notnull().any():
        assert "読み出し`logodds_words`では、単独のHeadとして" in report
    else:
        assert "読み出し`logodds_words`では" in report and "有意な効果（q < 0.05）がない" in report
    assert cells[3:6] == [f"{float(value):+.3f}".replace("-", "−") for value in values]
    assert float(cells[-1].replace("−", "-")) == round(float(one.net_effect_size), 2)


@pytest.mark.slow
def test_patch_reads_words_of_ones_own(project, capsys):
    command = [
        "patch", "--model", "model", "--head-spec", "0:1,2:3", "--output", "out/mine.pkl",
        "--neutral-prompts", "data/neutral_prompts.json", "--max-tokens", "3",
        "--emotion-prompts", "data/gratitude_prompts.json", "--scorers", "keywords",
        "--report", "out/mine.md", "--lang", "en", "--quiet",
    ]  # fmt: skip
    assert main([*command, "--readout", "words:the, and"]) == 0
    result = pickle.loads((project / "out/mine.pkl").read_bytes())
    at = result["metrics"].index("logodds_words")
    cell = next(c for c in result["cells"] if c["heads"] == "2:3")
    stored = phase7.open_effects(project / "out/mine.nc")["model/gratitude"].to_dataset()
    value = stored.net_delta.sel(layer=2, head=3, mode="result", metric="logodds_words").item()
    assert cell["statistics"]["net_delta"][at] == value != 0
    difference = cell["patched_scores"]["emotion"][at] - cell["patched_scores"]["control"][at]
    np.testing.assert_allclose(difference.mean(), value, atol=1e-12)
    report = (project / "out/mine.md").read_text(encoding="utf-8")
    assert "| `2:3` | `result` | `logodds_words` |" in report
    told = [line.split("|")[3].strip(" `") for line in report.splitlines() if "| `result` | `" in line]
    assert list(dict.fromkeys(m for m in told if is_readout(m))) == [
        "logodds_words",
        "logodds_words_first",
    ]  # the table is of what was tested, and divergences are not
    assert f"{value:+.3f}".replace("-", "−") in report
    # Positive controls run by default, and move or do not move the read-out too.
    controls = phase7.open_effects(project / "out/mine.nc")["model/gratitude/positive_controls"]
    moved = controls.delta.sel(positive_control="prompting", metric="logodds_words").item()
    assert f"| `prompting` | `logodds_words` | {moved:+.3f} |".replace("-0", "−0") in report
    assert "read-out `logodds_words`" in report[: report.index("## How to read")]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("joy,glad", "words: with commas between them"),
        ("words:", "words: with commas between them"),
        ("words:the,,and", "words: with commas between them"),
        ("pairs:a>b", "words: with commas between them"),
        (
            "words:the,chrysanthemums",
            "words that are a single token of this model, got 'chrysanthemums'",
        ),
    ],
)
def test_a_readout_that_cannot_be_read_is_one_line(spec, expected, project, capsys):
    code = main(
        ["patch", "--model", "model", "--head-spec", "0:1", "--output", "out/mine.pkl", "--quiet",
         "--neutral-prompts", "data/neutral_prompts.json", "--max-tokens", "3", "--scorers", "keywords",
         "--emotion-prompts", "data/gratitude_prompts.json", "--readout", spec]
    )  # fmt: skip
    error = capsys.readouterr().err
    assert (code, len(error.splitlines())) == (2, 1)
    assert expected in error
    assert not (project / "out").exists()


@pytest.mark.parametrize(
    "values",
    [
        {"emotions": ("joy", "joy")}, {"emotions": ("words",)}, {"words": ("the", " ")},
        {"max_new_tokens": 0},
    ],
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused(values):
    with pytest.raises(UserError):
        Readouts(**values)


def test_only_declared_readouts_rank_the_sweeps_heads():
    chosen = ("logodds_words_first", "politeness")
    profile = changed("statistics", PROFILE, selection_metrics=chosen)
    assert profile.statistics.selection_metrics == chosen
    with pytest.raises(UserError, match="read-outs that"):
        changed("readouts", profile, words=(), emotions=("gratitude",))
