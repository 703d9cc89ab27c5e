"""A search by successive halving and a confirmation that may stop early, from the profile to the report.

The same project is built with both and with neither: what was measured by both must agree.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import phase7
from phase7.cli import main
from phase7.findings.group import groups
from phase7.findings.power import reach
from phase7.statistics import level_shares
from tests import tiny
from tests.run.small_project import NEUTRAL, REPOSITORY, build, write_data

pytestmark = pytest.mark.slow

PLAIN = """
models = ["model"]
emotions = ["gratitude"]
scorers = ["keywords"]
[sampling]
max_new_tokens = 4
seed = 5
[patching]
control = "none"
[sweep]
text = false
modes = ["result", "v_only"]
[confirm]
target_heads = "all"
strongest = 5
modes = ["result"]
positive_controls = false
guard_samples = 0
lengths = [2]
[readouts]
words = ["the", "and"]
max_new_tokens = 3
[statistics]
alpha = 0.5
resamples = 200
selection_metrics = ["logodds_words"]
primary_metrics = ["logodds_words"]
"""
ADAPTIVE = PLAIN.replace('"v_only"]\n', '"v_only"]\nhalving = [1, 3]\n') + (
    'looks = [3, 5]\nspending = "pocock"\n'
)
METRIC, ENDS = "logodds_words", (3, 5, 6)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("adaptive")
    neutral = [f"{text}{more}" for more in ("", " it") for text in NEUTRAL]
    write_data(folder, neutral, {"plain": PLAIN})
    shutil.copy(REPOSITORY / "data" / "keywords.toml", folder / "data" / "keywords.toml")
    tiny.save("llama", folder / "model")
    build(folder, "plain")
    target = head_of_one_sign(read(folder, "plain"))
    text = ADAPTIVE.replace('target_heads = "all"', f'target_heads = "{target}"')
    (folder / "data" / "profiles" / "adaptive.toml").write_text(text, encoding="utf-8")
    build(folder, "adaptive")
    return folder


def read(project: Path, name: str):
    return phase7.open_effects(project / "store" / "effects" / f"{name}.nc")["model/gratitude"]


def confirmed(tree, head: str) -> np.ndarray:
    """A head's differences by confirmation prompt."""
    layer, number = map(int, head.split(":"))
    at = dict(layer=layer, head=number, mode="result", metric=METRIC)
    found = tree.to_dataset().sel(at)
    differences = (found.patched - found.baseline).values
    return differences[np.isfinite(differences)]


def head_of_one_sign(tree) -> str:
    """A head whose differences on the prompts of the first look have one sign, so that it stops there."""
    every = [f"{layer}:{head}" for layer in range(tiny.N_LAYERS) for head in range(tiny.N_HEADS)]
    return next(one for one in every if abs(np.sign(confirmed(tree, one)[: ENDS[0]]).sum()) == ENDS[0])


@pytest.fixture(scope="module")
def plain(project):
    return read(project, "plain")


@pytest.fixture(scope="module")
def adaptive(project):
    return read(project, "adaptive")


def settings(tree) -> dict:
    return json.loads(tree.attrs["settings"])


# --- the search --------------------------------------------------------------------------------------


def by_head(tree, mode: str = "result") -> np.ndarray:
    """Differences of the swept heads by discovery prompt: [head, prompt]."""
    sweep = tree["sweep"].to_dataset().sel(mode=mode, metric=METRIC)
    sweep = sweep.isel(prompt=np.flatnonzero(tree.to_dataset().split == "discovery"))
    found = (sweep.patched - sweep.baseline).transpose("layer", "head", "prompt").values
    return found.reshape(-1, found.shape[-1])


def test_heads_are_dropped_by_what_they_do_on_the_prompts_so_far(plain, adaptive):
    """The order is worked out by hand from the search that read every head on every prompt."""
    whole = np.stack([by_head(plain, mode) for mode in ("result", "v_only")])
    kept, dropped = np.arange(12), []
    for n, n_left in ((1, 6), (3, 3), (6, 3)):
        means = whole[:, kept, :n].mean(axis=-1)
        scaled = means / means.std()  # one metric: all cells of a round share the scale
        order = kept[np.argsort(-scaled.max(axis=0), kind="stable")]
        kept, dropped = np.sort(order[:n_left]), [*order[n_left:], *dropped]
    ranked = [*order, *dropped]
    expected = [f"{i // tiny.N_HEADS}:{i % tiny.N_HEADS}" for i in ranked[:5]]
    assert settings(adaptive)["strongest_heads"] == expected
    assert settings(adaptive)["halving"] == [[1, 12], [2, 6], [3, 3]]


