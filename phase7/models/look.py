"""Look for a model without fetching it: a dry run must not download or change anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from phase7.models import hub, wheel
from phase7.models.facts import ModelFacts, ModelSizes
from phase7.models.files import (
    ModelFiles,
    hub_model,
    is_folder,
    known_model,
    local_model,
    unknown_model,
)
from phase7.models.registry import REGISTRY, ModelSpec
from phase7.store.sums import Damaged, check_folder
from phase7.vocabulary.names import plain_name


@dataclass(frozen=True, kw_only=True)
class Fetchable:
    """A model that a run would have to download first.

    Attributes
    ----------
    name : str
        Name in results and in the effects store (no slash).
    damage : str
        What is wrong with the files that are here; empty where there are none.
    download_bytes : int or None
    facts : ModelFacts or None
    sizes : ModelSizes or None
        These three are None for a model that is not in the registry.
    """

    name: str
    damage: str = ""
    download_bytes: int | None = None
    facts: ModelFacts | None = None
    sizes: ModelSizes | None = None


def look_for_model(name: str, *, store_root: Path) -> ModelFiles | Fetchable:
    """The model's files where they are here and whole, else what a run would fetch.

    Parameters
    ----------
    name : str
        Known name, folder, or hub id ``owner/name[@revision]``.
    store_root : Path
        A store, whose ``models`` are used where there are some (:mod:`phase7.models.places`).

    Raises
    ------
    UserError
        If the name can be none of these, or the files that are here are not what a run can use.
    """
    spec = REGISTRY.get(name)
    if spec is not None:
        folder = _folder_of(spec, store_root)
        damage = "" if folder is None else _damage(spec, folder)
        return known_model(spec, folder) if folder and not damage else _to_fetch(spec, damage)
    if is_folder(name):
        return local_model(name)
    if not hub.is_hub_id(name):
        raise unknown_model(name)
    repository, _, revision = name.partition("@")
    folder = hub.cached(repository, revision or None)
    damage = "" if folder is None else _damage_in_cache(folder)
    if folder and not damage:
        return hub_model(name, folder)
    return Fetchable(name=plain_name(repository.replace("/", "--")), damage=damage)


def _folder_of(spec: ModelSpec, store_root: Path) -> Path | None:
    if spec.source == "hub":
        return hub.cached(spec.location, spec.revision)
    folder = wheel.folder_of(spec, store_root)
    return folder if folder.is_dir() else None


def _damage(spec: ModelSpec, folder: Path) -> str:
    """What is wrong with a known model's files; empty where they are whole."""
    if spec.source == "hub":
        return _damage_in_cache(folder)
    try:
        check_folder(folder)
    except Damaged as error:
        return str(error)
    return ""


def _damage_in_cache(folder: Path) -> str:
    names = [path.name for path, _, _ in hub.damaged_files(folder)]
    return f"{', '.join(names)[:120]}: not what the hub served" if names else ""


def _to_fetch(spec: ModelSpec, damage: str) -> Fetchable:
    facts = ModelFacts(
        name=spec.name,
        fingerprint="",
        n_layers=spec.sizes.n_layers,
        n_heads=spec.sizes.n_heads,
        has_chat_template=spec.has_chat_template,
    )
    return Fetchable(
        name=spec.name,
        damage=damage,
        download_bytes=spec.download_bytes,
        facts=facts,
        sizes=spec.sizes,
    )
