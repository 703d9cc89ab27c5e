"""The laws of a patch that holds for a while: no-ops to the bit, liveness beside them, hooks gone."""

from __future__ import annotations

import copy

import pytest
import torch

import phase7
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.modes import MODES
from tests import tiny

GRATITUDE = [
    "Thank you so much for the lift",
    "I am grateful for the sugar and",
    "Thank you for the card",
]
NEUTRAL = ["The kettle is on the second", "Buses leave at ten past", "She wrote the number on a"]
PROMPT, HEADS = "The kettle is on", "0:1,2:3"
SHORT = {"max_new_tokens": 4, "samples": 2}


class Case:
    """A model in memory with two donors, and what it gives unpatched."""

    def __init__(self, architecture: str) -> None:
        self.hf, tokenizer = tiny.hf_model(architecture), tiny.tokenizer()
        self.model = phase7.load_model(self.hf, tokenizer, name="tiny")
        self.gratitude = phase7.donor(self.model, GRATITUDE, name="gratitude")
        self.neutral = phase7.donor(self.model, NEUTRAL, name="neutral")
        self.tokens = torch.tensor([self.model.encode(PROMPT)])
        self.plain = self.now()

    @torch.no_grad()
    def now(self) -> tuple[list[str], torch.Tensor]:
        return self.model.generate(PROMPT, SHORT), self.model.bridge(self.tokens)

    @torch.no_grad()
    def transformers(self) -> torch.Tensor:
        return self.hf(self.tokens).logits

    def n_hooks(self) -> int:
        modules = [
            *self.hf.modules(),
            *self.model.bridge.modules(),
            *self.model.bridge.original_model.modules(),
        ]
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules)


def equal(one, other) -> bool:
    return one[0] == other[0] and torch.equal(one[1], other[1])


OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in ("gpt2", "gpt_neox", "gpt_neo")]


@pytest.fixture(scope="module", params=["llama", *OTHERS])
def case(request) -> Case:
    return Case(request.param)


@pytest.mark.parametrize("mode", MODES)
def test_the_self_donor_changes_nothing_and_another_does(case, mode):
    with phase7.patched(case.model, HEADS, "self", mode=mode, strength=2, tell=None):
        assert equal(case.now(), case.plain)
    for donor in (case.gratitude, case.gratitude - case.neutral):
        with phase7.patched(case.model, HEADS, donor, mode=mode, strength=3, tell=None):
            texts, logits = case.now()
        assert texts != case.plain[0] and not torch.equal(logits, case.plain[1])
    assert equal(case.now(), case.plain)


def test_strength_0_changes_nothing(case):
    with phase7.patched(case.model, HEADS, case.gratitude - case.neutral, strength=0, tell=None):
        assert equal(case.now(), case.plain)


def test_the_transformers_model_itself_runs_patched(case):
    plain = case.transformers()
    with phase7.patched(case.model, HEADS, "self", tell=None):
        assert torch.equal(case.transformers(), plain)
    with phase7.patched(case.model, HEADS, case.gratitude, tell=None), torch.no_grad():
        patched, bridge = case.transformers(), case.model.bridge(case.tokens)
        assert torch.equal(patched[:, :-1], plain[:, :-1])  # only the last query is patched
        assert not torch.allclose(patched[:, -1], plain[:, -1])
        torch.testing.assert_close(patched, bridge, atol=1e-4, rtol=1e-4)
    composed = phase7.patched(case.model, HEADS, case.gratitude, mode="v_only", tell=None)
    with composed, pytest.raises(UserError, match=r"expected a pass of model\.bridge"):
        case.transformers()
    assert torch.equal(case.transformers(), plain)


def test_generation_by_transformers_is_patched_at_every_new_token(case):
    options = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
    plain = case.hf.generate(case.tokens, **options)
    with phase7.patched(case.model, HEADS, case.gratitude, strength=3, tell=None) as what:
        patched = case.hf.generate(case.tokens, **options)
    n = case.tokens.shape[1]
    assert not torch.equal(patched, plain)
    assert [list(one.queries) for one in what.acted] == [[n - 1 + i] for i in range(len(patched[0]) - n)]


def test_a_batch_of_the_users_own_is_patched_row_by_row(case):
    rows = torch.cat([case.tokens, case.tokens.flip(1)])
    with phase7.patched(case.model, HEADS, case.gratitude, positions="all", tell=None), torch.no_grad():
        both = case.model.bridge(rows)
        alone = torch.cat([case.model.bridge(row[None]) for row in rows])
    torch.testing.assert_close(both, alone, atol=1e-4, rtol=1e-4)


def test_it_tells_at_which_queries_it_acted(case, capsys):
    n = case.tokens.shape[1]
    with phase7.patched(case.model, HEADS, case.gratitude) as what:
        case.now()
    generated, passed = what.acted
    assert (generated.call, generated.n_rows, generated.queries[0]) == ("generate", 2, n - 1)
    assert passed.queries == range(n - 1, n)
    told = capsys.readouterr().out
    assert (
        f"patched {HEADS} (result, gratitude, strength 1): generate (2 rows, prompt of {n} tokens): "
        in told
    )
    with phase7.patched(case.model, HEADS, case.gratitude, positions="last", tell=None) as last:
        case.model.generate(PROMPT, SHORT)
    assert last.acted[0].queries == range(n - 1, n)
    with phase7.patched(case.model, HEADS, "zero"):
        pass
    assert "nothing ran, so no query was patched" in capsys.readouterr().out


