"""The command `train-scorers`: train, show or check the embedded scorer.

NumPy, torch and matplotlib are imported only by what needs them, because `--help` imports this module.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from phase7.vocabulary.errors import UserError

_TOLERANCE = 1e-6
"""Committed figures are rounded to six digits."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    parser.add_argument("--data", type=Path, help="folder with goemotions/, politeness/ and tweeteval/")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).parents[1] / "embedded",
        help="where the files go (default: the package)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of training and folds (default: 0)")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--show", action="store_true", help="print the recorded figures and stop")
    action.add_argument(
        "--evaluate",
        action="store_true",
        help="measure the shipped weights on --data and compare with the record",
    )
    action.add_argument(
        "--cross-validate",
        action="store_true",
        help="measure the heads of the weights in --out anew on folds of --data; the weights stay",
    )
    action.add_argument("--card", type=Path, metavar="FILE", help="renew the tables of this model card")
    action.add_argument(
        "--overlap",
        type=Path,
        metavar="DIR",
        help="look for sentences of --data in the text files below DIR",
    )


def run(args: argparse.Namespace) -> int:
    """Carry out the command.

    Returns
    -------
    int
        0; 1 if figures differ from the record or the data overlap.

    Raises
    ------
    UserError
        If --data is needed and missing, or its files are malformed.
    """
    if args.show:
        return _show()
    if args.card is not None:
        return _renew_card(args.card)
    if args.data is None:
        raise UserError(
            expected="a folder",
            got="nothing",
            where="--data",
            remedy="give --data DIR, or --show to print the recorded figures",
        )
    if args.overlap is not None:
        return _overlap(args.data, args.overlap)
    if args.evaluate:
        return _evaluate(args.data)
    from phase7.scoring.training.figures import card_tables
    from phase7.scoring.training.train import measure_again, train

    measure = measure_again if args.cross_validate else train
    record = measure(args.data, args.out, args.seed)
    print(card_tables(record)["figures"])
    print(card_tables(record)["machine"])
    return 0


def _show() -> int:
    from phase7.scoring.embedded.weights import load_record
    from phase7.scoring.training.figures import card_tables

    record = load_record()
    tables = card_tables(record)
    print(f"embedded scorer, version {record['version']}, seed {record['seed']}")
    for name in ("machine", "figures", "labels"):
        print(f"\n{tables[name]}")
    for name in ("confusion-tweets", "confusion-goemotions"):
        print(f"\nsentiment {name.replace('-', ', ')}\n{tables[name]}")
    return 0


def _renew_card(path: Path) -> int:
    from phase7.scoring.embedded.weights import load_record
    from phase7.scoring.training.figures import filled_card, plot_calibration
    from phase7.store import atomic_path, write_text

    try:
        card = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            expected="a model card in UTF-8",
            got=str(error),
            where=str(path),
            remedy="give the path of docs/scorers.md",
        ) from error
    record = load_record()
    plot = path.parent / "figures" / "calibration.png"
    with atomic_path(plot) as temporary:
        plot_calibration(record, temporary)
    write_text(path, filled_card(card, record))
    print(f"renewed {path} and {plot}")
    return 0


def _evaluate(data: Path) -> int:
    import numpy as np

    from phase7.scoring.embedded.scorer import EmbeddedScorer
    from phase7.scoring.embedded.weights import load_record
    from phase7.scoring.training.corpora import read_corpora
    from phase7.scoring.training.evaluate import (
        differences,
        evaluate_emotions,
        evaluate_generated,
        measure_speed,
    )
    from phase7.vocabulary.metrics import GOEMOTIONS_LABELS

    record, scorer = load_record(), EmbeddedScorer()
    thresholds = np.array([record["thresholds"][label] for label in GOEMOTIONS_LABELS])
    corpora = read_corpora(data)
    measured: dict[str, Any] = {
        "version": scorer.version,
        "dev": evaluate_emotions(scorer, corpora.dev, thresholds),
        "test": evaluate_emotions(scorer, corpora.test, thresholds),
        "generated": evaluate_generated(scorer),
    }
    found = differences({key: record[key] for key in measured}, measured, _TOLERANCE)
    test = measured["test"]
    print(f"version {scorer.version}")
    print(f"GoEmotions test: macro-F1 {test['macro_f1']:.4f}, macro AUROC {test['macro_auroc']:.4f}")
    print(f"sentiment, GoEmotions test: macro recall {test['sentiment']['macro_recall']:.4f}")
    print(f"speed: {measure_speed(scorer, corpora.test.texts):,.0f} texts/s")
    for line in found:
        print(f"differs: {line}")
    print("the record does not hold" if found else "every figure equals the record")
    return 1 if found else 0


def _overlap(data: Path, folder: Path) -> int:
    from phase7.scoring.training.corpora import read_corpora
    from phase7.scoring.training.overlap import overlapping_sentences

    found = overlapping_sentences(read_corpora(data), folder)
    for line in found:
        print(line)
    print(f"{len(found)} overlaps")
    return 1 if found else 0
