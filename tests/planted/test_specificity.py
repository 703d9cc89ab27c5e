"""A head that carries any emotion is told from one that carries gratitude alone."""

from __future__ import annotations

import pytest

from phase7.vocabulary.heads import HeadSet, parse_heads
from phase7.vocabulary.verdicts import ANY_EMOTION, SPECIFIC
from tests.planted import model
from tests.planted.experiment import run

AT = dict(mode="result", metric="logodds_gratitude")
HEADS = parse_heads("all", n_layers=model.N_LAYERS, n_heads=model.N_HEADS)


def false_calls(tree) -> int:
    """Heads that carry nothing and are called specific; the planted ones must be called rightly."""
    effects, sets = tree.to_dataset().sel(AT), tree["head_sets"].to_dataset().sel(AT)
    called = {
        head: str(effects.specificity.sel(layer=head.layer, head=head.head).item()) for head in HEADS
    }
    assert called[model.CARRIER] == SPECIFIC
    assert called[model.SHARED] == ANY_EMOTION
    carrier, shared = (
        effects.sel(layer=head.layer, head=head.head, against="anger")
        for head in (model.CARRIER, model.SHARED)
    )
    assert carrier.specific_q_value < 0.05 and carrier.specific_delta > 0.5
    assert abs(shared.specific_delta) < 0.3 * shared.net_delta
    # Only together; test_planted finds the pair by its texts. Of its p over donor pairs, which is of
    # first-order predictions, nothing is asked: each head alone does next to nothing.
    pair = sets.sel(head_set=HeadSet(model.PAIR).label)
    alone = [effects.net_delta.sel(layer=head.layer, head=head.head) for head in model.PAIR]
    assert pair.specific_delta > 0.5 and pair.net_delta > 0.5 > 5 * max(abs(one) for one in alone)
    others = {*HEADS} - {model.CARRIER, model.SHARED}
    return sum(called[head] == SPECIFIC for head in others)


@pytest.mark.slow
def test_the_verdicts_are_those_that_were_planted(tmp_path):
    false_calls(run(tmp_path, seed=0, n_prompts=24, by_readouts=True, two_emotions=True))


@pytest.mark.slow
def test_the_verdicts_are_right_in_twenty_of_twenty_seeds(tmp_path):
    n_seeds, n_false = 20, 0
    for seed in range(n_seeds):
        tree = run(tmp_path / str(seed), seed, n_prompts=24, by_readouts=True, two_emotions=True)
        n_false += false_calls(tree)
    n_calls = n_seeds * (len(HEADS) - 2)
    print(f"\n{n_false} of {n_calls} heads that carry nothing were called specific")
    assert n_false <= 0.05 * n_calls
