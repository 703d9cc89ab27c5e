"""MLPs, residual streams, whole attentions and single queries: exact no-ops, else as by hand."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from phase7.engine.decode.attribution import slopes
from phase7.engine.decode.forced import forced_pass
from phase7.engine.decode.loop import Request, generate, generate_together
from phase7.engine.decode.running import RunningBatch, self_checks
from phase7.engine.model import outputs
from phase7.engine.model.outputs import check_site
from phase7.engine.model.tokens import encode
from phase7.engine.patch import patching
from phase7.engine.patch.capture import capture, capture_unit
from phase7.engine.patch.donors import DonorSum, UnitSum
from phase7.engine.patch.patching import Patch
from phase7.experiment.profile import Sampling
from phase7.vocabulary.errors import SelfCheckError, UserError
from phase7.vocabulary.heads import Head
from phase7.vocabulary.modes import MODES
from phase7.vocabulary.units import Unit
from tests import tiny
from tests.by_hand import direct_mean
from tests.plain_patching import queries_of, read_out
from tests.plain_units import PlainUnits, mean_by_offset

RECIPIENT = "The kettle is on the second shelf, beside"
#: Of unequal length, and all shorter than the recipient: each of the two reaches offsets of its own.
TEXTS = {
    "emotion": ("Thank you so much", "I am so sorry about it"),
    "neutral": ("Buses leave", "The mill"),
}
PATH = (41, 300, 7, 262, 262, 88)
SETS = {"few": (5, 41, 262), "one": (7,)}
UNITS = tuple(Unit(kind, layer) for kind in ("mlp", "resid") for layer in range(tiny.N_LAYERS))
MLPS, RESIDS = UNITS[: tiny.N_LAYERS], UNITS[tiny.N_LAYERS :]
#: Sets that are patched: (heads, units).
PATCHED = (
    ((), (Unit("mlp", 0),)),
    ((), (Unit("mlp", 2),)),
    ((), (Unit("resid", 1),)),
    ((Head(0, 3), Head(2, 1)), (Unit("mlp", 1),)),
    ((Head(2, 0),), (Unit("mlp", 0), Unit("resid", 0))),
    ((), MLPS),
)
POLICIES = ("generated", "last", "all", "step:0", "step:2", "prompt:-1", "prompt:-2", "prompt:-7")
#: In nats; the largest difference measured is 2.5e-6.
AGREES = 2e-5

architectures = pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)


def crossed() -> list:
    """Every architecture with every policy; a quarter runs by default, with each of both."""
    return [
        pytest.param(
            architecture, where, marks=() if (a + w) % 4 == 0 else pytest.mark.slow,
            id=f"{architecture}-{where}",
        )
        for a, architecture in enumerate(tiny.ARCHITECTURES)
        for w, where in enumerate(POLICIES)
    ]  # fmt: skip


everywhere = pytest.mark.parametrize(("architecture", "where"), crossed())


def tokens_of(architecture: str, text: str = RECIPIENT) -> tuple[int, ...]:
    return encode(tiny.load(architecture), text, "raw")


def donor_of(architecture: str, texts):
    """The mean donor of some texts, with every unit of the model."""
    model, prompts = tiny.load(architecture), [tokens_of(architecture, text) for text in texts]
    heads = DonorSum(capture(model, prompt, all_queries=True) for prompt in prompts).mean()
    units = {
        unit: UnitSum(capture_unit(model, prompt, unit, all_queries=True) for prompt in prompts).mean()
        for unit in UNITS
    }
    return replace(heads, units=units)


@cache
def donors(architecture: str):
    return {name: donor_of(architecture, texts) for name, texts in TEXTS.items()}


@cache
def plain(architecture: str):
    """The same weights in plain transformers, and what the units of the donors give there."""
    model = PlainUnits(architecture)
    prompts = {name: [tokens_of(architecture, t) for t in texts] for name, texts in TEXTS.items()}
    given = {}
    for name, some in prompts.items():
        seen = [model.outputs(prompt, UNITS) for prompt in some]
        given[name] = {unit: mean_by_offset([one[unit] for one in seen]) for unit in UNITS}
    z = DonorSum(map(model_capture, [(model, prompt) for prompt in prompts["emotion"]])).mean().z
    return model, given, z


def model_capture(asked):
    model, prompt = asked
    return model.capture(prompt)


def run(architecture, patches, *, path=PATH, sets=SETS, **options):
    return forced_pass(
        tiny.load(architecture),
        tokens_of(architecture),
        path,
        patches,
        donors=options.pop("donors", None) or donors(architecture),
        token_sets=sets,
        **options,
    )


def patch(heads=(), units=(), where="generated", **options) -> Patch:
    return Patch(heads=heads, units=units, positions=where, **{"donor": "emotion", **options})


def added(heads=(), units=(), where="generated", **options) -> Patch:
    return patch(heads, units, where, write="add", reference="neutral", **options)


def same_bits(one, other) -> bool:
    mine, theirs = one.by_name(), other.by_name()
    return all(np.array_equal(values, theirs[name]) for name, values in mine.items())


def acts(one, other) -> bool:
    """Whether some read-out differs by more than rounding."""
    mine, theirs = one.by_name(), other.by_name()
    return any(np.abs(values - theirs[name]).max() > 10 * AGREES for name, values in mine.items())


@everywhere
def test_own_outputs_and_strength_0_change_no_bit_and_others_do(architecture, where):
    nothing = [
        patch(heads, units, where, donor="self", write=write, strength=strength)
        for heads, units in PATCHED
        for write, strength in (("replace", 1.0), ("replace", -1.5), ("add", 2.0))
    ]
    nothing += [patch(*some, where, strength=0.0) for some in PATCHED]
    nothing += [added(*some, where, strength=0.0) for some in PATCHED]
    nothing += [patch((), UNITS, where, donor="self")]
    acting = [patch(*some, where) for some in PATCHED] + [added(*some, where) for some in PATCHED]
    acting += [patch(*some, where, strength=0.5) for some in PATCHED]
    got = run(architecture, [*nothing, *acting])
    assert got.max_self_gap == 0.0
    for number, one in enumerate(nothing):
        assert same_bits(got.patched.of(number), got.baseline), one
    is_beyond = where == "prompt:-7"  # neutral donors are shorter, so nothing is added there
    for number, one in enumerate(acting, start=len(nothing)):
        if is_beyond and one.write == "add":
            assert same_bits(got.patched.of(number), got.baseline), one
        elif where in ("prompt:-2", "prompt:-7") and one.units == (Unit("mlp", 2),):
            # The last layer's MLP at an earlier query: nothing reads it any more.
            assert same_bits(got.patched.of(number), got.baseline), one
        else:
            assert acts(got.patched.of(number), got.baseline), one


@everywhere
def test_read_outs_are_those_of_plain_transformers(architecture, where):
    model, given, z = plain(architecture)
    prompt = tokens_of(architecture)
    queries = queries_of(where, len(prompt), len(prompt) + len(PATH))
    patches = [patch(*some, where) for some in PATCHED]
    patches += [patch(*some, where, strength=-0.5) for some in PATCHED]
    patches += [added((), units, where, strength=2.0) for heads, units in PATCHED if not heads]
    got = run(architecture, patches)
    baseline = model.logits_with(prompt, PATH, (), queries, {})
    for number, one in enumerate(patches):
        logits = model.logits_with(
            prompt, PATH, one.units, queries, given["emotion"], strength=one.strength,
            taken=given["neutral"] if one.write == "add" else None, heads=one.heads, z=z,
        )  # fmt: skip
        expected, found = read_out(logits, baseline, PATH, SETS), got.patched.of(number)
        for name, values in (
            ("kl", found.kl),
            ("log_likelihood", found.log_likelihood),
            *found.log_odds.items(),
        ):
            np.testing.assert_allclose(values, expected[name], atol=AGREES, rtol=0, err_msg=f"{one}")


@architectures
@pytest.mark.parametrize("where", ["generated", "step:1"])
def test_greedy_texts_are_those_of_plain_transformers(architecture, where):
    model, given, z = plain(architecture)
    prompt, sampling = tokens_of(architecture), Sampling(max_new_tokens=5, temperature=0.0)
    patches = [patch(*some, where) for some in PATCHED]
    got = generate(
        tiny.load(architecture), RECIPIENT, prompt, patches, donors=donors(architecture),
        sampling=sampling,
    )  # fmt: skip
    for number, one in enumerate(patches):
        said: list[int] = []
        for _ in range(sampling.max_new_tokens):
            queries = queries_of(where, len(prompt), len(prompt) + len(said))
            logits = model.logits_with(
                prompt, (*said, 0), one.units, queries, given["emotion"], heads=one.heads, z=z
            )
            said.append(int(logits[-1].argmax()))
        found = got.patched_tokens[number, 0].tolist()
        expected = said[: said.index(0)] if 0 in said else said
        assert [token for token in found if token >= 0] == expected, one
    assert len({tuple(row) for row in got.patched_tokens[:, 0].tolist()}) > 1


@architectures
def test_the_stream_of_one_donor_at_all_positions_gives_its_own_logits(architecture):
    """A donor prompt of the recipient's length: above the patched layer nothing of the recipient is left."""
    prompt, every = tokens_of(architecture), {str(token): (token,) for token in range(tiny.N_VOCAB)}
    other = tuple(
        int(token) for token in np.random.default_rng(3).integers(1, tiny.N_VOCAB, len(prompt))
    )
    model = tiny.load(architecture)
    units = {
        unit: UnitSum([capture_unit(model, other, unit, all_queries=True)]).mean() for unit in RESIDS
    }
    donor = replace(DonorSum([capture(model, other, all_queries=True)]).mean(), units=units)
    patches = [patch((), (unit,), "all") for unit in RESIDS]
    got = run(architecture, patches, path=(7,), sets=every, donors={"emotion": donor})
    logits = PlainUnits(architecture).model(torch.tensor([other])).logits[0, -1].double()
    p = torch.softmax(logits, dim=0)
    expected = (p.log() - (-p).log1p()).detach().numpy()
    for number in range(len(patches)):
        found = np.array([one[0] for one in got.patched.of(number).log_odds.values()])
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)
    own = np.array([one[0] for one in got.baseline.log_odds.values()])
    assert np.abs(own - expected).max() > 1


