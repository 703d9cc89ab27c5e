"""What heads read, against plain transformers."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from phase7.engine.patch.reads import embedding_scores, what_heads_read
from phase7.vocabulary.heads import Head
from tests import tiny
from tests.engine.test_attribution import tokens_of
from tests.engine.test_circuit import EMOTION, NEUTRAL, PATH, WEIGHTS
from tests.plain_frozen import D_HEAD, PlainFrozen

HEADS = (Head(0, 1), Head(2, 3))
N_TOKENS = 5


@cache
def found_in(architecture: str):
    kinds = [[tokens_of(architecture, text) for text in texts] for texts in (EMOTION, NEUTRAL)]
    return what_heads_read(tiny.load(architecture), HEADS, *kinds, n_tokens=N_TOKENS)


class Plain:
    """Queries, keys and attention of one head in plain transformers."""

    def __init__(self, architecture: str, head: Head) -> None:
        self.architecture, self.head = architecture, head
        self.run = PlainFrozen(architecture, tokens_of(architecture), PATH, WEIGHTS)

    def slice_of(self, letter: str, projected: torch.Tensor) -> torch.Tensor:
        _, first, step = self.run._projection(self.head.layer, letter)
        start = first.start + self.head.head * step
        return projected[..., start : start + D_HEAD]

    def project(self, letter: str, given: torch.Tensor) -> torch.Tensor:
        module, _, _ = self.run._projection(self.head.layer, letter)
        return self.slice_of(letter, module(given))

    @torch.no_grad()
    def seen(self, text: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The last query [d], keys [S, d] and its attention [S]."""
        kept: dict[str, torch.Tensor] = {}
        handles = []
        for letter in "qk":
            module, _, _ = self.run._projection(self.head.layer, letter)
            handles.append(module.register_forward_hook(self.keeping(letter, kept)))
        ids = torch.tensor([tokens_of(self.architecture, text)])
        attended = self.run.model(ids, output_attentions=True, use_cache=False).attentions
        for handle in handles:
            handle.remove()
        return kept["q"][0, -1], kept["k"][0], attended[self.head.layer][0, self.head.head, -1]

    def keeping(self, letter: str, kept: dict[str, torch.Tensor]):
        return lambda module, args, output: kept.update({letter: self.slice_of(letter, output)})

    @torch.no_grad()
    def scores(self, direction: torch.Tensor, *, as_keys: bool) -> np.ndarray:
        embedding = self.run.model.get_input_embeddings().weight
        normed = self.run._norms()["attn", self.head.layer](embedding)
        scores = self.project("k" if as_keys else "q", normed) @ direction / D_HEAD**0.5
        return (scores - scores.mean()).numpy()


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("as_keys", [True, False])
def test_scores_of_embeddings_are_those_of_plain_transformers(architecture, as_keys):
    head = HEADS[1]
    direction = torch.linspace(-1, 1, D_HEAD)
    got = embedding_scores(tiny.load(architecture), head, direction, as_keys=as_keys)
    expected = Plain(architecture, head).scores(direction.double(), as_keys=as_keys)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("number", [0, 1])
def test_what_is_asked_answered_and_read_is_that_of_plain_transformers(architecture, number):
    plain, found = Plain(architecture, HEADS[number]), found_in(architecture)
    seen = [[plain.seen(text) for text in texts] for texts in (EMOTION, NEUTRAL)]
    queries = [torch.stack([q for q, _, _ in some]).mean(dim=0) for some in seen]
    keys = [torch.stack([weights @ k for _, k, weights in some]).mean(dim=0) for some in seen]
    for name, sides, as_keys in (("asked", queries, True), ("answered", keys, False)):
        scores = plain.scores(sides[0] - sides[1], as_keys=as_keys)
        np.testing.assert_allclose(
            found[f"{name}_score"][number], np.sort(scores)[::-1][:N_TOKENS], atol=1e-3
        )
    shares: list[dict[str, float]] = [{}, {}]
    for kind, texts in enumerate((EMOTION, NEUTRAL)):
        for text, (_, _, weights) in zip(texts, seen[kind], strict=True):
            for token, weight in zip(tokens_of(architecture, text), weights.tolist(), strict=True):
                name = tiny.load(architecture).tokenizer.decode([token])
                shares[kind][name] = shares[kind].get(name, 0.0) + weight / len(texts)
    more = {
        name: shares[0].get(name, 0.0) - shares[1].get(name, 0.0) for name in {*shares[0], *shares[1]}
    }
    read = found["read_token"][number]
    assert [more[name] for name in read] == pytest.approx(
        sorted(more.values(), reverse=True)[:N_TOKENS], abs=1e-5
    )
    for kind, key in enumerate(("read_emotion", "read_neutral")):
        assert found[key][number] == pytest.approx([shares[kind].get(n, 0.0) for n in read], abs=1e-5)


def test_lists_are_filled_up_where_there_are_fewer_tokens():
    kinds = [[tokens_of("llama", "I")]] * 2
    found = what_heads_read(tiny.load("llama"), HEADS[:1], *kinds, n_tokens=3)
    assert found["read_token"] == [["I", "", ""]]
    assert (
        found["read_emotion"][0][0] == pytest.approx(1.0)
        and np.isnan(found["read_emotion"][0][1:]).all()
    )
    assert np.allclose(found["asked_score"], 0.0)  # equal kinds ask for nothing


def test_what_does_not_show_its_attention_has_queries_alone(monkeypatch):
    model = tiny.load("llama")
    monkeypatch.setattr(type(model), "hooked", lambda self, hooks: torch.no_grad())
    found = what_heads_read(
        model, HEADS[:1], [tokens_of("llama", EMOTION[0])], [tokens_of("llama", NEUTRAL[0])]
    )
    assert np.isfinite(found["asked_score"]).all()
    assert np.isnan(found["answered_score"]).all() and np.isnan(found["read_emotion"]).all()
