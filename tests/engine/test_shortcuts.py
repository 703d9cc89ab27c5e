"""Faster ways of computing are compared with the plain ones where the libraries are other versions."""

from __future__ import annotations

import logging
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

from phase7.engine.decode.loop import generate
from phase7.engine.model import compared, lean, loading, packed, versions
from phase7.engine.model.blocks import ROW_BLOCK
from phase7.engine.model.kv_cache import SharedKeysOrValues, SharedPrefixLayer
from phase7.engine.model.lean import LeanNormalization, LeanRMSNormalization
from phase7.engine.model.loading import load_model
from phase7.engine.model.packed import can_pack
from phase7.engine.model.rough import RoughUnembedding
from phase7.engine.model.shortcuts import Shortcuts
from phase7.engine.model.tokens import encode
from phase7.engine.patch.patching import Patch
from phase7.experiment.profile import Sampling
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.heads import parse_heads
from tests import tiny

pytestmark = pytest.mark.skipif(
    not can_pack(torch.device("cpu"), torch.float32), reason="this torch has no packed products"
)
EVERYTHING = Shortcuts(packed_products=True, lean_modules=True, shared_cache=True, shared_layers=True)
HEADS = parse_heads("all", n_layers=tiny.N_LAYERS, n_heads=tiny.N_HEADS)
PROMPT = "Buses leave at ten past the hour"
CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"


@pytest.fixture
def tested_versions(monkeypatch):
    """As if the installed versions were the tested ones, as they mostly are."""
    for name in versions.TESTED:
        monkeypatch.setitem(versions.TESTED, name, version(name).partition("+")[0])


@pytest.fixture
def other_torch(tested_versions, monkeypatch):
    """As if another version of torch had been tested, on a processor that multiplies bfloat16."""
    monkeypatch.setitem(versions.TESTED, "torch", "1.99.0")
    monkeypatch.setattr(loading, "multiplies_bfloat16", lambda device: True)


def load(architecture, **options):
    return load_model(tiny.load(architecture).files, **options)


def tokens_of(model, **options):
    """Generated tokens [patch, step], the baseline first; two donors for every head."""
    tokens = encode(model, PROMPT, "raw")
    patches = [Patch(heads=(head,), donor=donor) for head in HEADS for donor in ("zero", "self")]
    sampling = Sampling(max_new_tokens=8, temperature=1.0, top_p=0.9, seed=3)
    ran = generate(model, PROMPT, tokens, patches, donors={}, sampling=sampling, **options)
    return np.concatenate([ran.baseline_tokens, ran.patched_tokens[:, 0]])


def plain_tokens(architecture):
    """With none of the shortcuts."""
    model = load(architecture, pack=False)
    return tokens_of(model, share_layers=False, rough_logits=False)


# --- which versions ------------------------------------------------------------------------------


@pytest.mark.skipif(not CONSTRAINTS.exists(), reason="there is no constraints.txt here")
def test_the_tested_versions_are_those_of_the_constraints():
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    assert {name: pinned[name] for name in versions.TESTED} == versions.TESTED


def test_another_version_is_noticed_and_another_build_is_not(monkeypatch):
    installed = versions.TESTED | {
        "torch": versions.TESTED["torch"] + "+cu126",
        "transformers": "5.99.0",
    }
    monkeypatch.setattr(versions, "version", installed.get)
    assert versions.untested() == {"transformers": "5.99.0"}


def test_with_the_tested_versions_only_what_depends_on_the_architecture_is_compared(
    tested_versions, monkeypatch
):
    files, compared_with, holds = tiny.load("gpt2").files, [], compared.holds
    monkeypatch.setattr(loading, "that_hold", lambda *args: pytest.fail("compared"))
    monkeypatch.setattr(
        loading,
        "holds",
        lambda check, *args: compared_with.append(check.__name__) or holds(check, *args),
    )
    assert load_model(files).shortcuts == EVERYTHING
    assert compared_with == ["shared_cache_agrees", "composes"]


# --- what holds is kept --------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_what_agrees_with_the_plain_way_is_kept(other_torch, caplog, architecture):
    model = load(architecture)
    assert model.shortcuts == EVERYTHING
    assert model.rough is not None
    assert model.row_block < ROW_BLOCK
    assert caplog.records == []
    np.testing.assert_array_equal(tokens_of(model), tokens_of(tiny.load(architecture)))


# --- what does not is left out -------------------------------------------------------------------


def louder(function):
    return lambda *args, **kwargs: function(*args, **kwargs) * 1.001


def break_products(monkeypatch):
    monkeypatch.setattr(packed, "packed_product", louder(packed.packed_product))


def mix_rows(monkeypatch):
    """A row's last bit depends on how many rows there are."""
    product = packed.packed_product
    monkeypatch.setattr(
        packed,
        "packed_product",
        lambda x, copy, bias=None: product(x, copy, bias) * (1 + 2**-22 * (len(x) % 2)),
    )