@architectures
@pytest.mark.parametrize("mode", ["result", "pattern_v"])
def test_an_attention_is_all_its_heads_to_the_bit(architecture, mode):
    every = tuple(Head(1, head) for head in range(tiny.N_HEADS))
    patches = [
        patch(heads, units, mode=mode, strength=strength)
        for heads, units in ((every, ()), ((), (Unit("attn", 1),)))
        for strength in (1.0, 0.5)
    ]
    got = run(architecture, patches)
    for number in range(2):
        assert same_bits(got.patched.of(number), got.patched.of(number + 2))
        assert acts(got.patched.of(number), got.baseline)


@architectures
@pytest.mark.parametrize("where", ["generated", pytest.param("all", marks=pytest.mark.slow)])
def test_a_row_is_the_same_whatever_is_patched_beside_it(architecture, where):
    """Other rows keep their bits; sharing layers changes none, in read-outs and in texts."""
    heads = patch((Head(1, 2),), (), where)
    alone = run(architecture, [heads])
    patches = [heads, *(patch(*some, where) for some in PATCHED)]
    among = run(architecture, patches)
    apart = run(architecture, patches, share_layers=False)
    assert same_bits(alone.baseline, among.baseline) and same_bits(among.baseline, apart.baseline)
    assert same_bits(alone.patched.of(0), among.patched.of(0))
    for number, one in enumerate(patches):
        assert same_bits(among.patched.of(number), apart.patched.of(number)), one
        if number:
            assert same_bits(run(architecture, [one]).patched.of(0), among.patched.of(number)), one
            assert acts(among.patched.of(number), among.baseline)


