"""Carry the folder ``data`` into the wheel as ``phase7/_data``, and make the README fit an index page.

The prompts, profiles and keyword families lie at the top of the repository, where a reader looks for
them. An installed package has no such folder beside it, so the build copies it in.

An index page has no folder beside it either, so the README's pictures and links are made absolute for it
where the environment's ``PHASE7_ADDRESS`` says at which address the repository's files are served.
Without an address a picture is left out, its caption stays, and a link is its words.

All else is in pyproject.toml.
"""

from __future__ import annotations

import os
import re
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


def index_page(readme: str, address: str) -> str:
    """The README for a page that has no files beside it.

    Parameters
    ----------
    readme : str
    address : str
        Where the repository's files are served, such as ``https://host/phase7/raw/v0.1.0``; or empty.
    """

    def replaced(link: re.Match[str]) -> str:
        picture, words, target = link.groups()
        if re.match(r"[a-z]+:|#", target):
            return link[0]
        if address:
            return f"{picture}[{words}]({address.rstrip('/')}/{target})"
        return "" if picture else words

    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", replaced, readme)


def _files() -> list[Path]:
    return sorted(p for kind in ("*.json", "*.toml") for p in DATA.rglob(kind))


if __name__ == "__main__":
    setup(
        cmdclass={"build_py": BuildWithData},
        long_description=index_page(
            Path("README.md").read_text(encoding="utf-8"), os.environ.get("PHASE7_ADDRESS", "")
        ),
        long_description_content_type="text/markdown",
    )
