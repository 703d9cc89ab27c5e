"""Settings of the documentation site: `tox -e docs` builds it into site/."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import phase7  # noqa: E402

project = "phase7"
author = "The phase7 authors"
version = release = phase7.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser"]
exclude_patterns = ["measurements"]
source_suffix = {".md": "markdown"}

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
# The report starts some sections one level lower than their parents ask for.
suppress_warnings = ["myst.header"]

napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_preprocess_types = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"

html_theme = "furo"
html_title = f"phase7 {version}"
html_copy_source = False
html_show_copyright = False


def _escape_bars(app, what, name, obj, options, lines) -> None:
    """|x| means an absolute value in our docstrings, and a substitution in reStructuredText."""
    lines[:] = [line if line.lstrip().startswith(">>>") else line.replace("|", r"\|") for line in lines]


def _anchors(app, name, source) -> None:
    """The report's HTML anchors as targets that MyST knows, so that a wrong link is a warning."""
    if name == "phase7_report":
        source[0] = re.sub(r'^<a id="([\w-]+)"></a>', r"(\1)=\n", source[0], flags=re.MULTILINE)


def setup(app) -> None:
    app.connect("source-read", _anchors)
    app.connect("autodoc-process-docstring", _escape_bars)