@architectures
def test_texts_of_units_are_the_same_alone_shared_and_beside_another_prompt(architecture):
    model, given = tiny.load(architecture), donors(architecture)
    sampling = Sampling(max_new_tokens=8, temperature=1.0, seed=3, samples=2)
    patches = [patch((Head(1, 2),)), *(patch(*some) for some in PATCHED)]
    asked = [
        Request(prompt=text, tokens=tokens_of(architecture, text), patches=some, donors=given)
        for text, some in ((RECIPIENT, patches), ("She wrote the number on a card", patches[1:4]))
    ]
    both = generate_together(model, asked, sampling=sampling)
    for one, got in zip(asked, both, strict=True):
        options = {"donors": given, "sampling": sampling}
        for share in (True, False):
            again = generate(model, one.prompt, one.tokens, one.patches, share_layers=share, **options)
            np.testing.assert_array_equal(again.patched_tokens, got.patched_tokens)
            np.testing.assert_array_equal(again.baseline_tokens, got.baseline_tokens)
            np.testing.assert_array_equal(again.kl_first_token_nats, got.kl_first_token_nats)
        assert got.max_self_logit_gap == 0.0
        assert (got.kl_first_token_nats > 1e-3).all()
    only = generate(
        model, RECIPIENT, asked[0].tokens, patches[:1], donors=given, sampling=sampling
    )  # without any unit in the batch
    np.testing.assert_array_equal(only.patched_tokens[0], both[0].patched_tokens[0])
    np.testing.assert_array_equal(only.baseline_tokens, both[0].baseline_tokens)