def test_hooks_are_gone_afterwards_and_after_an_exception(case):
    before = case.n_hooks()
    what = phase7.patched(case.model, HEADS, case.gratitude)
    with pytest.raises(RuntimeError, match="on purpose"), what:
        assert case.n_hooks() > before  # liveness
        raise RuntimeError("on purpose")
    assert case.n_hooks() == before and case.model.active is None
    assert equal(case.now(), case.plain)


def test_other_work_inside_is_not_patched(case):
    with phase7.patched(case.model, HEADS, "zero", tell=None):
        again = phase7.donor(case.model, GRATITUDE)
        pairs = phase7.compare_texts(case.model, PROMPT, HEADS, "self", sampling=SHORT)
    assert (again.mean.z == case.gratitude.mean.z).all()
    assert [pair.baseline for pair in pairs] == [pair.patched for pair in pairs] == case.plain[0]


def test_texts_side_by_side_are_those_of_generate(case):
    pairs = phase7.compare_texts(case.model, PROMPT, HEADS, case.gratitude, strength=3, sampling=SHORT)
    with phase7.patched(case.model, HEADS, case.gratitude, strength=3, tell=None):
        patched = case.model.generate(PROMPT, SHORT)
    assert [pair.baseline for pair in pairs] == case.plain[0]
    assert [pair.patched for pair in pairs] == patched != case.plain[0]


def test_a_bridge_in_memory_runs_patched():
    from transformer_lens.model_bridge import TransformerBridge

    hf, tokenizer = tiny.hf_model("gpt2"), tiny.tokenizer()
    bridge = TransformerBridge.boot_transformers("tiny", hf_model=copy.deepcopy(hf), tokenizer=tokenizer)
    model = phase7.load_model(bridge, name="tiny")
    assert model.bridge is bridge
    donor, tokens = phase7.donor(model, GRATITUDE), torch.tensor([model.encode(PROMPT)])
    with torch.no_grad():
        plain = bridge(tokens)
        with phase7.patched(model, HEADS, "self", tell=None):
            assert torch.equal(bridge(tokens), plain)
        with phase7.patched(model, HEADS, donor, mode="v_only", tell=None):
            assert not torch.equal(bridge(tokens), plain)
        assert torch.equal(bridge(tokens), plain)
        bridge.blocks[0].attn.o.original_component.weight.mul_(2)
    fingerprint = model.fingerprint
    model.generate(PROMPT, SHORT)
    assert model.fingerprint != fingerprint  # the weights of the bridge are the model's


def test_an_attention_and_a_single_query_are_patched_as_in_a_run(case):
    every = ",".join(f"1:{head}" for head in range(tiny.N_HEADS))
    found, lines = [], []
    for heads in ("attn:1", every):
        with phase7.patched(case.model, heads, case.gratitude, tell=lines.append) as what:
            found.append(case.now())
            found.append((case.model.generate(PROMPT, SHORT), case.transformers()))
    assert equal(found[0], found[2]) and equal(found[1], found[3])
    assert not equal(found[0], case.plain)
    assert lines[0].startswith("patched attn:1 (result, gratitude, strength 1): generate (2 rows, ")
    n = len(case.tokens[0])
    with phase7.patched(case.model, "2:*", case.gratitude, positions="prompt:-2", tell=None) as what:
        with torch.no_grad():
            logits = case.model.bridge(case.tokens)
        assert what.acted[-1].queries == range(n - 2, n - 1)
    # In the last layer, nothing behind the query reads it.
    assert torch.equal(logits[0, : n - 2], case.plain[1][0, : n - 2])
    assert torch.equal(logits[0, n - 1], case.plain[1][0, n - 1])
    assert not torch.equal(logits[0, n - 2], case.plain[1][0, n - 2])


def test_what_cannot_be_patched_is_refused_in_a_line(case):
    own = case.model.hf_model.config.model_type
    other = Case("gpt2" if own == "gpt_neo" else "gpt_neo")
    with pytest.raises(UserError, match="recorded with other weights"):
        phase7.patched(case.model, HEADS, other.gratitude)
    with pytest.raises(UserError, match="expected donors of one model"):
        case.gratitude - other.neutral
    first, second = (phase7.patched(case.model, HEADS, "zero", tell=None) for _ in range(2))
    with pytest.raises(UserError, match="a second one inside the first"), first, second:
        pass
    assert case.model.active is None
    for wrong, said in (
        ({"heads": "9:9"}, "heads"),
        ({"heads": [(0,)]}, "pairs of layer and head"),
        ({"donor": "joy"}, "a donor of phase7.donor"),
        ({"mode": "values"}, "patched: mode"),
        ({"positions": "some"}, "patched: positions"),
        ({"heads": "0:1,mlp:1"}, "got mlp:1; test it with phase7.patch"),
        ({"strength": float("nan")}, "a finite number"),
    ):
        asked = {"heads": HEADS, "donor": "self"} | wrong
        with pytest.raises(UserError, match=said):
            phase7.patched(case.model, asked.pop("heads"), asked.pop("donor"), **asked)
    mask = torch.ones_like(case.tokens)
    mask[0, -1] = 0
    zero = phase7.patched(case.model, HEADS, "zero", tell=None)
    with zero, pytest.raises(UserError, match="padding on the right"):
        case.hf(case.tokens, attention_mask=mask)


def test_weights_that_change_under_a_patch_are_refused():
    case = Case("llama")
    with phase7.patched(case.model, HEADS, "zero", tell=None) as what:
        case.model.generate(PROMPT, SHORT)
        case.hf.model.layers[1].mlp.up_proj.weight.data[0, 0] += 1
        with pytest.raises(UserError, match="the weights that the model had"):
            case.model.generate(PROMPT, SHORT)
    assert len(what.acted) == 1
