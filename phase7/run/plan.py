"""The plan of a run and its cost, without running it: nothing is downloaded, computed or written.

A model that is not here yet is planned by the registry's facts. How much of its work the store holds is
then unknown, since the store's keys depend on the model's files, so the plan says "at most". So it does
of stages whose heads a search will find.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from phase7.experiment.framing import resolve_format
from phase7.experiment.profile import Profile
from phase7.experiment.tested import confirmed_prompts
from phase7.models.facts import ModelFacts, ModelSizes
from phase7.models.files import ModelFiles, read_sizes, require_heads
from phase7.models.look import Fetchable, look_for_model
from phase7.run.backend import Backend, n_processors
from phase7.run.counted import counted
from phase7.run.estimated import Work, measured_rates, n_weights
from phase7.run.foreseen import foreseen_stages
from phase7.run.framed import dated, framed
from phase7.run.inputs import Prompts, read_prompts
from phase7.run.memory import bound_in_words, bounded, footprint
from phase7.run.paths import Paths
from phase7.run.record import inputs_digest, is_up_to_date
from phase7.scoring.choose import choose_scorers
from phase7.store import Store
from phase7.store.marker import check_marker
from phase7.vocabulary.names import require_distinct


def require_feasible(profile: Profile, model: ModelFacts, prompts: Prompts) -> None:
    """Refuse a format, heads or a number of rows that the model cannot have."""
    resolve_format(model, profile)
    for emotion in prompts.emotions.values():
        for one in foreseen_stages(profile, model, prompts.neutral, emotion):
            next(iter(one.stage.batches()))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run to come.

    Attributes
    ----------
    lines : list of str
        What is fetched, each stage with its cost, and the total.
    seconds : float or None
        What it may take; None where that cannot be guessed.
    """

    lines: list[str]
    seconds: float | None


def plan_of(profile: Profile, paths: Paths, backend: Backend) -> Plan:
    """The plan of a run of a profile.

    Raises
    ------
    UserError
        If the profile cannot be carried out, as far as that can be known without the models that are
        not here.
    """
    check_marker(paths.store, lambda line: None, mend=False)
    prompts = read_prompts(profile, paths.root)
    models = [look_for_model(name, store_root=paths.store) for name in profile.models]
    require_distinct("models", [model.name for model in models])
    for model in models:
        if isinstance(model, ModelFiles):
            require_heads(model)
    here = [model for model in models if isinstance(model, ModelFiles)]
    sizes = [known for model in models if (known := _sizes(model)) is not None]
    if sizes:
        profile = bounded(dated(profile, here), sizes)
    for model in here:
        require_feasible(profile, model, prompts)
    told: list[str] = []
    read = iter(framed(here, profile, prompts, told.append))
    models = [next(read) if isinstance(model, ModelFiles) else model for model in models]
    store, lines, total, seconds = Store(paths.store), told, Work(), 0.0
    needs = [footprint(one, profile) for one in sizes]
    n_at_once = backend.batches_here(needs, profile.engine) if needs else 1
    for model in models:
        if isinstance(model, Fetchable):
            lines.append(_fetch_line(model))
        facts, its_sizes = model.facts if isinstance(model, Fetchable) else model, _sizes(model)
        if facts is not None and its_sizes is not None:
            of_stages, work = counted(profile, facts, prompts, store, paths.root)
            lines, total = lines + of_stages, total + work
            seconds += measured_rates().of(work, n_weights(its_sizes), min(n_at_once, n_processors()))
    if not sizes:
        return Plan(lines=lines, seconds=None)
    lines += [*_screen_line(profile), *_known_later(profile)]
    lines += [*_circuit_line(profile), *_looks_in_words(profile, prompts)]
    lines.append(_total_line(profile, models, sizes, total, n_at_once))
    can_guess = len(sizes) == len(models) and _is_like_the_measured(profile, backend)
    return Plan(lines=lines, seconds=seconds if can_guess else None)


def _is_like_the_measured(profile: Profile, backend: Backend) -> bool:
    """Whether a run is of the kind whose rates are known."""
    engine = profile.engine
    is_like = (engine.device, engine.dtype) == ("cpu", "float32") and backend.name in (
        "threads",
        "serial",
    )
    return is_like and has_quick_scorers(profile)


