"""The content of `model.json` as a Markdown table and as a plot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phase7.scoring.embedded.sentiment import CLASSES

PUBLISHED = {
    "macro-F1, GoEmotions test": "BERT-base 0.46, BiLSTM 0.41 (Demszky et al. 2020)",
    "macro recall, TweetEval test": (
        "trained on all tweets: FastText 0.629, RoBERTa-base 0.713 to 0.726 (Barbieri et al. 2020)"
    ),
    "accuracy, Wikipedia": ("linguistic SVM 0.838, human 0.867 (Danescu-Niculescu-Mizil et al. 2013)"),
    "accuracy, Stack Exchange": (
        "linguistic SVM 0.782, human 0.809 (Danescu-Niculescu-Mizil et al. 2013)"
    ),
}
"""Published results nearest to ours; their protocols differ where the text says so."""


@dataclass(frozen=True, kw_only=True)
class Unseen:
    """A figure on texts that were kept aside; as many digits as were told."""

    key: str
    part: str
    name: str
    value: float
    interval: tuple[float, float] | None = None


UNSEEN: dict[str, tuple[Unseen, ...]] = {
    "1-11b8d86b": (
        Unseen(
            key="politeness_wikipedia_accuracy_unseen",
            part="politeness",
            name="accuracy, Wikipedia, requests kept aside",
            value=0.78,
            interval=(0.72, 0.84),
        ),
        Unseen(
            key="politeness_wikipedia_auroc_unseen",
            part="politeness",
            name="AUROC, Wikipedia, requests kept aside",
            value=0.88,
        ),
        Unseen(
            key="politeness_stack_exchange_accuracy_unseen",
            part="politeness",
            name="accuracy, Stack Exchange, requests kept aside",
            value=0.66,
        ),
        Unseen(
            key="sentiment_tweeteval_test_macro_recall_unseen",
            part="sentiment",
            name="macro recall, TweetEval test",
            value=0.629,
        ),
    )
}
"""Figures on texts that no copy of the training data holds, by the version of the weights.

Every tenth request of either politeness corpus was kept aside before any training; TweetEval's test
split was never read. Our data lack both, so training cannot repeat these figures, and other weights have
none until somebody measures them.
"""


def unseen_figures(version: str) -> dict[str, float]:
    """Figures of these weights on texts that were kept aside; empty where nobody measured them."""
    return {one.key: one.value for one in UNSEEN.get(version, ())}


_OTHER_RECIPES = {"in_domain": "trained on it alone", "cross_domain": "trained on the other corpus"}
_NAMES = {"wikipedia": "Wikipedia", "stack-exchange": "Stack Exchange"}


def figures_table(record: dict[str, Any]) -> str:
    """Every headline figure beside its published neighbour, as a Markdown table."""
    rows = [*_emotion_rows(record), *_sentiment_rows(record), *_politeness_rows(record)]
    generated = record["generated"]
    rows += [
        ("generated text", "sentiment agreement", f"{generated['sentiment_agreement']:.3f}"),
        ("generated text", "emotion likeliest", f"{generated['emotion_first_agreement']:.3f}"),
        ("generated text", "emotion in likeliest three", f"{generated['emotion_top3_agreement']:.3f}"),
    ]
    lines = ["| part | figure | here | published |", "| --- | --- | --- | --- |"]
    for part, name, value in rows:
        lines.append(f"| {part} | {name} | {value} | {PUBLISHED.get(name, '')} |")
    return "\n".join(lines)


_Row = tuple[str, str, str]


def _emotion_rows(record: dict[str, Any]) -> list[_Row]:
    test, dev = record["test"], record["dev"]
    return [
        ("emotions", "macro-F1, GoEmotions test", f"{test['macro_f1']:.3f}"),
        ("emotions", "macro AUROC, GoEmotions test", f"{test['macro_auroc']:.3f}"),
        ("emotions", "calibration error, GoEmotions test", f"{test['calibration_error']:.3f}"),
        ("emotions", "macro-F1, GoEmotions dev", f"{dev['macro_f1']:.3f}"),
        ("emotions", "macro AUROC, GoEmotions dev", f"{dev['macro_auroc']:.3f}"),
    ]


def _sentiment_rows(record: dict[str, Any]) -> list[_Row]:
    sentiment = record["cross_validated"]["sentiment"]
    elsewhere = record["test"]["sentiment"]["macro_recall"]
    return [
        *_unseen_rows(record, "sentiment"),
        (
            "sentiment",
            "macro recall, TweetEval validation",
            _with_interval(sentiment["stack"], "macro_recall"),
        ),
        ("sentiment", "the same, VADER alone", f"{sentiment['vader_macro_recall']:.3f}"),
        ("sentiment", "macro recall, GoEmotions test", f"{elsewhere:.3f}"),
    ]


def _politeness_rows(record: dict[str, Any]) -> list[_Row]:
    polite = record["cross_validated"]["politeness"]
    rows = _unseen_rows(record, "politeness")
    for domain, name in _NAMES.items():
        figures = polite["shipped_recipe"][domain]
        for kind, figure in (("accuracy", f"accuracy, {name}"), ("auroc", f"AUROC, {name}")):
            rows.append(("politeness", figure, _with_interval(figures, kind)))
        for recipe, way in _OTHER_RECIPES.items():
            value = _with_interval(polite[recipe][domain], "accuracy")
            rows.append(("politeness", f"accuracy, {name}, {way}", value))
    error = f"{polite['calibration_error']:.3f}"
    return [*rows, ("politeness", "calibration error, both corpora", error)]


def _unseen_rows(record: dict[str, Any], part: str) -> list[_Row]:
    found = [one for one in UNSEEN.get(record["version"], ()) if one.part == part]
    rows = []
    for one in found:
        interval = "" if one.interval is None else f" ({one.interval[0]:g} to {one.interval[1]:g})"
        rows.append((part, one.name, f"{one.value:g}{interval}"))
    return rows


def _with_interval(figures: dict[str, Any], name: str) -> str:
    low, high = figures[f"{name}_interval"]
    return f"{figures[name]:.3f} ({low:.3f} to {high:.3f})"


def labels_table(record: dict[str, Any]) -> str:
    """Each emotion's threshold and test figures, as a Markdown table."""
    lines = ["| label | test texts | threshold | F1 | AUROC |", "| --- | --- | --- | --- | --- |"]
    for label, figures in record["test"]["per_label"].items():
        threshold = record["thresholds"][label]
        lines.append(
            f"| {label} | {figures['n']} | {threshold:.3f} | {figures['f1']:.3f} "
            f"| {figures['auroc']:.3f} |"
        )
    return "\n".join(lines)


