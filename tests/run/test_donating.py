"""What the donors of a run are means over: of heads, and of the units beside them, by loops by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phase7.engine.patch.capture import Capture, UnitCapture
from phase7.run.donating import Donors
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.units import Unit
from tests import stages
from tests.plain_units import mean_by_offset
from tests.stages import GRATITUDE, NEUTRAL, changed

UNITS = (Unit("mlp", 1), Unit("resid", 2))
PROFILE = changed("confirm", target_heads="0:1,mlp:1", head_sets=("resid:2",), modes=("result",))


def output(prompt: str, unit: Unit) -> np.ndarray:
    """What a unit gives on a prompt, some tokens of width 4."""
    random = np.random.default_rng([unit.layer, *prompt.encode()])
    return random.normal(size=(2 + len(prompt) % 3, 4)).astype(np.float32)


def donors(asked: list | None = None) -> Donors:
    def capture(prompt, framing, every):
        z = output(prompt, Unit("attn", 0))[None, :, None]
        return Capture(value=z, z=z, pattern=None)

    def beside(prompt, framing, every, beside):
        if asked is not None:
            asked.append((prompt, every, beside))
        return UnitCapture(output=output(prompt, beside))

    return Donors(capture, beside, lambda line: None)


@pytest.mark.parametrize("kind", ["mean", "paired", "neutral"])
def test_units_are_means_over_the_prompts_that_heads_are_means_over(kind):
    stage = stages.confirm(changed("patching", PROFILE, donor=kind))
    assert stage.sited_units == UNITS
    made = donors()
    for index in stage.recipients:
        own = NEUTRAL.prompts[index]
        prompts = {
            "mean": GRATITUDE.prompts,
            "paired": (GRATITUDE.prompts[index % len(GRATITUDE.prompts)],),
            "neutral": tuple(prompt for prompt in NEUTRAL.prompts if prompt != own),
        }[kind]
        donor = made.of(stage, "emotion", index)
        for unit in UNITS:
            expected = mean_by_offset([output(prompt, unit) for prompt in prompts])
            np.testing.assert_allclose(donor.units[unit], expected, atol=1e-6, rtol=0)
            assert donor.units[unit].dtype == np.float32
        z = mean_by_offset([output(prompt, Unit("attn", 0)) for prompt in prompts])
        np.testing.assert_allclose(donor.z[0, :, 0], z, atol=1e-6, rtol=0)


def test_a_recipient_among_the_emotion_prompts_is_left_out_of_units_too():
    stage = stages.confirm(PROFILE, emotion=replace(GRATITUDE, prompts=("a", NEUTRAL.prompts[1], "bcd")))
    unit = UNITS[0]
    left_out, whole = (donors().of(stage, "emotion", index).units[unit] for index in (1, 3))
    np.testing.assert_allclose(
        left_out, mean_by_offset([output(p, unit) for p in ("a", "bcd")]), atol=1e-6
    )
    three = ("a", NEUTRAL.prompts[1], "bcd")
    np.testing.assert_allclose(whole, mean_by_offset([output(p, unit) for p in three]), atol=1e-6)
    alone = stages.confirm(PROFILE, emotion=replace(GRATITUDE, prompts=(NEUTRAL.prompts[1],)))
    with pytest.raises(
        UserError, match="at least 2 prompts, since the recipient is left out of the mean"
    ):
        donors().of(alone, "emotion", 1)


@pytest.mark.parametrize("kind", ["zero", "self"])
def test_a_kind_that_captures_nothing_has_no_donor(kind):
    asked: list = []
    stage = stages.confirm(changed("patching", PROFILE, donor=kind))
    assert donors(asked).of(stage, "emotion", 1) is None
    assert asked == []


def test_units_are_asked_for_where_a_cell_has_them_and_at_the_queries_that_are_needed():
    asked: list = []
    plain = stages.confirm(changed("confirm", target_heads="0:1,2:3"))
    assert donors(asked).of(plain, "emotion", 1).units == {}
    assert asked == []
    for where, every in (("generated", False), ("step:2", False), ("prompt:-2", True), ("all", True)):
        asked.clear()
        donors(asked).of(stages.confirm(changed("patching", PROFILE, positions=where)), "emotion", 1)
        assert {(queries, unit) for _, queries, unit in asked} == {(every, unit) for unit in UNITS}