def take_products_away(monkeypatch):
    def missing(*args):
        raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_linear_pointwise'")

    monkeypatch.setattr(packed, "packed_product", missing)


def break_normalisations(monkeypatch):
    for kind in (LeanNormalization, LeanRMSNormalization):
        monkeypatch.setattr(kind, "forward", louder(kind.forward))


def take_lean_modules_away(monkeypatch):
    monkeypatch.setitem(sys.modules, "phase7.engine.model.lean", None)  # importing it fails


def break_gelu(monkeypatch):
    monkeypatch.setattr(lean, "_lean_gelu", torch.nn.GELU)  # the exact one, not the tanh's


def break_rough_logits(monkeypatch):
    changes = RoughUnembedding.changes

    def shifted(self, states, references):
        found, error = changes(self, states, references)
        found[:, 7] += 4 * error.to(found.dtype)
        return found, error

    monkeypatch.setattr(RoughUnembedding, "changes", shifted)


def break_shared_keys(monkeypatch):
    multiplied = SharedKeysOrValues.multiplied
    monkeypatch.setattr(SharedKeysOrValues, "multiplied", louder(multiplied))


def change_the_caches_signature(monkeypatch):
    monkeypatch.setattr(SharedPrefixLayer, "get_mask_sizes", lambda self: (0, 0))


BREAKS = [
    ("llama", break_products, "packed products"),
    ("gpt2", mix_rows, "packed products"),
    ("llama", take_products_away, "packed products"),
    ("llama", break_normalisations, "lean modules"),
    ("gpt2", break_normalisations, "lean modules"),
    ("gpt2", break_gelu, "lean modules"),
    ("llama", take_lean_modules_away, "lean modules"),
    ("llama", break_rough_logits, "rough logits"),
    ("llama", break_shared_keys, "the shared cache"),
    ("gpt_neo", change_the_caches_signature, "the shared cache"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "break_it", "name"), BREAKS, ids=[f"{b.__name__}-{a}" for a, b, _ in BREAKS]
)
def test_what_differs_or_is_missing_is_left_out(
    other_torch, monkeypatch, caplog, architecture, break_it, name
):
    expected = plain_tokens(architecture)
    break_it(monkeypatch)
    with caplog.at_level(logging.WARNING, logger="phase7"):
        model = load(architecture)
    (record,) = caplog.records
    line = record.getMessage()
    assert len(line.splitlines()) == 1
    assert name in line
    assert f"torch {version('torch')}" in line and "torch 1.99.0" in line
    kept = {
        "packed products": model.shortcuts.packed_products,
        "lean modules": model.shortcuts.lean_modules,
        "the shared cache": model.shortcuts.shared_cache,
    }
    if name == "packed products":  # rough logits are packed products, too
        assert model.row_block == ROW_BLOCK
        assert model.rough is None
    elif name == "rough logits":
        assert model.rough is None
        assert all(kept.values())
    else:
        assert model.rough is not None
    assert [other for other, is_kept in kept.items() if not is_kept] == [name] * (name in kept)
    np.testing.assert_array_equal(tokens_of(model), expected)
    np.testing.assert_array_equal(tokens_of(model.for_another_thread()), expected)


@pytest.mark.parametrize("break_it", [break_products, break_normalisations])
def test_without_the_comparison_it_would_be_used(tested_versions, monkeypatch, break_it):
    """Liveness: it is the comparison that leaves it out; else the whole model is found to differ."""
    break_it(monkeypatch)
    with pytest.raises(UserError, match=r"expected a bridge that gives the logits of transformers"):
        load("llama")
    monkeypatch.setattr(loading, "check_logits", lambda model: None)
    assert load("llama").shortcuts == EVERYTHING


def test_a_cache_that_differs_is_left_out_with_any_version(tested_versions, monkeypatch, caplog):
    expected = plain_tokens("llama")
    break_shared_keys(monkeypatch)
    model = load("llama")
    assert model.shortcuts == Shortcuts(packed_products=True, lean_modules=True)
    assert caplog.records == []
    np.testing.assert_array_equal(tokens_of(model), expected)


def test_a_model_without_packing_has_nothing_to_compare_but_its_cache(other_torch, monkeypatch, caplog):
    break_products(monkeypatch)
    model = load("llama", pack=False)
    assert model.shortcuts == Shortcuts(shared_cache=True, shared_layers=True)
    assert caplog.records == []


def test_several_are_told_in_one_line(other_torch, monkeypatch, caplog):
    for break_it in (break_products, break_normalisations, break_shared_keys):
        break_it(monkeypatch)
    assert load("llama").shortcuts == Shortcuts()
    (record,) = caplog.records
    assert "packed products, lean modules, the shared cache" in record.getMessage()


def test_a_comparison_that_cannot_be_made_does_not_hold():
    assert compared.holds(lambda: True)
    assert not compared.holds(lambda: False)
    assert not compared.holds(lambda: torch.ops.mkldnn.no_such_operation())
