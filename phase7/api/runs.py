"""Patch heads and search for them: what the commands do, with prompts and models in memory."""

from __future__ import annotations

import contextlib
import tempfile
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import xarray as xr

from phase7.api.models import LoadedModel, as_sampling
from phase7.api.prompts import Prompts, as_prompts
from phase7.api.settings import Heads, Shared, as_record, head_spec, patch_profile, profile_of
from phase7.experiment.declared import Readouts, Screen
from phase7.experiment.profile import Confirm, Engine, Patching, Profile, Sampling, Sweep
from phase7.experiment.prompts import PromptSet, paired
from phase7.experiment.statistics import Statistics
from phase7.run.inputs import AtHand, with_words
from phase7.run.paths import Paths
from phase7.run.pipeline import Run
from phase7.vocabulary.donors import ControlKind, DonorKind
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.modes import Mode, Positions, position_record


def patch(
    model: LoadedModel, heads: Heads, *, emotion: Prompts, neutral: Prompts,
    modes: Sequence[Mode] = ("result",), donor: DonorKind = "mean", control: ControlKind = "neutral",
    positions: Positions = "generated", strength: float | Sequence[float] = (), alone: bool = True,
    positive_controls: bool = True,
    against: Sequence[Prompts] = (), readouts: Readouts | Sequence[str] = (),
    scorers: Sequence[str] | None = None, sampling: Sampling | Mapping[str, Any] | None = None,
    name: str = "", columns: tuple[str, str] = ("", ""), max_rows: int = 0,
    store: str | Path | None = None, progress: bool = True,
) -> xr.DataTree:  # fmt: skip
    """Patch heads, let the model write, and test what changes: what ``phase7 patch`` does.

    Parameters
    ----------
    model : LoadedModel
    heads : str or sequence of (layer, head)
        Several are tested each alone and all together, or not alone (`alone`).
    emotion, neutral, against : prompts
        Texts, a path, or a data set with `columns` (texts, scenarios). `against`: other emotions', each
        one more control.
    modes, donor, control, positions, strength, positive_controls, readouts, scorers, sampling, max_rows
        As the options of ``phase7 patch``: of several modes the first is the primary one.
    name : str
        What to call the emotion; default: its file's name.
    store : str or Path, optional
        Folder of finished work, shared with the command line. None: nothing is kept.
    progress : bool
        Draw progress bars.

    Returns
    -------
    xarray.DataTree
        What an effects file holds (docs/effects.md), texts included; ``.phase7`` has the analysis.

    Raises
    ------
    UserError
        If something cannot be used or carried out.
    """
    _require_known(modes=(modes, Mode), donor=(donor, DonorKind), control=(control, ControlKind))
    position_record(positions, "patch: positions")
    sets = _sets(emotion, neutral, against, name, columns)
    strengths = tuple(strength) if isinstance(strength, Sequence) else (strength,)
    profile = patch_profile(
        heads=head_spec(heads), modes=tuple(modes), donor=donor, control=control, positions=positions,
        strengths=strengths, alone=alone,
        positive_controls=positive_controls, against=[one.name for one in sets[2:]],
        **_shared(model, sets[1], readouts, scorers, sampling, max_rows),
    )  # fmt: skip
    return _effects(model, profile, sets, store, progress)