@architectures
@pytest.mark.parametrize("unit", [Unit("mlp", 1), Unit("resid", 1)], ids=str)
def test_layers_below_stay_as_they_were_and_other_rows_everywhere(architecture, unit):
    model, prompt = tiny.load(architecture), tokens_of(architecture)
    batch = RunningBatch(
        model, prompt, [patch((), (unit,)), patch((Head(2, 1),))], donors(architecture), n_samples=1,
        use_attn_result=False,
    )  # fmt: skip
    seen: dict[str, torch.Tensor] = {}

    def note(name):
        def hook(tensor, hook):
            seen[name] = tensor.detach().clone()

        return hook

    names = [f"blocks.{i}.{at}" for i in range(tiny.N_LAYERS) for at in ("attn.hook_z", "hook_out")]
    with torch.inference_mode(), batch.hooked(), model.bridge.hooks([(n, note(n)) for n in names]):
        batch.forward(torch.tensor([prompt]).expand(batch.n_slots, -1), 0)
    slots = batch.layout.slots(0)  # every row has its own in all layers
    baseline, row, other = slots[:3]
    for name in names:
        layer, passed = int(name.split(".")[1]), seen[name]
        is_above = layer > 1 or (layer == 1 and name.endswith("hook_out"))
        assert torch.equal(passed[baseline, :-1], passed[row, :-1])  # queries before the patched one
        assert torch.equal(passed[baseline, -1], passed[row, -1]) != is_above
        assert torch.equal(passed[baseline], passed[other]) == (layer < 2)


def test_each_kind_of_write_is_checked_and_each_stream_by_itself():
    heads = (Head(0, 1), Head(2, 3))
    units = (Unit("resid", 0), Unit("resid", 2), Unit("mlp", 1), Unit("attn", 1))
    patches = [patch(heads[:1], units[:1]), patch(heads[1:], units[1:3]), patch((), units[3:])]
    together = (heads, (Unit("attn", 1), Unit("mlp", 1)))
    assert [(one.heads, one.units) for one in self_checks(patches)] == [
        together, ((), units[:1]), ((), units[1:2])
    ]  # fmt: skip
    composed = [*patches, patch(heads, (), mode="v_only")]
    assert [(one.heads, one.units) for one in self_checks(composed) if one.mode == "v_only"] == [
        (heads, (Unit("attn", 1),))
    ]
    assert self_checks([patch((), units[:2])]) == [
        patch((), units[:1], donor="self"), patch((), units[1:2], donor="self")
    ]  # fmt: skip


@pytest.mark.parametrize("unit", [Unit("mlp", 1), Unit("resid", 1)], ids=str)
def test_a_self_check_that_fails_names_the_unit(monkeypatch, unit):
    original = patching.output

    def spoilt(mode, write, place, now):
        made = original(mode, write, place, now)
        return made + 1e-3 if write.table is None and made.shape[-1] == 32 else made

    monkeypatch.setattr(patching, "output", spoilt)
    with pytest.raises(SelfCheckError, match=rf"patching {unit} with their own activations"):
        run("gpt2", [patch((), (unit,))])


@pytest.mark.parametrize("mode", ["v_only", "pattern_v"])
def test_a_mode_that_composes_heads_refuses_what_has_none(mode):
    with pytest.raises(ValueError, match=f"mode {mode} composes heads; it cannot patch mlp:1"):
        patch((), (Unit("mlp", 1),), mode=mode)


def test_what_a_donor_lacks_is_an_error():
    bare = {name: replace(one, units={}) for name, one in donors("gpt2").items()}
    with pytest.raises(KeyError, match="no mlp:1 in this donor"):
        run("gpt2", [patch((), (Unit("mlp", 1),))], donors=bare)
    with pytest.raises(ValueError, match="attn:1 has no output of its own"):
        capture_unit(tiny.load("gpt2"), (1, 2), Unit("attn", 1), all_queries=True)


