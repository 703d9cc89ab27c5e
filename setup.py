"""Carry the folder ``data`` into the wheel as ``phase7/_data``; all else is in pyproject.toml.

The prompts, profiles and keyword families lie at the top of the repository, where a reader looks for
them. An installed package has no such folder beside it, so the build copies it in.
"""

from __future__ import annotations

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

DATA = Path("data")


class BuildWithData(build_py):
    """``build_py`` that adds the data files. An editable install finds them in the repository."""

    def run(self) -> None:
        super().run()
        for source, target in self._pairs():
            self.mkpath(str(Path(target).parent))
            self.copy_file(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), *(target for _, target in self._pairs())]

    def get_source_files(self) -> list[str]:
        return [*super().get_source_files(), *map(str, _files())]

    def _pairs(self) -> list[tuple[str, str]]:
        if self.editable_mode:
            return []
        carried = Path(self.build_lib) / "phase7" / "_data"
        return [(str(path), str(carried / path.relative_to(DATA))) for path in _files()]


def _files() -> list[Path]:
    return sorted(p for kind in ("*.json", "*.toml") for p in DATA.rglob(kind))


setup(cmdclass={"build_py": BuildWithData})
