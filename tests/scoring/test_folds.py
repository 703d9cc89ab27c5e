"""Folds of the scorer's figures: near duplicates stay together, and every choice is nested.

All sentences are made up here.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phase7.scoring.embedded.weights import load_record
from phase7.scoring.training import train_heads, train_politeness
from phase7.scoring.training.calibration import auroc
from phase7.scoring.training.corpora import PolitenessCorpus, read_corpora
from phase7.scoring.training.folds import (
    N_WORDS,
    bootstrap_interval,
    grouped_folds,
    near_duplicate_groups,
)
from phase7.scoring.training.overlap import runs, words_of
from phase7.scoring.training.train_heads import SentimentData
from phase7.scoring.training.train_politeness import (
    REQUEST_CHOICES,
    featurise_requests,
    fit_chosen,
    held_out_requests,
    request_figures,
)
from phase7.scoring.training.validate import valence_lexicon

TEXTS = [
    "Would you move the green ladder to the barn?",  # shares five words with the next
    "Please, MOVE the green ladder to me!",
    "Nine ducks slept beside the frozen pond.",
    "He said: give the green ladder to me now, nine ducks slept beside it",  # and with both sides
    "move the green ladder",  # four words: whole, and nobody else's whole
    "Move... the green ladder?",
    "",
    "?!",
]


def test_texts_that_share_five_words_are_one_group():
    groups = near_duplicate_groups(TEXTS)
    assert groups.dtype == np.int64
    # 0 and 1 share "move the green ladder to", 1 and 3 "the green ladder to me"; 2 and 3 share four.
    assert groups.tolist() == [0, 0, 1, 0, 2, 2, 3, 3]
    assert near_duplicate_groups(TEXTS, 4).tolist() == [0, 0, 0, 0, 0, 0, 1, 1]
    assert near_duplicate_groups([]).tolist() == []


def shared_runs(one: str, other: str) -> bool:
    def of(text):
        words = words_of(text)
        return set(runs(words, min(N_WORDS, len(words))))

    return bool(of(one) & of(other))


def made_up(n_groups: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Texts with a run of five words of their group's own among common words; group of each."""
    rng = np.random.default_rng(seed)
    texts, group = [], []
    for g in range(n_groups):
        own = [f"w{chr(97 + g // 26)}{chr(97 + g % 26)}{chr(97 + i)}" for i in range(5)]
        for _ in range(3):
            pad = [f"filler{chr(97 + i)}" for i in rng.integers(0, 26, 4)]
            texts.append(" ".join([*pad[:2], *own, *pad[2:]]))
            group.append(g)
    order = rng.permutation(len(texts))
    return [texts[i] for i in order], np.array(group)[order]


@pytest.mark.parametrize("seed", [0, 1])
def test_no_fold_shares_a_group_or_a_run_of_words(seed):
    texts, truth = made_up(30, seed)
    groups = near_duplicate_groups(texts)
    pairs = {(int(a), int(b)) for a, b in zip(groups, truth, strict=True)}
    assert len(pairs) == 30 == len({a for a, _ in pairs})
    fold = grouped_folds(groups, 5, seed)
    assert np.bincount(fold).tolist() == [18] * 5
    for i, one in enumerate(texts):
        for j in range(i):
            if fold[i] != fold[j]:
                assert not shared_runs(one, texts[j])
    # Liveness: folds dealt text by text do part them.
    dealt = np.random.default_rng(seed).permutation(len(texts)) % 5
    assert any(dealt[i] != dealt[j] for i in range(90) for j in range(i) if groups[i] == groups[j])
    assert (grouped_folds(groups, 5, seed + 1) != fold).any()


def test_a_large_group_fills_a_fold_by_itself():
    groups = np.array([7] * 10 + list(range(100, 110)))
    fold = grouped_folds(groups, 3, 0)
    assert len(set(fold[:10])) == 1
    assert sorted(np.bincount(fold)) == [5, 5, 10]


def test_an_interval_of_copies_is_as_wide_as_without_them():
    rng = np.random.default_rng(5)
    values = rng.normal(size=60)
    copied = np.repeat(values, 9)
    once = bootstrap_interval(lambda i: values[i].mean(), np.arange(60), seed=1)
    grouped = bootstrap_interval(lambda i: copied[i].mean(), np.repeat(np.arange(60), 9), seed=1)
    parted = bootstrap_interval(lambda i: copied[i].mean(), np.arange(540), seed=1)
    np.testing.assert_allclose(grouped, once, atol=1e-12)
    assert parted[1] - parted[0] < 0.5 * (once[1] - once[0])
    # Of a mean: 1.96 standard errors either way.
    error = values.std() / np.sqrt(60)
    np.testing.assert_allclose(once, values.mean() + 1.96 * error * np.array([-1, 1]), atol=0.3 * error)


def requests(texts: list[str], polite: np.ndarray) -> PolitenessCorpus:
    scores = polite + np.linspace(0.0, 0.1, len(texts))
    return PolitenessCorpus(texts=texts, scores=scores, quartile=np.where(polite > 0, 1, -1))


@pytest.fixture(scope="module")
def memorised():
    """Requests whose politeness only a near duplicate tells: a coin for each group."""
    texts, group = made_up(40)
    polite = np.random.default_rng(2).permutation(np.repeat([1.0, -1.0], 20))[group]
    lexicon = valence_lexicon()
    return featurise_requests({"made up": requests(texts, polite)}, lexicon), lexicon