def sweep(
    model: LoadedModel, *, emotion: Prompts, neutral: Prompts,
    search: Sweep | Mapping[str, Any] | None = None,
    screen: Screen | Mapping[str, Any] | None = None, test: Confirm | Mapping[str, Any] | None = None,
    patching: Patching | Mapping[str, Any] | None = None,
    statistics: Statistics | Mapping[str, Any] | None = None,
    readouts: Readouts | Sequence[str] = (), scorers: Sequence[str] | None = None,
    sampling: Sampling | Mapping[str, Any] | None = None, name: str = "",
    columns: tuple[str, str] = ("", ""), max_rows: int = 0, store: str | Path | None = None,
    progress: bool = True,
) -> xr.DataTree:  # fmt: skip
    """Search for heads on half of the neutral prompts and test the strongest on the other half.

    Parameters
    ----------
    model, emotion, neutral, readouts, scorers, sampling, name, columns, max_rows, store, progress
        As of :func:`patch`.
    screen
        The table ``[screen]`` of a profile, as a record or a mapping: the search patches only the heads
        that it chooses. Default: all of `search`.
    search, test, patching, statistics
        The tables ``[sweep]``, ``[confirm]``, ``[patching]`` and ``[statistics]`` of a profile, as
        records or mappings. Default: every head is swept in mode ``result``, and the three strongest
        are tested, alone and together.

    Returns
    -------
    xarray.DataTree
        As of :func:`patch`, with the sweep.

    Raises
    ------
    UserError
        If something cannot be used or carried out.
    """
    chosen = {"target_heads": "", "strongest": 3, "strongest_sets": (3,), "modes": ("result",)}
    sets = _sets(emotion, neutral, (), name, columns)
    profile = profile_of(
        sweep=as_record(Sweep, search, "search"),
        screen=None if screen is None else as_record(Screen, screen, "screen"),
        confirm=as_record(Confirm, chosen if test is None else test, "test"),
        patching=as_record(Patching, patching, "patching"),
        statistics=as_record(Statistics, statistics, "statistics"),
        **_shared(model, sets[1], readouts, scorers, sampling, max_rows),
    )
    return _effects(model, profile, sets, store, progress)


def _sets(
    emotion: Prompts,
    neutral: Prompts,
    against: Sequence[Prompts],
    name: str,
    columns: tuple[str, str],
) -> list[PromptSet]:
    """The neutral prompts, the emotion's, then other emotions'."""
    own = as_prompts(emotion, name or "emotion", *columns)
    others = [as_prompts(one, f"other_{i}", *columns) for i, one in enumerate(against, 1)]
    own = replace(own, name=name) if name else own
    unpatched = as_prompts(neutral, "neutral", *columns)
    return [unpatched, paired(own, unpatched), *others]


def _shared(
    model: LoadedModel,
    emotion: PromptSet,
    readouts: Readouts | Sequence[str],
    scorers: Sequence[str] | None,
    sampling: Sampling | Mapping[str, Any] | None,
    max_rows: int,
) -> Shared:
    return {
        "name": "patch",
        "model": model.name,
        "emotion": emotion.name,
        "prompts": model.prompts,
        "sampling": as_sampling(sampling),
        "engine": Engine(device=model.device, dtype=model.dtype, max_rows=max_rows),
        "readouts": readouts,
        "scorers": scorers,
    }


def _effects(
    model: LoadedModel,
    profile: Profile,
    sets: Sequence[PromptSet],
    store: str | Path | None,
    progress: bool,
) -> xr.DataTree:
    neutral, emotion, *others = sets
    model.engine()  # as its weights are now
    prompts = with_words(neutral, {emotion.name: emotion}, {one.name: one for one in others}, Path())
    with _folder(store) as folder, model.undisturbed():
        paths = Paths(
            root=Path(),
            store=folder,
            effects=folder / "effects" / "patch.nc",
            plots=folder / "plots",
            report=None,
            run_record=folder / "run.json",
            patching=lambda model, emotion: folder / "patch.pkl",
        )
        at_hand = AtHand(prompts=prompts, models=(model.files,))
        return Run(profile, paths, show_progress=progress, warn=print, at_hand=at_hand).effects()


@contextlib.contextmanager
def _folder(store: str | Path | None) -> Iterator[Path]:
    """The store's folder, or one that is gone afterwards."""
    if store is not None:
        yield Path(store)
        return
    with tempfile.TemporaryDirectory(prefix="phase7-") as folder:
        yield Path(folder)


def _require_known(**settings: tuple[Any, Any]) -> None:
    """Refuse a name that is not one of a setting's."""
    for setting, (given, kind) in settings.items():
        known = typing.get_args(kind)
        for one in given if setting == "modes" and not isinstance(given, str) else [given]:
            if one not in known or (setting == "modes" and isinstance(given, str)):
                raise UserError(
                    expected=("a list of some of " if setting == "modes" else "one of ")
                    + ", ".join(known),
                    got=repr(given)[:80],
                    where=f"patch: {setting}",
                    remedy="correct the value",
                )
