"""What the executor computes for a batch, on a tiny model, against donors averaged by hand.

The numbers that are compared are KL divergences of single heads and of a set in every mode: with all
positions patched they depend on every offset of a donor's outputs, values and pattern.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any, get_args

import numpy as np
import pytest

from phase7.engine.decode.loop import Continuations, generate
from phase7.engine.model.tokens import decode, encode
from phase7.engine.patch.capture import Capture, capture
from phase7.engine.patch.donors import Donor
from phase7.engine.patch.patching import Patch
from phase7.experiment.positive_controls import shift_stage
from phase7.experiment.profile import Profile, Sampling
from phase7.experiment.prompts import PromptSet
from phase7.experiment.stages import Batch, Stage
from phase7.models.framing import CHAT, RAW
from phase7.run import generating
from phase7.run.executor import Executor, one_thread
from phase7.store import Store
from phase7.vocabulary.donors import ControlKind, DonorKind
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.modes import MODES, POSITIONS
from tests import stages, tiny
from tests.by_hand import mean_donor
from tests.stages import NotedStore, changed, shuffled_prompts

NEUTRAL = PromptSet(
    name="neutral",
    path="neutral.json",
    prompts=(
        "The kettle is on the second shelf, beside",
        "Buses leave at ten past the hour and",
        "She wrote the number",
        "The lamp stands near the bank",
    ),
)
EMOTION = PromptSet(
    name="gratitude",
    path="gratitude.json",
    prompts=("Thank you so much, I am grateful", "I am so sorry about the noise", "Thank you for the"),
)
SEED = 2
PROFILE = replace(
    stages.PROFILE,
    sampling=Sampling(max_new_tokens=1, temperature=1.0, seed=SEED),
    sweep=None,
)


def confirm(profile: Profile, neutral: PromptSet = NEUTRAL) -> Stage:
    """A confirmation on all neutral prompts, of the tiny model."""
    files = tiny.load("llama").files
    return stages.confirm(profile, files=files, neutral=neutral, emotion=EMOTION)


def executed(stage: Stage, root) -> list[tuple[Batch, dict[str, Any]]]:
    """All batches with their entries, computed."""
    executor = Executor(stage.files, stage.profile.engine, Store(root), lambda line: None)
    executor.model = tiny.load("llama")
    return list(executor.run(stage))


@cache
def captured(prompt: str, every: bool) -> Capture:
    """One prompt's activations, with no executor in between."""
    model = tiny.load("llama")
    with one_thread():
        return capture(model, encode(model, prompt, "raw"), all_queries=every)


def directly(stage: Stage, batch: Batch, donors: Mapping[str, Donor]) -> Continuations:
    """The batch generated with these donors by role; a role without one has a donor by its kind."""
    model, patching = tiny.load("llama"), stage.profile.patching
    patches = [
        Patch(
            heads=cell.heads,
            mode=cell.mode,
            donor=role
            if role in donors
            else {"emotion": patching.donor, "control": patching.control}[role],
            positions=patching.positions,
        )
        for role, cell in batch.patches
    ]
    tokens = encode(model, batch.prompt, "raw")
    with one_thread():
        return generate(
            model, batch.prompt, tokens, patches, donors=donors, sampling=stage.sampling,
            use_attn_result=patching.use_attn_result,
        )  # fmt: skip


def others(prompts: tuple[str, ...], recipient: str) -> list[str]:
    return [prompt for prompt in prompts if prompt != recipient]


def expected_prompts(kind: str, index: int) -> list[str] | None:
    """The prompts whose mean is the donor of recipient `index`; None where the donor is no mean."""
    recipient = NEUTRAL.prompts[index]
    return {
        "mean": list(EMOTION.prompts),
        "paired": [EMOTION.prompts[index % 3]],
        "neutral": others(NEUTRAL.prompts, recipient),
        "shuffled": others(shuffled_prompts(EMOTION, NEUTRAL, SEED).prompts, recipient),
        "self": None,
        "zero": None,
    }[kind]


KINDS = [("emotion", kind) for kind in get_args(DonorKind)] + [
    ("control", kind) for kind in get_args(ControlKind) if kind != "none"
]


