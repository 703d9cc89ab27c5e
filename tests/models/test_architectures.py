"""Architectures that once ended in a traceback: they run as transformers does, or are refused in a line."""

from __future__ import annotations

import json

import pytest

from phase7.engine.model.loading import load_model
from phase7.models.files import find_model, read_sizes
from tests.programs.models.__main__ import main
from tests.programs.models.architectures import ARCHITECTURES, save
from tests.programs.models.measure import measure


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shares_layers", "composes"),
    [
        ("Bloom", False, True),
        ("GPTBigCode", False, True),
        ("Falcon, ALiBi", False, True),
        ("XGLM", False, False),
        ("GPT-J, stray key heads", True, True),
        ("Falcon, multi-query off", True, True),
    ],
)
def test_it_runs_in_every_mode_that_it_has(tmp_path, name, shares_layers, composes):
    row = measure(name, tmp_path / "model")
    assert row.refused == ""
    assert row.shares_layers == shares_layers
    assert row.modes["result"] == "yes"
    assert (row.modes["v_only"] == row.modes["pattern_v"] == "yes") == composes
    assert row.largest_gap == 0.0


@pytest.mark.parametrize(
    ("name", "got"),
    [
        (
            "GPT-1",
            "expected an attention that keeps keys and values in every layer, got none in layer 0",
        ),
        ("DeepSeek-V3", "outputs of (8, 4) (heads, size) from values of size 8 in layer 0"),
        (
            "Gemma 4, head sizes by layer",
            "outputs of (4, 16) (heads, size) from values of size 16 in layer 2",
        ),
        ("LFM2", "got no attention with an output for each head in layer 0"),
        ("Falcon-H1", "got RuntimeError: Sizes of tensors must match"),
        ("BERT as a decoder", "got ValueError: logits of shape (2, 11, 32), not (2, 11, 320)"),
        ("Falcon, new decoder", "got RuntimeError: split_with_sizes"),
    ],
)
def test_it_is_refused_when_it_is_loaded(tmp_path, name, got):
    row = measure(name, tmp_path / "model")
    assert got in row.refused
    assert row.refused.endswith("; see docs/models.md for what is supported")
    assert "\n" not in row.refused


@pytest.mark.parametrize("name", ["MPT", "XGLM", "Gemma 3, with vision"])
def test_sizes_are_found_under_whatever_name(tmp_path, name):
    files = find_model(str(save(name, tmp_path / "model")), store_root=tmp_path)
    assert (files.n_layers, files.n_heads) == (3, 4)
    sizes = read_sizes(files)
    assert (sizes.n_layers, sizes.n_heads, sizes.d_model, sizes.n_context) == (3, 4, 32, 96)


def test_sizes_that_a_composites_file_leaves_out_are_the_architectures(tmp_path):
    """As Gemma 3's on the hub, whose text_config has only what differs from the default."""
    folder = save("Gemma 3, with vision", tmp_path / "model")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config["text_config"]["num_attention_heads"]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    files = find_model(str(folder), store_root=tmp_path)
    assert (files.n_layers, files.n_heads) == (3, 8)


def test_a_bridge_with_other_heads_than_were_planned_for_is_refused(tmp_path):
    from dataclasses import replace

    from phase7.vocabulary.errors import UserError

    files = find_model(str(save("Llama", tmp_path / "model")), store_root=tmp_path)
    with pytest.raises(UserError, match=r"got \(3, 4\) layers and heads, .* has \(2, 4\)"):
        load_model(replace(files, n_layers=2))


@pytest.mark.slow
def test_every_architecture_runs_rightly_or_is_refused(capsys, monkeypatch):
    assert main(list(ARCHITECTURES)) == 0
    n_run = int(capsys.readouterr().out.splitlines()[-1].split()[0])
    assert n_run >= 30
