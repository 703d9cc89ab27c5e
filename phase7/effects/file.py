"""The effects file: the tree of a profile as one netCDF file, written whole and read checked."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import xarray as xr

from phase7.effects.texts import encoding_of
from phase7.store import Damaged, atomic_path
from phase7.store.sums import SEALED, check_sealed, seal
from phase7.vocabulary.errors import UserError

SCHEMA_VERSION = 1

#: How `open_effects` splits variables into dask arrays; None: not at all.
Chunks = int | dict[str, int] | Literal["auto"] | None


def build_tree(
    groups: Mapping[str, Mapping[str, xr.Dataset]], attributes: Mapping[str, Any]
) -> xr.DataTree:
    """The tree of a profile.

    Parameters
    ----------
    groups : mapping
        ``"<model>/<emotion>"`` -> the group's Datasets by name, ``""`` being the main one.
    attributes : mapping
        Of the root: profile, provenance (a JSON string) and the like.
    """
    nodes = {
        f"/{group}/{name}".rstrip("/"): dataset
        for group, datasets in groups.items()
        for name, dataset in datasets.items()
    }
    tree = xr.DataTree.from_dict(nodes)
    tree.attrs.update(attributes, schema_version=SCHEMA_VERSION)
    return tree


def write_effects(tree: xr.DataTree, path: Path) -> None:
    """Write the tree as one netCDF file, whole or not at all, with its SHA-256 behind the last byte.

    Numbers and the texts of a sweep are compressed losslessly.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    encoding = {
        node.path: {
            str(name): made
            for name, variable in node.to_dataset(inherit=False).variables.items()
            if (made := encoding_of(node.path, variable))
        }
        for node in tree.subtree
    }
    with atomic_path(path) as temporary:
        try:
            sealed = tree.copy()
            sealed.attrs["checksum"] = SEALED
            sealed.to_netcdf(temporary, engine="netcdf4", encoding=encoding)
        except RuntimeError as error:  # what the netCDF library makes of a full disk
            raise OSError(errno.EIO, str(error)) from error
        seal(temporary)


def open_effects(path: str | Path, *, chunks: Chunks = None) -> xr.DataTree:
    """Open an effects file.

    As ``phase7.open_effects`` it also registers the accessors of :mod:`phase7.accessor`.

    Parameters
    ----------
    path : str or Path
        Such as ``store/effects/quickstart.nc``.
    chunks : int, dict, "auto" or None
        None loads everything into memory and closes the file. Anything else loads lazily, as dask
        arrays of these chunks (``{}``: one chunk a variable; see :func:`xarray.open_datatree`); the
        file then stays open until ``tree.close()``.

    Returns
    -------
    xarray.DataTree
        ``tree["smollm2/gratitude"]`` has the variables of docs/effects.md; children hold the
        sweep, head sets, lengths and texts.

    Raises
    ------
    UserError
        If the file is not there, is damaged, or was written by a newer version of phase7; or if
        `chunks` is given and dask is not installed.
    """
    path = Path(path)
    if chunks is not None and find_spec("dask") is None:
        raise UserError(
            expected="dask, which lazy loading needs",
            got="no such package",
            where=f"open_effects(chunks={chunks!r})",
            remedy="pip install 'phase7[analysis]', or leave out chunks",
        )
    try:
        tree = _opened(path, chunks)
    except (OSError, ValueError, RuntimeError, Damaged) as error:
        raise UserError(
            expected="an effects file of phase7 (netCDF)",
            got=f"{type(error).__name__}: {error}"[:200],
            where=str(path),
            remedy="run `python -m phase7 build` to make it",
        ) from error
    _require_known_schema(tree, path)
    return tree


def _opened(path: Path, chunks: Chunks) -> xr.DataTree:
    """The tree of a file whose checksum, where it has one, is right."""
    sealed = check_sealed(path)
    tree = xr.open_datatree(path, engine="netcdf4", chunks=chunks)
    if chunks is None:
        with tree:
            tree = tree.load()
    if tree.attrs.pop("checksum", None) is not None and not sealed:
        raise Damaged("its checksum is cut off")
    return tree


def _require_known_schema(tree: xr.DataTree, path: Path) -> None:
    version = tree.attrs.get("schema_version")
    if version is None or int(version) > SCHEMA_VERSION:
        tree.close()
        raise UserError(
            expected=f"an effects file of schema {SCHEMA_VERSION} or older",
            got=f"schema {version}",
            where=str(path),
            remedy="upgrade phase7, or build the file again",
        )


def settings_json(settings: Mapping[str, Any]) -> str:
    """Settings as one JSON string: netCDF attributes drop booleans and None."""
    return json.dumps(settings, ensure_ascii=False, sort_keys=True)