def confusion_table(counts: list[list[int]]) -> str:
    """Sentiment confusion, rows the labels and columns the scorer, as a Markdown table."""
    lines = [
        f"| labelled | {' | '.join(f'scored {name}' for name in CLASSES)} |",
        "| --- | --- | --- | --- |",
    ]
    for name, row in zip(CLASSES, counts, strict=True):
        lines.append(f"| {name} | {' | '.join(str(count) for count in row)} |")
    return "\n".join(lines)


def card_tables(record: dict[str, Any]) -> dict[str, str]:
    """The tables of the model card by the name of their place in it."""
    sentiment = record["cross_validated"]["sentiment"]["stack"]["confusion"]
    return {
        "figures": figures_table(record),
        "labels": labels_table(record),
        "confusion-tweets": confusion_table(sentiment),
        "confusion-goemotions": confusion_table(record["test"]["sentiment"]["confusion"]),
        "confusion-generated": confusion_table(record["generated"]["sentiment_confusion"]),
        "disagreements": _disagreements_table(record["generated"]["disagreements"]),
        "machine": (
            f"Weights: {record['weights_bytes'] / 1e6:.2f} MB. On the machine that trained them, "
            f"one core: {record['timing']['texts_per_s']:,} texts/s, "
            f"training {record['timing']['training_s']:,.0f} s."
        ),
    }


def filled_card(card: str, record: dict[str, Any]) -> str:
    """The model card with its tables renewed.

    Parameters
    ----------
    card : str
        Markdown in which ``<!-- figures -->`` ... ``<!-- end -->`` holds the table of that name.
    record : dict
    """
    for name, table in card_tables(record).items():
        start, end = f"<!-- {name} -->\n", "<!-- end -->"
        before, found, rest = card.partition(start)
        if found:
            card = before + start + table + "\n" + end + rest.partition(end)[2]
    return card


def plot_calibration(record: dict[str, Any], path: Path) -> None:
    """Draw the reliability of the emotion and politeness probabilities into a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [
        ("28 emotions, GoEmotions test", record["test"]["reliability"]),
        (
            "politeness, held-out quartile texts",
            record["cross_validated"]["politeness"]["reliability"],
        ),
    ]
    figure = Figure(figsize=(8.0, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, curve) in zip(figure.subplots(1, 2, sharey=True), panels, strict=True):
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, label="perfect")
        axes.plot(curve["predicted"], curve["observed"], "o-", color="#0072b2", label="measured")
        for x, y, n in zip(curve["predicted"], curve["observed"], curve["count"], strict=True):
            axes.annotate(f"{n:,}", (x, y), (4, -10), textcoords="offset points", fontsize=6)
        axes.set(title=title, xlabel="mean probability", xlim=(0, 1), ylim=(0, 1))
        axes.legend(loc="upper left", fontsize=8)
    figure.axes[0].set_ylabel("observed share")
    figure.savefig(path, format="png", dpi=150, metadata={"Software": None})


def _disagreements_table(missed: list[dict[str, str]]) -> str:
    lines = ["| text | labelled | scored |", "| --- | --- | --- |"]
    for item in missed:
        text = " ".join(item["text"].split())
        lines.append(
            f"| {text} | {item['sentiment']}, {item['emotion']} "
            f"| {item['scored_sentiment']}, {item['scored_emotion']} |"
        )
    return "\n".join(lines)
