"""Read-outs as arrays: rows against their own batch's baseline, and a family of q of their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from phase7.effects.families import q_values
from phase7.effects.readouts import gather_readouts
from phase7.experiment.declared import Readouts
from phase7.experiment.profile import Engine
from phase7.experiment.readouts import ReadoutPlan, WordSet
from phase7.experiment.statistics import Statistics
from phase7.statistics import benjamini_hochberg
from tests import stages


def test_a_row_is_compared_with_the_baseline_of_its_own_batch():
    """Batches round differently: by so little that it is no other path, and more than an effect may be."""
    profile = replace(stages.PROFILE, readouts=Readouts(words=("the",)), engine=Engine(max_rows=9))
    words = WordSet(name="words", words=("the",), is_strict=True)
    plan = ReadoutPlan(stage=stages.confirm(profile), sets=(words,))
    batches = list(plan.batches())
    assert len(batches) > len(plan.stage.recipients)
    effects = {}
    entries = []
    for i, batch in enumerate(batches):
        baseline = np.full(4, -3.0) + i * 1e-5
        patched = np.stack([baseline + (0.5 if p % 2 else 0.0) for p in range(len(batch.patches))])
        effects |= {
            (role, cell, batch.prompt_index): 0.5 if p % 2 else 0.0
            for p, (role, cell) in enumerate(batch.patches)
        }
        entry = {"baseline": baseline, "patched": patched, "n_self_rows": 1, "max_self_logit_gap": 0.0}
        entries.append((batch, entry))
    found = gather_readouts(plan, entries)
    assert found.n_self_rows == len(batches)
    for (role, cell, prompt), effect in effects.items():
        c, p = plan.stage.cells.index(cell), plan.stage.recipients.index(prompt)
        delta = found.patched[role][c, :, p] - found.baseline[:, p]
        if effect:
            np.testing.assert_allclose(delta, effect, atol=1e-12)
        else:
            np.testing.assert_array_equal(delta, 0.0)


def test_text_and_readouts_are_two_families():
    rng = np.random.default_rng(4)
    names = ("politeness", "logodds_words", "sentiment_positive", "kl_path_first")
    p = np.concatenate([rng.uniform(0.01, 1.0, (6, 4))])
    p[:, [1, 3]] /= 1000  # read-outs see what text does not
    found = q_values(p, np.full(p.shape, 12.0), names, Statistics())
    np.testing.assert_array_equal(found[:, [0, 2]], benjamini_hochberg(p[:, [0, 2]]))
    np.testing.assert_array_equal(found[:, [1, 3]], benjamini_hochberg(p[:, [1, 3]]))
    together = benjamini_hochberg(p)
    assert (together[:, [0, 2]] < found[:, [0, 2]]).any()  # what one family would have lent to text