@pytest.mark.parametrize(
    ("role", "kind", "positions"),
    [(*one, "all") for one in KINDS]
    + [("emotion", "mean", "last"), ("control", "neutral", "generated")],
)
def test_the_donor_is_the_mean_by_hand(role, kind, positions, tmp_path):
    """For every kind of donor, whether the recipient is among its prompts or not."""
    donor, control = (kind, "none") if role == "emotion" else ("zero", kind)
    stage = confirm(changed("patching", PROFILE, donor=donor, control=control, positions=positions))
    found = executed(stage, tmp_path)
    assert [batch.prompt_index for batch, _ in found] == [0, 1, 2, 3]
    for batch, entry in found:
        mine = [i for i, (one, _) in enumerate(batch.patches) if one == role]
        assert len(mine) == 3 * len(MODES)
        names = expected_prompts(kind, batch.prompt_index)
        made = None if names is None else mean_donor([captured(p, positions == "all") for p in names])
        by_hand = directly(stage, batch, {} if made is None else {role: made})
        kl = np.array(entry["kl_first_token_nats"])[mine]
        np.testing.assert_allclose(kl, by_hand.kl_first_token_nats[mine], rtol=1e-3, atol=1e-7)
        if kind == "self":
            assert not kl.any()
        else:
            assert (kl > 1e-6).all()


@pytest.mark.parametrize("kind", ["neutral", "shuffled"])
def test_a_recipient_in_its_own_mean_would_be_seen(kind):
    """Liveness of the comparison above: with the recipient left in, KL is another number."""
    prompts = NEUTRAL if kind == "neutral" else shuffled_prompts(EMOTION, NEUTRAL, SEED)
    stage = confirm(changed("patching", PROFILE, donor="zero", control=kind, positions="all"))
    n_inside = 0
    for batch in stage.batches():
        without = expected_prompts(kind, batch.prompt_index)
        assert without is not None
        with_it, left_out = (
            directly(stage, batch, {"control": mean_donor([captured(p, True) for p in names])})
            for names in (prompts.prompts, without)
        )
        mine = [i for i, (role, _) in enumerate(batch.patches) if role == "control"]
        off = np.abs(with_it.kl_first_token_nats / left_out.kl_first_token_nats - 1)[mine]
        is_inside = batch.prompt in prompts.prompts
        assert (off > 0.1).any() if is_inside else not off.any()
        n_inside += is_inside
    assert n_inside == 4 if kind == "neutral" else 0 < n_inside < 4  # both cases are there


def test_a_control_without_another_neutral_prompt_is_refused(tmp_path):
    alone = replace(NEUTRAL, prompts=NEUTRAL.prompts[:1])
    with pytest.raises(UserError, match=r"neutral\.json.*at least 2 prompts"):
        executed(confirm(PROFILE, neutral=alone), tmp_path)


def plain(positions: str, use_attn_result: bool) -> Profile:
    """Two samples of three tokens, with donors that need no mean; every target in every mode."""
    profile = changed("sampling", PROFILE, max_new_tokens=3, samples=2)
    profile = changed("confirm", profile, n_prompts=1, lengths=(1,))
    return changed(
        "patching", profile, donor="zero", control="none", positions=positions,
        use_attn_result=use_attn_result,
    )  # fmt: skip


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("use_attn_result", [False, True])
def test_a_batch_is_patched_and_sampled_as_its_stage_says(positions, use_attn_result, tmp_path):
    """To the bit."""
    stage = confirm(plain(positions, use_attn_result))
    for batch, entry in executed(stage, tmp_path):
        direct = directly(stage, batch, {})
        np.testing.assert_array_equal(entry["kl_first_token_nats"], direct.kl_first_token_nats)
        np.testing.assert_array_equal(entry["baseline_tokens"], direct.baseline_tokens)
        np.testing.assert_array_equal(entry["patched_tokens"], direct.patched_tokens)
        assert entry["n_self_rows"] == len(MODES) * 2
        assert entry["max_self_logit_gap"] == 0.0


def test_the_settings_above_make_a_difference():
    """Liveness: any two of them give other bits somewhere."""
    found = set()
    for positions in POSITIONS:
        for use_attn_result in (False, True):
            stage = confirm(plain(positions, use_attn_result))
            batch = next(iter(stage.batches()))
            direct = directly(stage, batch, {})
            found.add(direct.kl_first_token_nats.tobytes() + direct.patched_tokens.tobytes())
    assert len(found) == 6


