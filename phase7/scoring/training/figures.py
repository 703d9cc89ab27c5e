"""The content of `model.json` as a Markdown table and as a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from phase7.scoring.embedded.sentiment import CLASSES

PUBLISHED = {
    "macro-F1, GoEmotions test": "BERT-base 0.46, BiLSTM 0.41 (Demszky et al. 2020)",
    "macro recall, TweetEval validation": (
        "on the test split, trained on all tweets: FastText 0.629, RoBERTa-base 0.713 to 0.726 "
        "(Barbieri et al. 2020)"
    ),
    "accuracy, Wikipedia": ("linguistic SVM 0.838, human 0.867 (Danescu-Niculescu-Mizil et al. 2013)"),
    "accuracy, Stack Exchange": (
        "linguistic SVM 0.782, human 0.809 (Danescu-Niculescu-Mizil et al. 2013)"
    ),
}
"""Published results nearest to ours; their protocols differ where the text says so."""

_NAMES = {"wikipedia": "Wikipedia", "stack-exchange": "Stack Exchange"}


def figures_table(record: dict[str, Any]) -> str:
    """Every headline figure beside its published neighbour, as a Markdown table."""
    test, validated = record["test"], record["cross_validated"]
    sentiment, polite = validated["sentiment"], validated["politeness"]
    rows: list[tuple[str, str, float]] = [
        ("emotions", "macro-F1, GoEmotions test", test["macro_f1"]),
        ("emotions", "macro AUROC, GoEmotions test", test["macro_auroc"]),
        ("emotions", "calibration error, GoEmotions test", test["calibration_error"]),
        ("emotions", "macro-F1, GoEmotions dev", record["dev"]["macro_f1"]),
        ("emotions", "macro AUROC, GoEmotions dev", record["dev"]["macro_auroc"]),
        (
            "sentiment",
            "macro recall, TweetEval validation",
            sentiment["stack"]["macro_recall"],
        ),
        ("sentiment", "the same, VADER alone", sentiment["vader_macro_recall"]),
        ("sentiment", "macro recall, GoEmotions test", test["sentiment"]["macro_recall"]),
    ]
    for domain, name in _NAMES.items():
        figures = polite["shipped_recipe"][domain]
        rows += [
            ("politeness", f"accuracy, {name}", figures["accuracy"]),
            ("politeness", f"AUROC, {name}", figures["auroc"]),
            (
                "politeness",
                f"accuracy, {name}, trained on it alone",
                polite["in_domain"][domain]["accuracy"],
            ),
            (
                "politeness",
                f"accuracy, {name}, trained on the other corpus",
                polite["cross_domain"][domain]["accuracy"],
            ),
        ]
    rows.append(("politeness", "calibration error, both corpora", polite["calibration_error"]))
    generated = record["generated"]
    rows += [
        ("generated text", "sentiment agreement", generated["sentiment_agreement"]),
        ("generated text", "emotion likeliest", generated["emotion_first_agreement"]),
        ("generated text", "emotion in likeliest three", generated["emotion_top3_agreement"]),
    ]
    lines = ["| part | figure | here | published |", "| --- | --- | --- | --- |"]
    for part, name, value in rows:
        lines.append(f"| {part} | {name} | {value:.3f} | {PUBLISHED.get(name, '')} |")
    return "\n".join(lines)


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