def is_finished(profile: Profile, paths: Paths, lang: str) -> bool:
    """Whether a run would find everything up to date, told without fetching or writing anything.

    False where that is not known: with a model that is not here, and with scorers that come from the hub
    or are the user's own, which would have to be loaded.
    """
    if not has_quick_scorers(profile) or not paths.run_record.is_file():
        return False
    looked = [look_for_model(name, store_root=paths.store) for name in profile.models]
    models = [model for model in looked if isinstance(model, ModelFiles)]
    if len(models) < len(looked):
        return False
    prompts = read_prompts(profile, paths.root)
    scorers = choose_scorers(profile.scorers, root=paths.root, store_root=paths.store)
    inputs = inputs_digest(dated(profile, models), lang, prompts, models, scorers)
    emotions = [emotion.name for emotion in prompts.emotions.values()]
    outputs = paths.outputs([model.name for model in models], emotions)
    return is_up_to_date(paths.run_record, inputs, outputs)


def has_quick_scorers(profile: Profile) -> bool:
    """Whether all scorers of a profile come with the package, so that loading them fetches nothing."""
    return all(name in ("embedded", "keywords", "vader") for name in profile.scorers)


def _screen_line(profile: Profile) -> list[str]:
    if profile.screen is None:
        return []
    return [f"which {profile.screen.heads} heads the screen chooses for the sweep is known only then"]


def _known_later(profile: Profile) -> list[str]:
    """Which of the heads that are planned will be others, in a line."""
    confirm = profile.confirm
    asked = (confirm.strongest, confirm.strongest_sets, confirm.curve, profile.answer)
    if profile.sweep is None or not any(asked):
        return []
    heads = [f"{confirm.strongest} strongest heads"] if confirm.strongest else []
    heads += [f"first {size} together" for size in sorted({*confirm.strongest_sets})]
    if confirm.curve:
        sizes = ", ".join(map(str, sorted({*confirm.curve})))
        heads.append(f"sets of {sizes} and all (by read-outs, beside random ones)")
    if profile.answer is not None:
        sizes = ", ".join(map(str, sorted({*profile.answer.sizes})))
        heads.append(f"first {sizes} at {len({*profile.answer.strengths})} strengths, for the answer")
    drawn = ""
    if confirm.strongest_sets and confirm.random_sets:
        drawn = f", with {confirm.random_sets} random of each such size,"
    return [
        f"the sweep's {', '.join(heads)}{drawn} are known only after it; others stand for them above"
    ]


def _circuit_line(profile: Profile) -> list[str]:
    wanted = profile.circuit
    if wanted is None:
        return []
    which = "tested alone" if profile.sweep is None else "of the sweep"
    prompts = f"{wanted.n_prompts} prompts" if wanted.n_prompts else "all confirmation prompts"
    return [f"the first {wanted.heads} heads {which} are taken apart as a circuit, on {prompts}"]


def _looks_in_words(profile: Profile, prompts: Prompts) -> list[str]:
    """Where the confirmation may stop, in a line."""
    n_planned = len(confirmed_prompts(profile, prompts.neutral))
    ends = profile.statistics.ends(n_planned)
    if len(ends) == 1:
        return []
    shares = [profile.statistics.at_look(n, n_planned).share for n in ends]
    looks = ", ".join(f"{n} ({share:.1%})" for n, share in zip(ends, shares, strict=True))
    return [
        f"the confirmation is looked at after {looks} prompts (share of the level), and may stop there"
    ]


def _sizes(model: ModelFiles | Fetchable) -> ModelSizes | None:
    return model.sizes if isinstance(model, Fetchable) else read_sizes(model)


def _fetch_line(model: Fetchable) -> str:
    state = f"damaged here ({model.damage})" if model.damage else "not here yet"
    if model.download_bytes is None:
        return f"{model.name}: {state}; its size and its plan are not known until it is fetched"
    return f"{model.name}: {state}, will be fetched ({model.download_bytes / 1e6:.0f} MB)"


def _total_line(
    profile: Profile,
    models: Sequence[ModelFiles | Fetchable],
    sizes: Sequence[ModelSizes],
    work: Work,
    n_at_once: int,
) -> str:
    bound = bound_in_words(profile, sizes, n_at_once)
    absent = [model for model in models if isinstance(model, Fetchable)]
    n_bytes = sum(model.download_bytes or 0 for model in absent)
    unknown = [model.name for model in absent if model.facts is None]
    at_most = "at most " if n_bytes or not work.is_certain else ""
    return (
        f"total: {at_most}{work.swept_tokens + work.text_tokens:,} tokens to generate, in {bound}"
        + (f"; {n_bytes / 1e6:.0f} MB to fetch" if n_bytes else "")
        + (f"; {', '.join(unknown)} not counted" if unknown else "")
    )
