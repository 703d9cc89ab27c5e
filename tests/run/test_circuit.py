"""The circuit of the heads found, from the profile to the effects file, the figure and the report."""

from __future__ import annotations

import numpy as np
import pytest

import phase7
from phase7.cli import main
from phase7.engine.model.tokens import encode
from phase7.findings.circuit import circuits_of, largest_gap, n_prompts
from phase7.findings.group import groups
from phase7.statistics.paired import paired_summary
from phase7.vocabulary.heads import Head
from tests import tiny
from tests.by_hand import direct_mean
from tests.plain_frozen import D_HEAD
from tests.plain_patching import PlainModel, ids_of_words
from tests.run.small_project import EMOTION, NEUTRAL, REPOSITORY, write_data

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
strongest = 2
modes = ["result"]
positive_controls = false
lengths = []
[readouts]
words = ["the", "and"]
max_new_tokens = 3
[circuit]
heads = 2
n_prompts = 2
max_new_tokens = 1
[statistics]
resamples = 200
selection_metrics = ["logodds_words"]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("circuit")
    write_data(folder, NEUTRAL, {"small": PROFILE})
    (folder / "data" / "keywords.toml").write_bytes((REPOSITORY / "data/keywords.toml").read_bytes())
    tiny.save("llama", folder / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["build", "small", "--quiet", "--lang", "en"]) == 0
    return folder


@pytest.fixture(scope="module")
def tree(folder):
    return phase7.open_effects(folder / "store/effects/small.nc")


@pytest.fixture(scope="module")
def circuit(tree):
    return tree["model/gratitude/circuit"].to_dataset()


def tokens(text: str) -> list[int]:
    return list(encode(tiny.load("llama"), text, "raw"))


@pytest.mark.slow
def test_the_heads_are_the_first_of_the_sweep(tree, circuit):
    net = tree["model/gratitude/sweep"].to_dataset().net_delta.sel(mode="result", metric="logodds_words")
    first = np.argsort(-net.values.ravel(), kind="stable")[:2]
    assert circuit.head_set.values.tolist() == [
        f"{i // tiny.N_HEADS}:{i % tiny.N_HEADS}" for i in sorted(first)
    ]


def test_paths_sum_to_the_effect_and_statistics_are_those_of_the_prompts(circuit):
    prompts = circuit.total.notnull().all("head_set")
    assert int(prompts.sum()) == 2
    path, total = circuit.path[..., prompts.values], circuit.total[:, prompts.values]
    np.testing.assert_allclose(path.sum("reader"), total, atol=float(circuit.path_gap.max()) + 1e-9)
    assert float(circuit.path_gap.max()) < 1e-2 < 10 * float(np.abs(total).max())
    expected = paired_summary(path.values, seed=5)
    np.testing.assert_allclose(circuit.path_delta, expected.mean)
    np.testing.assert_allclose(circuit.path_p_value, expected.p_value)
    letters = circuit.path_by_letter.sum("letter", skipna=False)
    heads = [":" in name and not name.startswith("mlp") for name in circuit.reader.values]
    known = circuit.path_delta[:, heads].notnull()
    assert known.any()
    np.testing.assert_allclose(
        letters[:, heads].where(known), circuit.path_delta[:, heads].where(known), atol=1e-6
    )


def test_direct_effects_are_those_of_plain_transformers(circuit):
    """Of the donors' difference past all later layers, with the scale of the unpatched run."""
    plain = PlainModel("llama")
    captured = {text: plain.capture(tokens(text)) for text in (*NEUTRAL, *EMOTION)}
    ids = list(ids_of_words(tiny.load("llama").tokenizer, ("the", "and")))
    unembedding = plain.model.lm_head.weight.detach()
    words = unembedding[ids].mean(dim=0) - unembedding.mean(dim=0)
    emotion = direct_mean([captured[text] for text in EMOTION])[0]
    for label in circuit.head_set.values:
        head = Head(*map(int, label.split(":")))
        weight = plain.output_projection(head.layer).weight.detach().T.reshape(tiny.N_HEADS, D_HEAD, -1)
        for prompt in circuit.prompt.values[circuit.total.notnull().all("head_set").values]:
            recipient = NEUTRAL[prompt]
            others = direct_mean([captured[text] for text in NEUTRAL if text != recipient])[0]
            change = emotion[head.layer, 0, head.head] - others[head.layer, 0, head.head]
            states = plain.model.model(
                _ids(tokens(recipient)), output_hidden_states=True, use_cache=False
            )
            before = _before_norm(plain, tokens(recipient))
            norm = plain.model.model.norm
            scale = (before.square().mean() + norm.variance_epsilon).rsqrt()
            added = change @ weight[head.head].numpy()
            expected = float((added * norm.weight.detach().numpy()) @ words.numpy() * float(scale))
            found = float(circuit.path.sel(head_set=label, reader="logits", prompt=prompt))
            assert states is not None and abs(expected) > 1e-4
            assert found == pytest.approx(expected, abs=1e-4)


def _ids(some):
    import torch

    return torch.tensor([some])


def _before_norm(plain, some):
    kept = []
    handle = plain.model.model.norm.register_forward_hook(lambda m, args, out: kept.append(args[0]))
    plain.model(_ids(some), use_cache=False)
    handle.remove()
    return kept[0][0, -1].detach()


def test_the_attention_read_is_that_of_plain_transformers(circuit):
    plain = PlainModel("llama")
    label = str(circuit.head_set.values[0])
    layer, head = map(int, label.split(":"))
    shares = []
    for texts in (EMOTION[:2], NEUTRAL[:2]):
        found: dict[str, float] = {}
        for text in texts:
            some = tokens(text)
            pattern = plain.model(_ids(some), output_attentions=True, use_cache=False).attentions[layer]
            for token, weight in zip(some, pattern[0, head, -1].tolist(), strict=True):
                name = tiny.load("llama").tokenizer.decode([token])
                found[name] = found.get(name, 0.0) + weight / len(texts)
        shares.append(found)
    one = circuit.sel(head_set=label)
    first = str(one.read_token[0].item())
    differences = {t: shares[0].get(t, 0.0) - shares[1].get(t, 0.0) for t in {*shares[0], *shares[1]}}
    assert differences[first] == pytest.approx(max(differences.values()), abs=1e-6)
    assert float(one.read_emotion[0]) == pytest.approx(shares[0].get(first, 0.0), abs=1e-5)
    assert float(one.read_neutral[0]) == pytest.approx(shares[1].get(first, 0.0), abs=1e-5)


def test_the_report_has_a_claim_for_each_head_and_a_row_behind_it(folder, tree):
    text = (folder / "results/small/report.md").read_text(encoding="utf-8")
    (group,) = groups(tree)
    found = circuits_of(group)
    assert len(found) == 2 and n_prompts(group) == 2 and largest_gap(group) < 1e-2
    for one in found:
        assert f"| `{one.label}` → logits |" in text
        assert text.count(f"`{one.label}`") >= 3
        for path in one.through:
            assert f"| `{one.label}` → {path.label} |" in text
    assert (folder / "results/small/plots").exists() or list(folder.rglob("*_circuit.png"))


def test_a_second_run_computes_nothing(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert main(["build", "small", "--force", "--lang", "en"]) == 0
    told = capsys.readouterr()
    assert "loading model" not in told.err + told.out


def test_the_plan_tells_of_it(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert main(["build", "small", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "the first 2 heads of the sweep are taken apart as a circuit, on 2 prompts" in told
