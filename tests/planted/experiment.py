"""The pipeline, unchanged, on the planted model: one experiment for each seed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import xarray as xr

from phase7.effects.file import open_effects
from phase7.experiment.declared import Readouts
from phase7.experiment.profile import Confirm, Patching, Profile, Sampling, Sweep
from phase7.experiment.statistics import Statistics
from phase7.run.paths import Paths
from phase7.run.pipeline import Run
from phase7.vocabulary.heads import format_heads
from phase7.vocabulary.modes import MODES
from tests.planted import model

KEYWORDS = Path(__file__).parents[2] / "data" / "keywords.toml"


def run(
    folder: Path,
    seed: int,
    *,
    share_of_markers: float = 0.5,
    n_prompts: int = 48,
    by_readouts: bool = False,
    two_emotions: bool = False,
) -> xr.DataTree:
    """Build, patch and test every head in every mode; the effects tree.

    `share_of_markers` 0 makes emotion prompts that are neutral ones: the null. `by_readouts`: the heads
    are ordered by attribution, and the texts are as short as they can be. `two_emotions`: the donor of a
    second emotion is a control too.
    """
    data = folder / "data"
    data.mkdir(parents=True)
    shutil.copy(KEYWORDS, data / "keywords.toml")
    model.save(folder / "planted", seed, two_emotions=two_emotions)
    model.write_prompts(
        data / "neutral_prompts.json", seed=seed, n_prompts=n_prompts, share_of_markers=0.0
    )
    model.write_prompts(
        data / "gratitude_prompts.json", seed=seed + 1000, n_prompts=n_prompts,
        share_of_markers=share_of_markers,
    )  # fmt: skip
    model.write_prompts(
        data / "anger_prompts.json", seed=seed + 2000, n_prompts=n_prompts,
        share_of_markers=share_of_markers, markers=model.OTHER_MARKERS,
    )  # fmt: skip
    readouts = {
        "sweep": Sweep(modes=MODES, text=False, readouts="attribution"),
        "readouts": Readouts(emotions=("gratitude",), max_new_tokens=6),
        "statistics": Statistics(selection_metrics=("logodds_gratitude",)),
        "sampling": Sampling(max_new_tokens=2, temperature=1.0, top_p=0.95, seed=seed),
    }
    profile = Profile(
        name="planted",
        models=(str(folder / "planted"),),
        emotions=("gratitude",),
        scorers=("vader", "keywords"),
        sampling=Sampling(max_new_tokens=12, temperature=1.0, top_p=0.95, seed=seed),
        patching=Patching(against=("anger",) if two_emotions else ()),
        sweep=Sweep(modes=("result",)),
        confirm=Confirm(
            target_heads="all", head_sets=(format_heads(model.PAIR),), strongest=3, lengths=(1,),
            positive_controls=False, against_text=False,
        ),
        statistics=Statistics(selection_metrics=("gratitude_keywords",)),
    )  # fmt: skip
    if by_readouts:
        profile = replace(profile, **readouts)
    paths = Paths(
        root=folder,
        store=folder / "store",
        effects=folder / "effects.nc",
        plots=folder / "plots",
        report=None,
        run_record=folder / "run.json",
        patching=lambda name, emotion: folder / f"{name}_{emotion}.pkl",
    )
    Run(profile, paths, show_progress=False).execute()
    return open_effects(paths.effects)["planted/gratitude"]