def at_single_queries() -> list:
    """Every architecture with every mode at both queries; a third runs by default."""
    return [
        pytest.param(
            architecture, mode, query, marks=() if (a + m + q) % 3 == 0 else pytest.mark.slow,
            id=f"{architecture}-{mode}-{query}",
        )
        for a, architecture in enumerate(tiny.ARCHITECTURES)
        for m, mode in enumerate(MODES)
        for q, query in enumerate(("step:2", "prompt:-3"))
    ]  # fmt: skip


@pytest.mark.parametrize(("architecture", "mode", "query"), at_single_queries())
def test_heads_are_patched_at_single_queries_in_every_mode(architecture, mode, query):
    """And the gradient predicts them as it does those at several."""
    heads = (Head(0, 3), Head(1, 0))
    model, prompt = PlainUnits(architecture), tokens_of(architecture)
    captures = [model.capture(tokens_of(architecture, text)) for text in TEXTS["emotion"]]
    donor, tiny_model = direct_mean(captures), tiny.load(architecture)
    every = [
        patch((head,), (), query, mode=mode, donor=who) for who in ("emotion", "self") for head in heads
    ]
    small = [patch((head,), (), query, mode=mode, strength=1e-3) for head in heads]
    got = run(architecture, [*every, *small])
    baseline = model.patched_logits(prompt, PATH, (), mode, query, donor)
    given = slopes(tiny_model, prompt, PATH, token_sets=SETS, positions=query)
    predicted = given.effect(donors(architecture)["emotion"], mode)
    for number, head in enumerate(heads):
        logits = model.patched_logits(prompt, PATH, (head,), mode, query, donor)
        expected, found = read_out(logits, baseline, PATH, SETS), got.patched.of(number)
        np.testing.assert_allclose(found.kl, expected["kl"], atol=AGREES, rtol=0)
        np.testing.assert_allclose(found.log_likelihood, expected["log_likelihood"], atol=AGREES)
        assert acts(found, got.baseline)
        assert same_bits(got.patched.of(2 + number), got.baseline)
        logits = model.patched_logits(prompt, PATH, (head,), mode, query, donor, strength=1e-2)
        back = model.patched_logits(prompt, PATH, (head,), mode, query, donor, strength=-1e-2)
        ways = [read_out(one, baseline, PATH, SETS) for one in (logits, back)]
        slope = [np.mean(ways[0][name] - ways[1][name]) / 2e-2 for name in SETS]
        place = predicted[: len(SETS), head.layer, head.head]
        np.testing.assert_allclose(place, slope, atol=2e-3 * max(1.0, np.abs(slope).max()), rtol=2e-2)


@pytest.mark.parametrize("where", ["step:9", "prompt:-40"])
def test_a_query_that_is_not_there_leaves_all_as_it_was(where):
    """A path of 6 tokens has no step 9, and the prompt no 40 tokens."""
    got = run("gpt2", [patch((Head(0, 1),), (Unit("mlp", 1),), where)])
    assert same_bits(got.patched.of(0), got.baseline)
    given = slopes(tiny.load("gpt2"), tokens_of("gpt2"), PATH, token_sets=SETS, positions=where)
    assert not given.effect(donors("gpt2")["emotion"], "result").any()


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("hook_name", lambda site, layer: f"blocks.{layer}.mlp.hook_elsewhere"),  # there is no such hook
        ("_reversed", lambda tensor, hook: tensor),  # what is written has no effect
        ("_reversed", lambda tensor, hook: None),
    ],
)
def test_a_model_whose_output_cannot_be_replaced_is_refused(monkeypatch, name, made):
    model = replace(tiny.load("gpt2"), compared=set())
    check_site(model, "mlp")
    assert model.compared == {"mlp"}
    monkeypatch.setattr(outputs, name, made)
    check_site(model, "mlp")  # tried once for a loaded model
    with pytest.raises(UserError, match=r"read and replaced, got .*, where it cannot in layer 0; patch"):
        check_site(model, "resid")
    for patches in ([patch((), RESIDS[:1])], [patch((), RESIDS[:1], donor="zero")]):
        with pytest.raises(UserError, match="where it cannot"):
            RunningBatch(model, (1, 2), patches, donors("gpt2"), n_samples=1, use_attn_result=False)