def test_texts_are_the_tokens_up_to_each_length(tmp_path):
    profile = changed("confirm", plain("generated", False), n_prompts=0, lengths=(1, 2))
    model, seen = tiny.load("llama"), set()
    for _, entry in executed(confirm(profile), tmp_path):
        assert set(entry["texts"]) == {1, 2, 3}
        for length, texts in entry["texts"].items():

            def words(rows, length=length) -> list[str]:
                return [decode(model, [t for t in row[:length].tolist() if t >= 0]) for row in rows]

            assert texts["baseline"] == words(entry["baseline_tokens"])
            assert texts["patched"] == [words(rows) for rows in entry["patched_tokens"]]
            seen |= {length, *texts["baseline"]}
    assert len(seen) > 10


def test_a_sweep_generates_as_many_tokens_as_it_says(tmp_path):
    profile = changed("patching", plain("generated", False), control="neutral")
    profile = replace(profile, sweep=replace(stages.PROFILE.sweep, heads="0:1", max_new_tokens=2))
    files = tiny.load("llama").files
    stage = stages.sweep(profile, files=files, neutral=NEUTRAL, emotion=EMOTION)
    found = executed(stage, tmp_path)
    assert {len({role for role, _ in batch.patches}) for batch, _ in found} == {1}
    for batch, entry in found:
        assert entry["patched_tokens"].shape == (len(batch.patches), 2, 2)
        assert set(entry["texts"]) == {2}


# --- means of prompt sets, without a model -------------------------------------------------------


def answer(stage: str, key: dict[str, Any]) -> dict[str, Any]:
    """A capture of one layer, head and token whose numbers stand for its prompt, format and queries."""
    number = len(key["prompt"]) + 100 * (key["format"] == "chat") + 1000 * (key["queries"] == "all")
    value = np.full((1, 1, 1, 1), number, dtype=np.float32)
    return {"value": value, "z": value, "pattern": np.ones((1, 1, 1, 1), dtype=np.float32)}


def test_means_of_other_prompts_formats_and_queries_are_not_mixed_up(tmp_path):
    store = NotedStore(tmp_path, answer)
    executor = Executor(stages.FILES, stages.PROFILE.engine, store, lambda line: None)
    for _ in range(2):  # the second time from the executor's own memory
        for prompts in (NEUTRAL, EMOTION):
            expected = np.mean([len(prompt) for prompt in prompts.prompts])
            for framing, more in ((RAW, 0), (CHAT, 100)):
                for every in (False, True):
                    donor = executor.donors.mean(prompts, framing, every)
                    assert donor.z.item() == pytest.approx(expected + more + 1000 * every)
    assert len(store.asked) == 4 * (len(NEUTRAL.prompts) + len(EMOTION.prompts))


def test_stages_on_one_prompt_are_generated_as_one_and_hold_what_they_hold_alone(tmp_path, monkeypatch):
    """Two confirmations with other heads, donors and roles under the same names, and a positive control."""
    profile = changed("engine", PROFILE, max_rows=512)
    stage = confirm(changed("sampling", profile, max_new_tokens=4, samples=2))
    other = replace(
        stage, name="against", emotion=replace(EMOTION, name="anger", prompts=EMOTION.prompts[:2])
    )
    few = tuple(one for one in other.cells if one.heads != other.cells[0].heads)
    asked = [stage, replace(other, cells=few), shift_stage(stage)]
    n_rows: list[int] = []
    run = generating.generate_together
    monkeypatch.setattr(
        generating,
        "generate_together",
        lambda model, requests, **how: n_rows.append(len(requests)) or run(model, requests, **how),
    )
    together = Executor(
        stage.files, stage.profile.engine, Store(tmp_path / "together"), lambda line: None
    )
    together.model = tiny.load("llama")
    together.generate(asked)
    assert sum(n_rows) == len(stage.recipients)  # each prompt once, and not by stage
    assert together._store.n_computed["generation"] == 3 * len(stage.recipients)
    for one in asked:
        alone = executed(one, tmp_path / "alone")
        for (_, entry), (_, expected) in zip(together.run(one), alone, strict=True):
            assert entry.keys() == expected.keys()
            for name, value in expected.items():
                np.testing.assert_equal(entry[name], value)
    assert together._store.n_computed["generation"] == 3 * len(stage.recipients)
    # Liveness: the second one's donor is another than the first one's of the same name.
    first, second = (entry for one in asked[:2] for _, entry in list(together.run(one))[:1])
    assert set(first["kl_first_token_nats"]) - set(second["kl_first_token_nats"])
    assert not set(second["kl_first_token_nats"]) <= set(first["kl_first_token_nats"])
