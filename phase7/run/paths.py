"""Where a run reads and where it writes, and the refusal to write over what it reads."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from phase7.report.write import Format, report_files
from phase7.vocabulary.errors import UserError

RESULTS = Path("results")
"""Where results go that no `--results` sends elsewhere."""


@dataclass(frozen=True, kw_only=True)
class Paths:
    """Where a run reads and writes.

    Without a `report` none is written; without a `report_format` its suffix decides. `english` is where
    the report goes in English besides.
    """

    root: Path
    store: Path
    effects: Path
    plots: Path
    report: Path | None
    run_record: Path
    patching: Callable[[str, str], Path]
    report_format: Format | None = None
    english: Path | None = None

    @property
    def reports(self) -> list[Path]:
        """The report's files: Markdown, HTML, both or none."""
        return [] if self.report is None else report_files(self.report, self.report_format)

    @property
    def english_reports(self) -> list[Path]:
        """The files of the report in English besides."""
        return [] if self.english is None else report_files(self.english, self.report_format)

    @property
    def vectors(self) -> Path:
        """The folder of the directions of an answer, beside the figures; made where there are some."""
        return self.plots.with_name("vectors")

    def outputs(self, models: Iterable[str], emotions: Sequence[str]) -> list[Path]:
        """The files that must exist after a run, plots aside."""
        pickles = [self.patching(model, emotion) for model in models for emotion in emotions]
        return [self.effects, *pickles, *self.reports, *self.english_reports]


def require_apart(outputs: Sequence[Path], inputs: Iterable[Path]) -> None:
    """Refuse to write one file twice, over an input, or among the files of an input folder.

    Parameters
    ----------
    outputs : sequence of Path
    inputs : iterable of Path
        Files and folders that are read.

    Raises
    ------
    UserError
        If two places are the same, whatever they are called.
    """
    taken = [Path(os.path.realpath(path)) for path in inputs]
    for output in outputs:
        place = Path(os.path.realpath(output))
        for other in taken:
            if place == other or (place.parent == other and other.is_dir()):
                raise UserError(
                    expected="an output of its own, apart from inputs and other outputs",
                    got=f"a place that is taken by {other}",
                    where=str(output),
                    remedy="choose another path",
                )
        taken.append(place)


def require_own(
    output: Path,
    record: Path,
    earlier: Path | None = None,
    *,
    remedy: str = "choose another output, or replace it with --force",
) -> None:
    """Refuse to replace a file that nobody named and that no earlier run with this record wrote.

    Parameters
    ----------
    output, record : Path
    earlier : Path, optional
        A folder that a run fills before it writes `output`: files in it are those of a run that was
        cut off between the two, and that may be continued.
    remedy : str
        What to do, in the error.

    Raises
    ------
    UserError
        If it is there, and `record` is not, or does not list it.
    """
    if not output.exists() or (earlier is not None and earlier.is_dir() and any(earlier.iterdir())):
        return
    try:
        files = json.loads(record.read_text(encoding="utf-8"))["files"]
        is_own = str(output) in files
    except (OSError, ValueError, KeyError, TypeError):
        is_own = False
    if not is_own:
        raise UserError(
            expected="no file there, or one that this result's earlier run wrote",
            got=f"a file that {record} does not list",
            where=str(output),
            remedy=remedy,
        )


def own_reports(folder: Path, report_format: Format | None) -> tuple[Path, Path]:
    """A profile's report in its folder of results, and the one in English beside it."""
    suffix = ".html" if report_format == "html" else ".md"
    return folder / f"report{suffix}", folder / f"report.en{suffix}"


def build_paths(
    profile_name: str,
    *,
    root: Path,
    store: Path,
    results: Path = RESULTS,
    report: Path | None = None,
    report_format: Format | None = None,
    is_bilingual: bool = False,
) -> Paths:
    """Where `phase7 build` puts its files.

    Everything but the effects file lies in ``<results>/<profile_name>``. The effects file of `RESULTS`
    is ``<store>/effects/<profile_name>.nc``; that of other results, which may share the store, lies
    with them. Without a `report` it is `report.md` there, and `report.en.md` in English besides where
    it `is_bilingual`.
    """
    folder = results / profile_name
    name = f"{profile_name}.nc"
    page, english = own_reports(folder, report_format)
    return Paths(
        root=root,
        store=store,
        effects=store / "effects" / name if results == RESULTS else folder / name,
        plots=folder / "plots",
        report=report or page,
        english=english if is_bilingual and report is None else None,
        report_format=report_format,
        run_record=folder / "run.json",
        patching=lambda model, emotion: folder / "patching" / f"head_patching_{model}_{emotion}.pkl",
    )
