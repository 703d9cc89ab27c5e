"""The forced pass: all arms along one path, against plain transformers with hooks written by hand."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from phase7.engine.decode import logits as pieces_of_logits
from phase7.engine.decode import running
from phase7.engine.decode.forced import forced_pass
from phase7.engine.decode.loop import generate
from phase7.engine.model.blocks import ROW_BLOCK
from phase7.engine.model.loading import load_model
from phase7.engine.model.tokens import encode
from phase7.engine.patch.capture import capture
from phase7.engine.patch.donors import Donor, DonorSum
from phase7.engine.patch.patching import Patch
from phase7.experiment.profile import Sampling
from phase7.vocabulary.errors import SelfCheckError, UserError
from phase7.vocabulary.heads import Head, parse_heads
from phase7.vocabulary.modes import MODES, POSITIONS
from tests import tiny
from tests.by_hand import direct_mean
from tests.plain_patching import PlainModel, read_out

ALL_HEADS = parse_heads("all", n_layers=tiny.N_LAYERS, n_heads=tiny.N_HEADS)
RECIPIENT = "The kettle is on the second shelf, beside"
#: Of unequal length, and both shorter than the recipient, whose first tokens no donor reaches.
EMOTION = ("Thank you so much", "I am so sorry about it")
PATH = (41, 300, 7, 262, 262, 88)
SETS = {"few": (5, 41, 262), "most": tuple(range(300)), "one": (7,)}
HEAD_SETS = ((Head(0, 1),), (Head(1, 2),), (Head(2, 3),), (Head(0, 3), Head(1, 0), Head(2, 2)))
#: The largest difference measured is 4e-6.
AGREES = 2e-5


def tokens_of(architecture: str, text: str = RECIPIENT) -> tuple[int, ...]:
    return encode(tiny.load(architecture), text, "raw")


@cache
def emotion_donor(architecture: str) -> Donor:
    model = tiny.load(architecture)
    texts = [encode(model, text, "raw") for text in EMOTION]
    return DonorSum(capture(model, tokens, all_queries=True) for tokens in texts).mean()


@cache
def plain(architecture: str):
    """The same weights in plain transformers, and the donor from its own activations."""
    model = PlainModel(architecture)
    donor = direct_mean([model.capture(tokens_of(architecture, text)) for text in EMOTION])
    return model, donor


def run(architecture, patches, *, tokens=None, path=PATH, **options):
    return forced_pass(
        tiny.load(architecture),
        tokens or tokens_of(architecture),
        path,
        patches,
        donors={"emotion": emotion_donor(architecture)},
        token_sets=SETS,
        **options,
    )


def by_name(readouts) -> dict[str, np.ndarray]:
    return {
        "log_likelihood": readouts.log_likelihood,
        "kl": readouts.kl,
        **readouts.log_odds,
    }


def by_hand(architecture, heads, mode, positions) -> dict[str, np.ndarray]:
    model, donor = plain(architecture)
    prompt = tokens_of(architecture)
    baseline = model.patched_logits(prompt, PATH, (), mode, positions, donor)
    patched = model.patched_logits(prompt, PATH, heads, mode, positions, donor)
    return read_out(patched, baseline, PATH, SETS)


def assert_same_bits(one, other) -> None:
    for name, values in by_name(one).items():
        np.testing.assert_array_equal(values, by_name(other)[name], err_msg=name)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("where", POSITIONS)
def test_read_outs_are_those_of_plain_transformers_under_hooks_by_hand(architecture, mode, where):
    patches = [Patch(heads=heads, mode=mode, donor="emotion", positions=where) for heads in HEAD_SETS]
    got = run(architecture, patches)
    for name, values in by_hand(architecture, (), mode, where).items():
        np.testing.assert_allclose(by_name(got.baseline)[name], values, atol=AGREES, rtol=0)
    for number, patch in enumerate(patches):
        for name, values in by_hand(architecture, patch.heads, mode, where).items():
            found = by_name(got.patched)[name][number]
            np.testing.assert_allclose(found, values, atol=AGREES, rtol=0, err_msg=f"{patch} {name}")


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("where", POSITIONS)
def test_the_comparison_notices_a_wrong_head_or_query(architecture, mode, where):
    """Liveness of the law above: patches change every read-out, and other hooks would not agree."""
    heads = HEAD_SETS[-1]
    got = run(architecture, [Patch(heads=heads, mode=mode, donor="emotion", positions=where)])
    others = [by_hand(architecture, heads, mode, other) for other in POSITIONS if other != where]
    neighbour = tuple(Head(layer, (head + 1) % tiny.N_HEADS) for layer, head in heads)
    others += [by_hand(architecture, h, mode, where) for h in (neighbour, heads[:2], heads[1:])]
    for name, values in by_name(got.patched).items():
        assert np.abs(values[0] - by_name(got.baseline)[name]).max() > 50 * AGREES, name
        for other in others:
            assert np.abs(values[0] - other[name]).max() > 10 * AGREES, name


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("where", POSITIONS)
@pytest.mark.parametrize("prompt", [RECIPIENT, "I"])
def test_own_activations_change_no_bit(architecture, mode, where, prompt):
    tokens = tokens_of(architecture, prompt)
    assert (len(tokens) == 1) == (prompt == "I")
    own = [Patch(heads=h, mode=mode, donor="self", positions=where) for h in (*HEAD_SETS, ALL_HEADS)]
    other = Patch(heads=ALL_HEADS, mode=mode, donor="emotion", positions=where)
    got = run(architecture, [*own, other], tokens=tokens)
    assert (got.n_self_rows, got.max_self_gap) == (1, 0.0)
    for number in range(len(own)):
        assert_same_bits(got.patched.of(number), got.baseline)
    assert (got.baseline.kl == 0).all()
    assert (got.patched.kl[-1, 0] > 1e-3).all()


def test_a_self_check_for_each_mode_and_policy_of_positions():
    patches = [Patch(heads=ALL_HEADS[:2], mode=m, positions=w) for m in MODES for w in POSITIONS]
    assert run("llama", patches).n_self_rows == 9


@pytest.mark.parametrize("where", POSITIONS)
def test_a_self_check_that_fails_stops_the_pass(monkeypatch, where):
    original = running.self_checks

    def wrong(patches):
        return [
            Patch(heads=p.heads, mode=p.mode, donor="zero", positions=p.positions)
            for p in original(patches)
        ]

    monkeypatch.setattr(running, "self_checks", wrong)
    with pytest.raises(
        SelfCheckError, match=rf"positions {where}\) changed the log-likelihood at step 0"
    ):
        run("gpt2", [Patch(heads=ALL_HEADS[:1], donor="emotion", positions=where)])


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_the_first_steps_divergence_is_that_of_generation(architecture):
    model, tokens = tiny.load(architecture), tokens_of(architecture)
    patches = [
        Patch(heads=heads, mode=mode, donor="emotion", positions=where)
        for heads in HEAD_SETS
        for mode in MODES
        for where in ("generated", "last")
    ]
    donors = {"emotion": emotion_donor(architecture)}
    sampling = Sampling(max_new_tokens=8, temperature=0.0)
    texts = generate(model, RECIPIENT, tokens, patches, donors=donors, sampling=sampling)
    path = [int(token) for token in texts.baseline_tokens[0] if token >= 0]
    assert path
    got = run(architecture, patches, path=path)
    np.testing.assert_allclose(got.patched.kl[:, 0], texts.kl_first_token_nats, atol=1e-6, rtol=0)
    assert texts.kl_first_token_nats.max() > 0.01
    # Greedy: the path's tokens are the most likely ones, so no other arm finds them surer on average.
    assert (got.baseline.log_likelihood >= -np.log(tiny.N_VOCAB)).all()


patches_of_all_kinds = [
    Patch(heads=heads, mode=mode, donor=donor)
    for heads in HEAD_SETS
    for mode, donor in (("result", "emotion"), ("v_only", "emotion"), ("pattern_v", "zero"))
]


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("where", POSITIONS)
def test_neither_neighbours_nor_sharing_nor_pieces_change_a_bit(monkeypatch, architecture, where):
    patches = [
        Patch(heads=p.heads, mode=p.mode, donor=p.donor, positions=where) for p in patches_of_all_kinds
    ]
    whole = run(architecture, patches)
    assert_same_bits(run(architecture, patches, share_layers=False).patched, whole.patched)
    for number in (0, 5, 11):
        assert_same_bits(run(architecture, [patches[number]]).patched.of(0), whole.patched.of(number))
    assert_same_bits(run(architecture, patches[::-1]).patched.of(slice(None, None, -1)), whole.patched)
    monkeypatch.setattr(pieces_of_logits, "ROWS_AT_ONCE", 16)
    assert_same_bits(run(architecture, patches).patched, whole.patched)


@pytest.mark.parametrize("where", POSITIONS)
def test_layers_below_a_patch_are_computed_once(where):
    """Liveness of the law above: an engine that shares nothing would obey it."""
    model = tiny.load("gpt2")
    patches = [Patch(heads=(Head(2, 1),), donor="zero", positions=where)] * 40
    rows: dict[bool, list[int]] = {True: [], False: []}
    for share, seen in rows.items():
        handle = model.bridge.blocks[1].register_forward_hook(
            lambda module, args, out, seen=seen: seen.append(len(args[0]))
        )
        try:
            run("gpt2", patches, share_layers=share)
        finally:
            handle.remove()
    assert rows[True][-1] == model.row_block
    assert rows[False][-1] >= 42


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("where", POSITIONS)
def test_a_path_of_one_token_is_the_first_step_of_a_longer_one(architecture, where):
    patches = [Patch(heads=heads, donor="emotion", positions=where) for heads in HEAD_SETS]
    one, many = run(architecture, patches, path=PATH[:1]), run(architecture, patches)
    for name, values in by_name(one.patched).items():
        assert values.shape == (len(HEAD_SETS), 1)
        np.testing.assert_allclose(
            values[:, 0], by_name(many.patched)[name][:, 0], atol=AGREES, err_msg=name
        )


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "llama"])
def test_use_attn_result_is_result_at_z_up_to_rounding(architecture):
    patches = [Patch(heads=heads, donor="emotion") for heads in HEAD_SETS]
    at_z, literal = run(architecture, patches), run(architecture, patches, use_attn_result=True)
    for name, values in by_name(at_z.patched).items():
        np.testing.assert_allclose(by_name(literal.patched)[name], values, atol=AGREES, err_msg=name)
    assert not np.array_equal(at_z.patched.kl, literal.patched.kl)


def test_use_attn_result_is_refused_where_the_architecture_lacks_it():
    with pytest.raises(UserError, match=r"mode result at hook_z is the same patch"):
        run("gpt_neo", [Patch(heads=ALL_HEADS[:1], donor="zero")], use_attn_result=True)


def test_no_set_is_needed_and_an_id_twice_counts_once():
    model, tokens = tiny.load("gpt2"), tokens_of("gpt2")
    patches = [Patch(heads=ALL_HEADS[:1], donor="zero")]
    got = forced_pass(model, tokens, PATH, patches, donors={}, token_sets={})
    assert got.patched.log_odds == {}
    odds = {"once": [3, 4], "twice": [4, 3, 4]}
    got = forced_pass(model, tokens, PATH, patches, donors={}, token_sets=odds)
    np.testing.assert_array_equal(got.patched.log_odds["once"], got.patched.log_odds["twice"])


@pytest.mark.parametrize(
    ("path", "sets", "message"),
    [
        ((), {}, "path: expected at least one token id"),
        ((5, -1), {}, "path: expected"),
        ((5, tiny.N_VOCAB), {}, "path: expected"),
        ((5,), {"none": ()}, "token set 'none': expected"),
        ((5,), {"far": (tiny.N_VOCAB,)}, "token set 'far': expected"),
    ],
)
def test_what_is_no_token_is_refused(path, sets, message):
    model = tiny.load("gpt2")
    patches = [Patch(heads=ALL_HEADS[:1], donor="zero")]
    with pytest.raises(ValueError, match=message):
        forced_pass(model, tokens_of("gpt2"), path, patches, donors={}, token_sets=sets)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("where", POSITIONS)
def test_plain_products_are_exact_too(dtype, where):
    """Without packed weights a row's bits depend on whole blocks of 16 rows."""
    model = load_model(tiny.load("llama").files, pack=False, dtype=dtype)
    assert model.row_block == ROW_BLOCK
    patches = [
        Patch(heads=p.heads, mode=p.mode, donor=p.donor, positions=where) for p in patches_of_all_kinds
    ]

    def read(some, **options):
        donors = {"emotion": emotion_donor("llama")}
        tokens = tokens_of("llama")
        return forced_pass(model, tokens, PATH, some, donors=donors, token_sets=SETS, **options)

    whole = read(patches)
    assert whole.max_self_gap == 0.0
    assert_same_bits(read(patches, share_layers=False).patched, whole.patched)
    assert_same_bits(read(patches[5:6]).patched.of(0), whole.patched.of(5))
    # Other weights, or none, would differ by whole nats.
    np.testing.assert_allclose(
        whole.patched.kl,
        run("llama", patches).patched.kl,
        atol=AGREES if dtype == "float32" else 0.3,
    )
