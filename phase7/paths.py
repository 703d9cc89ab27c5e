"""The files of a run: where it reads and where it writes.

What enters: a profile's name and folders. What leaves: :class:`Paths`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from phase7.report.write import Format, report_files


@dataclass(frozen=True, kw_only=True)
class Paths:
    """Where a run reads and writes. `report` None: no report; its format None: by its suffix."""

    root: Path
    store: Path
    effects: Path
    plots: Path
    report: Path | None
    run_record: Path
    patching: Callable[[str, str], Path]
    report_format: Format | None = None

    @property
    def reports(self) -> list[Path]:
        """The report's files: Markdown, HTML, both or none."""
        return [] if self.report is None else report_files(self.report, self.report_format)

    def outputs(self, models: Iterable[str], emotions: Sequence[str]) -> list[Path]:
        """The files that must exist after a run, plots aside."""
        pickles = [self.patching(model, emotion) for model in models for emotion in emotions]
        return [self.effects, *pickles, *self.reports]


def build_paths(
    profile_name: str,
    *,
    root: Path,
    store: Path,
    results: Path,
    report: Path,
    report_format: Format | None = None,
) -> Paths:
    """The layout of `phase7 build`."""
    folder = results / profile_name
    return Paths(
        root=root,
        store=store,
        effects=store / "effects" / f"{profile_name}.nc",
        plots=folder / "plots",
        report=report,
        report_format=report_format,
        run_record=folder / "run.json",
        patching=lambda model, emotion: folder / "patching" / f"head_patching_{model}_{emotion}.pkl",
    )