def test_what_a_head_has_is_what_it_has_in_the_whole_search(plain, adaptive):
    whole, found = by_head(plain), by_head(adaptive)
    measured = np.isfinite(found)
    np.testing.assert_allclose(found[measured], whole[measured], atol=2e-5)
    counts = adaptive["sweep"].n_prompts.sel(mode="result").values.ravel()
    np.testing.assert_array_equal(measured.sum(axis=1), counts)
    assert sorted(counts.tolist()) == [1] * 6 + [3] * 3 + [6] * 3


def test_nothing_of_such_a_search_is_tested(plain, adaptive):
    sweeps = [one["sweep"].to_dataset().sel(metric=METRIC, mode="result") for one in (plain, adaptive)]
    for name in ("p_value", "q_value", "ci_low", "ci_high"):
        assert np.isfinite(sweeps[0][name]).all() and np.isnan(sweeps[1][name]).all()
    assert np.isfinite(sweeps[1].delta).all()


# --- the confirmation --------------------------------------------------------------------------------


def test_it_stops_where_the_primary_metric_is_significant(plain, adaptive):
    told = settings(adaptive)
    n, target = told["n_confirmation_prompts"], told["target_heads"]
    shares = dict(zip(ENDS, level_shares(ENDS, alpha=0.5, spending="pocock"), strict=True))
    assert told["looks"] == {"prompts": [*ENDS], "spending": "pocock", "share": shares[n]}
    differences = confirmed(plain, target)
    assert len(differences) == ENDS[-1]
    # One test: the smallest p that three differences can have, and below the level's share.
    assert n == 3 and abs(np.sign(differences[:3]).sum()) == 3 and 0.5 * shares[3] > 2 / 2**3
    np.testing.assert_allclose(confirmed(adaptive, target), differences[:3], atol=2e-5)
    assert "looks" not in settings(plain) and "halving" not in settings(plain)


def test_prompts_behind_the_look_were_not_run(project, adaptive):
    n = settings(adaptive)["n_confirmation_prompts"]
    split = adaptive.to_dataset().split.values.tolist()
    assert split.count("confirmation") == n
    assert "texts" in adaptive.children
    assert adaptive["texts"].sizes["prompt"] == 6 + n


def test_p_and_q_are_those_of_its_prompts_over_the_looks_share(adaptive):
    share = settings(adaptive)["looks"]["share"]
    told = settings(adaptive)
    layer, head = map(int, told["target_heads"].split(":"))
    found = adaptive.to_dataset().sel(layer=layer, head=head, mode="result", metric=METRIC)
    k = told["n_confirmation_prompts"]
    for name in ("p_value", "p_adjusted", "q_value"):
        assert found[name].item() == pytest.approx(2.0 ** (1 - k) / share)
    assert found.p_value < 0.5
    again = adaptive.phase7.measure("length", len)
    texts = adaptive["texts"].to_dataset()
    assert again.sizes["prompt"] == k == texts.sizes["prompt"] - 6
    assert np.nanmin(again.p_value) >= 2.0 ** (1 - k) / share


def test_what_can_be_found_knows_the_share(project, adaptive):
    (group,) = groups(phase7.open_effects(project / "store/effects/adaptive.nc"))
    share = settings(adaptive)["looks"]["share"]
    assert group.test_alpha == pytest.approx(0.5 * share)
    found = reach(group, list(group.readouts.values()))
    n = settings(adaptive)["n_confirmation_prompts"]
    assert found.lowest_p == pytest.approx(2.0 ** (1 - n) / share)


def test_the_report_and_the_plan_say_so(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    assert main(["report", "store/effects/adaptive.nc", "--lang=en", "--output=r.md"]) == 0
    text = Path("r.md").read_text(encoding="utf-8")
    assert "was to be looked at after 3, 5, 6 prompts" in " ".join(text.split())
    assert "ran in 3 rounds" in " ".join(text.split())
    capsys.readouterr()
    assert main(["build", "adaptive", "--dry-run", "--force"]) == 0
    out = capsys.readouterr().out
    assert "read-outs, round 1: " in out and "round 3: " in out
    assert "the confirmation is looked at after 3 (" in out


def test_a_second_build_computes_nothing(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    assert main(["build", "adaptive", "--quiet", "--backend=serial", "--force"]) == 0
    assert "0 entries computed" in capsys.readouterr().out
