"""Products of an attention that are made once for all prompts: the same numbers, in fewer products."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from phase7.engine.decode import joint_products, together
from phase7.engine.decode.joint_products import JointProducts
from phase7.engine.decode.loop import generate_together
from phase7.engine.model import packed
from phase7.engine.patch.patching import Patch
from phase7.experiment.profile import Sampling
from phase7.vocabulary.heads import Head
from tests import tiny
from tests.properties.test_together_laws import requests


class Bridged(nn.Module):
    """What stands before a model's own module, as a bridge's parts do."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.original_component = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.original_component(x)


class Attention(nn.Module):
    """Reads its input, does something that differs by prompt, and writes an output."""

    def __init__(self, after=lambda out: out, before=lambda x: x) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.q, self.o = Bridged(nn.Linear(6, 8)), Bridged(nn.Linear(8, 6))
        self._after, self._before = after, before
        self.made: list[int] = []
        for part in (self.q, self.o):
            layer = part.original_component
            layer.forward = self._noted(layer.forward)

    def _noted(self, product):
        def forward(x: Tensor) -> Tensor:
            self.made.append(len(x))
            return product(x)

        return forward

    def one(self, place: int, part: Tensor):
        return self._after(self.o(torch.tanh(self.q(self._before(part)) + place))), "pattern"


STATES, N_ROWS = torch.randn(9, 1, 6, generator=torch.Generator().manual_seed(1)), [2, 4, 3]


def separately(attention: Attention) -> Tensor:
    parts = STATES.split(N_ROWS)
    return torch.cat([attention.one(place, part)[0] for place, part in enumerate(parts)])


@pytest.mark.parametrize("defers", [True, False])
def test_each_weight_is_read_once_for_all_prompts(defers):
    attention = Attention()
    expected = separately(attention)
    attention.made.clear()
    joint = JointProducts(attention, defers_output=defers)
    with joint.installed():
        for _ in range(2):  # nothing is kept from one pass to the next
            out, pattern = joint.attend(STATES, N_ROWS, attention.one)
            torch.testing.assert_close(out, expected)
            assert pattern is None
    assert attention.made == ([9, 9] if defers else [9, *N_ROWS]) * 2
    separately(attention)
    assert attention.made[-6:] == [2, 2, 4, 4, 3, 3]  # and it is as it was


def test_an_input_that_is_another_is_multiplied_by_itself():
    attention = Attention(before=lambda x: x * 2)
    expected = separately(attention)
    attention.made.clear()
    joint = JointProducts(attention, defers_output=True)
    with joint.installed():
        torch.testing.assert_close(joint.attend(STATES, N_ROWS, attention.one)[0], expected)
    assert attention.made == [*N_ROWS, 9]


def test_who_reads_the_output_too_early_is_told():
    """An attention that changes its output, and one that only looks at it, which then is no number."""
    seen = []
    changing = JointProducts(changed := Attention(after=lambda out: out * 2), defers_output=True)
    with changing.installed(), pytest.raises(RuntimeError, match="changed its output"):
        changing.attend(STATES, N_ROWS, changed.one)
    looking = JointProducts(
        looked := Attention(after=lambda out: seen.append(out.clone()) or out), defers_output=True
    )
    with looking.installed():
        looking.attend(STATES, N_ROWS, looked.one)
    assert torch.cat(seen).isnan().all()


@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_a_models_attentions_read_each_weight_once_a_step(architecture, once, monkeypatch):
    """Products with rows of all three prompts alone, in each of the layers."""
    model, n_new = tiny.load(architecture), 4
    assert together.can_run_together(model)  # which tries it, once
    if not once:
        model = dataclasses.replace(model, compared=model.compared - {together._ONE_ATTENTION})
    asked = requests(model, [[Patch(heads=(Head(1, 0),), donor="zero")]] * 3)
    made: list[int] = []
    product = packed.packed_product
    monkeypatch.setattr(
        packed,
        "packed_product",
        lambda x, *rest: (x.shape[1] == 1 < len(x) and made.append(len(x))) or product(x, *rest),
    )
    generate_together(model, asked, sampling=Sampling(max_new_tokens=n_new, seed=1, samples=2))
    assert made and min(made) >= 3 * 2


def test_an_attention_that_does_something_with_its_output_still_runs_together(monkeypatch):
    model = tiny.load("gpt2")
    model = dataclasses.replace(model, compared=set())
    given = joint_products._is_same
    monkeypatch.setattr(together, "side_by_side", None)  # or it would run once for all
    monkeypatch.setattr(
        joint_products, "_is_same", lambda x, other: not other.isnan().any() and given(x, other)
    )
    assert together.can_run_together(model)
    assert "attention output read" in model.compared
