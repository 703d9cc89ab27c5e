"""The engine's annotations are true: they can be evaluated, and here every call is checked against them."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import typing

import pytest
import torch
from jaxtyping import TypeCheckError

import phase7.engine
from phase7.engine.decode.attribution import slopes
from phase7.engine.decode.forced import forced_pass
from phase7.engine.decode.loop import generate
from phase7.engine.decode.sampling import sample
from phase7.engine.model.bridge import unembedding_weight
from phase7.engine.model.packed import packed_product
from phase7.engine.model.rough import RoughUnembedding
from phase7.engine.model.tokens import encode
from phase7.engine.patch.capture import capture
from phase7.engine.patch.donors import single
from phase7.engine.patch.patching import Patch
from phase7.experiment.profile import Sampling
from phase7.vocabulary.heads import parse_heads
from phase7.vocabulary.modes import MODES, POSITIONS
from tests import tiny

PROMPT = "Buses leave at ten past the hour"
MODULES = [m.name for m in pkgutil.walk_packages(phase7.engine.__path__, "phase7.engine.")]


def functions(name: str) -> list[object]:
    """Functions, methods and classes that a module defines."""
    module = importlib.import_module(name)
    outer = [o for o in vars(module).values() if getattr(o, "__module__", None) == name]
    classes = [o for o in outer if inspect.isclass(o)]
    inner = [inspect.unwrap(o) for c in classes for o in vars(c).values() if inspect.isfunction(o)]
    return [*(o for o in outer if inspect.isfunction(o) or inspect.isclass(o)), *inner]


@pytest.mark.parametrize("name", MODULES)
def test_every_annotation_can_be_evaluated(name):
    for one in functions(name):
        typing.get_type_hints(one)


def test_the_law_above_sees_shapes():
    hints = typing.get_type_hints(sample)
    assert hints["logits"].dim_str == "rows n_vocab"
    assert len(MODULES) > 10
    assert sum(len(functions(name)) for name in MODULES) > 100


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_every_kind_of_patch_calls_all_it_calls_with_what_is_annotated(architecture):
    model = tiny.load(architecture)
    model = dataclasses.replace(model, rough=RoughUnembedding(unembedding_weight(model)))
    tokens = encode(model, PROMPT, "raw")
    donors = {"emotion": single(capture(model, tokens, all_queries=True))}
    heads = parse_heads("all", n_layers=tiny.N_LAYERS, n_heads=tiny.N_HEADS)
    for positions in POSITIONS:
        patches = [
            Patch(heads=(head,), mode=mode, donor=donor, positions=positions)
            for head in heads[::5]
            for mode in MODES
            for donor in ("self", "zero", "emotion")
        ]
        sampling = Sampling(max_new_tokens=4, samples=2, temperature=1.0, top_p=0.9)
        ran = generate(model, PROMPT, tokens, patches, donors=donors, sampling=sampling)
        assert ran.patched_tokens.shape == (len(patches), 2, 4)
        sets = {"few": (5, 41, 262)}
        read = forced_pass(model, tokens, (41, 7, 88), patches, donors=donors, token_sets=sets)
        assert read.patched.kl.shape == (len(patches), 3)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_estimates_of_patches_call_all_they_call_with_what_is_annotated(architecture):
    model = tiny.load(architecture)
    tokens = encode(model, PROMPT, "raw")
    donor = single(capture(model, tokens, all_queries=True))
    for positions in POSITIONS:
        given = slopes(model, tokens, (41, 7, 88), token_sets={"few": (5, 41)}, positions=positions)
        for mode in MODES:
            assert given.effect(donor, mode).shape == (2, tiny.N_LAYERS, tiny.N_HEADS)


def test_this_test_run_refuses_a_wrong_number_of_axes():
    with pytest.raises(TypeCheckError, match="logits"):
        sample(torch.zeros(5), None, temperature=0, top_p=1.0)


def test_this_test_run_refuses_axes_that_do_not_fit_each_other():
    logits, noise = torch.zeros(2, 5), torch.zeros(1, 5)
    for n_rows in (2, 3):
        rows = torch.zeros(n_rows, dtype=torch.int64)
        if n_rows == len(logits):
            assert sample(logits, noise, temperature=1.0, top_p=1.0, noise_rows=rows).shape == (2,)
            continue
        with pytest.raises(TypeCheckError, match="noise_rows"):
            sample(logits, noise, temperature=1.0, top_p=1.0, noise_rows=rows)


def test_this_test_run_refuses_a_wrong_dtype():
    with pytest.raises(TypeCheckError, match="Float"):
        packed_product(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(4, 3))