def test_what_only_near_duplicates_tell_is_not_counted(memorised, monkeypatch):
    monkeypatch.setattr(train_politeness, "REQUEST_CHOICES", REQUEST_CHOICES[:1])
    data, lexicon = memorised
    truth = data.quartile > 0
    honest = auroc(truth, held_out_requests(data, lexicon, seed=0))
    parted = replace(data, group=np.arange(truth.size))
    assert (
        auroc(truth, held_out_requests(parted, lexicon, seed=0)) > 0.9
    )  # liveness: 1 with leaking folds
    assert honest < 0.65


def test_a_held_out_request_takes_no_part_in_choice_calibration_or_fit(memorised, monkeypatch):
    """Every fit, also those that choose and calibrate, sees only groups of the other folds."""
    data, lexicon = memorised
    fold = grouped_folds(data.group, 5, 0)
    seen: list[set[int]] = []
    chosen: list[tuple[set[int], list[set[int]]]] = []
    original = train_politeness.fit_chosen

    def fit(part, lexicon, choice):
        seen.append(set(part.group.tolist()))
        return choice

    def raw(model, part):
        return np.linspace(-1.0, 1.0, part.group.size)

    def recorded(part, lexicon, *, seed):
        seen.clear()
        result = original(part, lexicon, seed=seed)
        chosen.append((set(part.group.tolist()), list(seen)))
        return result

    monkeypatch.setattr(train_politeness, "fit_requests", fit)
    monkeypatch.setattr(train_politeness, "_raw_logits", raw)
    monkeypatch.setattr(train_politeness, "fit_chosen", recorded)
    held_out_requests(data, lexicon, seed=0)
    assert len(chosen) == 5
    for k, (given, fits) in enumerate(chosen):
        tested = set(data.group[fold == k].tolist())
        assert tested and not tested & given
        assert len(fits) == 3 * len(REQUEST_CHOICES) + 1
        assert all(one <= given for one in fits)
        assert fits[-1] == given
        inner = fits[:3]  # the folds of one choice: each leaves out groups, and together all
        assert all(one < given for one in inner)
        assert set.intersection(*inner) == set()


def test_the_better_choice_is_taken(memorised, monkeypatch):
    """The choice follows the held-out AUROC, not the order."""
    data, lexicon = memorised
    truth = np.where(data.quartile > 0, 1.0, -1.0)
    rows = {row.tobytes(): value for row, value in zip(data.score, truth, strict=True)}
    good = REQUEST_CHOICES[3]

    def raw(model, part):
        right = np.array([rows[row.tobytes()] for row in part.score])
        return right if model == good else -right

    monkeypatch.setattr(train_politeness, "fit_requests", lambda part, lexicon, choice: choice)
    monkeypatch.setattr(train_politeness, "_raw_logits", raw)
    assert fit_chosen(data, lexicon, seed=0)[1] == good


def test_tweets_choose_without_the_fold_that_is_measured(monkeypatch):
    texts, _ = made_up(30)
    groups = near_duplicate_groups(texts)
    rng = np.random.default_rng(0)
    data = SentimentData(features=rng.normal(size=(90, 4)), classes=rng.integers(0, 3, 90))
    data.features[:, 3] = groups
    fold = grouped_folds(groups, 5, 1)
    seen: list[set[float]] = []
    original = train_heads.choose_stack

    def recorded(tweets, emotions, groups, *, seed):
        seen.append(set(tweets.features[:, 3]))
        return original(tweets, emotions, groups, seed=seed)

    monkeypatch.setattr(train_heads, "choose_stack", recorded)
    found = train_heads.cross_validate_sentiment(texts, data, data, seed=1, n_folds=5)
    assert seen == [set(groups[fold != k].tolist()) for k in range(5)]
    low, high = found["macro_recall_interval"]
    assert low < found["macro_recall"] < high
    assert np.sum(found["confusion"]) == 90


def test_the_record_says_how_sure_it_is():
    validated = load_record()["cross_validated"]
    figures = [
        *validated["politeness"]["shipped_recipe"].values(),
        *validated["politeness"]["in_domain"].values(),
        *validated["politeness"]["cross_domain"].values(),
    ]
    assert len(figures) == 6
    for one in figures:
        for name in ("accuracy", "auroc"):
            low, high = one[f"{name}_interval"]
            assert low < one[name] < high
            assert 0.01 < high - low < 0.1


@pytest.mark.corpora
def test_the_cards_figure_is_inside_the_interval_of_a_split_that_shares_no_sentence():
    """Every tenth group kept aside from choice, calibration and training."""
    folder = os.environ.get("PHASE7_CORPORA")
    assert folder, "set PHASE7_CORPORA to the folder with goemotions/, politeness/ and tweeteval/"
    corpora = read_corpora(Path(folder))
    lexicon = valence_lexicon()
    data = featurise_requests(corpora.politeness, lexicon)
    aside = data.group % 10 == 9
    assert not set(data.group[aside]) & set(data.group[~aside])
    head, _ = fit_chosen(data.rows(np.flatnonzero(~aside)), lexicon, seed=0)
    record = load_record()["cross_validated"]["politeness"]["shipped_recipe"]
    for number, name in enumerate(corpora.politeness):
        tested = data.rows(np.flatnonzero(aside & (data.domain == number)))
        found = request_figures(tested, head.logits(tested), 0)
        low, high = found["accuracy_interval"]
        assert high - low < 0.15
        print(f"{name}: {found['accuracy']:.3f} ({low:.3f} to {high:.3f}), n = {found['n']}")
        assert low <= record[name]["accuracy"] <= high
