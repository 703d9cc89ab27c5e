"""The package's shape: imports flow one way, the analysis needs no torch, modules stay short."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "phase7"

#: From the bottom up: a module imports from rooms before its own, or from its own. A room stands for all
#: its modules. The face of the package may look into every room; no room looks back at it.
ROOMS = (
    "vocabulary",
    "statistics",
    "store",
    "models",
    "experiment",
    "engine",
    "scoring",
    "effects",
    "findings",
    "plots",
    "report",
    "run",
    "api",
    "cli",
)
FACE = ("accessor", "__main__")
ORDER = {name: number for number, name in enumerate((*ROOMS, *FACE))}
TORCH_FREE = ("statistics", "experiment", "effects", "findings", "report", "plots", "accessor")
MOST_ROOMS = 17
MOST_LINES, MOST_FUNCTION_LINES = 400, 50


def module_name(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def part(module: str) -> str:
    """The part of the package that a module belongs to: `report` for phase7.report.tables."""
    return module.split(".")[1]


def targets(node: ast.AST) -> list[str]:
    """Full names of what one statement imports; nothing for other statements."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        whole = [f"{node.module}.{alias.name}" for alias in node.names]
        return [name if name in MODULES else str(node.module) for name in whole]
    return []


def imports(module: str) -> set[str]:
    """Everything a module imports, inside functions and for type checkers too."""
    return {name for node in ast.walk(TREES[module]) for name in targets(node)} - {module}


def own_imports(module: str) -> set[str]:
    return {name for name in imports(module) if name in MODULES}


def test_every_module_is_in_one_room():
    assert {part(module) for module in MODULES if module != "phase7"} == set(ORDER)


def test_the_package_has_few_rooms():
    kept = {p for p in PACKAGE.iterdir() if not p.name.startswith(("__pycache__", "_data", "py.typed"))}
    assert {p.stem for p in kept} >= set(ORDER)
    assert len(kept) <= MOST_ROOMS


def is_allowed(importer: str, imported: str) -> bool:
    one, other = part(importer), part(imported)
    return one == other or ORDER[other] < ORDER[one]


@pytest.mark.parametrize("module", [module for module in MODULES if module != "phase7"])
def test_a_module_imports_from_rooms_before_its_own_only(module):
    wrong = [t for t in own_imports(module) - {"phase7"} if not is_allowed(module, t)]
    assert wrong == []


#: The rooms inside the engine, in order; `models` are files, `model` is what was loaded from them.
ENGINE = ("model", "patch", "decode")


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("phase7.engine.")])
def test_the_engine_has_an_order_of_its_own(module):
    here = ENGINE.index(module.split(".")[2])
    inside = [t.split(".")[2] for t in own_imports(module) if t.startswith("phase7.engine.")]
    assert all(ENGINE.index(room) <= here for room in inside)


def test_the_law_above_sees_imports_and_can_fail():
    """Liveness: it judges many imports, those inside functions too, and refuses the other way."""
    pairs = [(m, t) for m in MODULES if m != "phase7" for t in own_imports(m) - {"phase7"}]
    across = [(m, t) for m, t in pairs if part(m) != part(t)]
    assert len(across) > 50
    assert ("phase7.run.executor", "phase7.engine.patch.capture") in across  # imported inside a function
    assert not any(is_allowed(t, m) for m, t in across)


def test_no_modules_import_each_other_in_a_circle():
    graph = {m: own_imports(m) - {"phase7"} for m in MODULES if m != "phase7"}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    assert order.index("phase7.vocabulary.errors") < order.index("phase7.cli")


def test_the_package_itself_loads_nothing_of_its_own_on_import():
    for node in TREES["phase7"].body:
        assert not any(name.startswith("phase7") for name in targets(node))


def outer_names(module: str) -> set[str]:
    return (
        {name.partition(".")[0] for name in imports(module)} - {"phase7"} - set(sys.stdlib_module_names)
    )


@pytest.mark.parametrize("module", [m for m in MODULES if m != "phase7" and part(m) in TORCH_FREE])
def test_the_analysis_names_torch_nowhere(module):
    assert not outer_names(module) & {"torch", "transformers", "transformer_lens", "safetensors"}


def test_importing_the_analysis_does_not_load_torch():
    wanted = [m for m in MODULES if m != "phase7" and part(m) in TORCH_FREE]
    assert {part(module) for module in wanted} == set(TORCH_FREE)
    code = (
        "import importlib, sys\n"
        f"for name in {wanted!r}:\n"
        "    importlib.import_module(name)\n"
        "    if 'torch' in sys.modules: sys.exit(f'{name} loads torch')\n"
        "importlib.import_module('phase7.engine.patch.donors')\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=REPOSITORY
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True\n"  # the engine does load it: the check can fail


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_too_long(module):
    n_lines = len(MODULES[module].read_text(encoding="utf-8").splitlines())
    assert n_lines <= MOST_LINES


@pytest.mark.parametrize("module", MODULES)
def test_no_function_is_too_long(module):
    functions = [
        n for n in ast.walk(TREES[module]) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    sizes = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    assert {name: n for name, n in sizes.items() if n > MOST_FUNCTION_LINES} == {}


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_does(module):
    assert ast.get_docstring(TREES[module])


def test_every_library_that_is_imported_is_declared():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]  # imported where it is asked for only
    extra = extras["dask"] + extras["prompts"]
    names = [re.match(r"[\w.-]+", requirement) for requirement in project["dependencies"] + extra]
    declared = {match[0].lower().replace("-", "_") for match in names if match}
    packages = {"markdown_it": "markdown_it_py"}  # where the import has another name
    used = {
        packages.get(name.lower(), name.lower()) for module in MODULES for name in outer_names(module)
    }
    assert used <= declared
    assert {"torch", "numpy", "xarray", "transformer_lens"} <= used


READERS = ("load", "loads", "Unpickler", "_Unpickler")
PICKLES = ("pickle", "joblib", "torch", "numpy_pickle", "cloudpickle", "marshal", "shelve")


def test_nothing_is_unpickled_but_old_entries_by_a_reader_that_calls_nothing():
    """Reading a pickle runs what it asks for: tests/store/test_old_entries.py holds the one exception."""
    found = {
        (module, ast.unparse(node))
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in READERS
        and isinstance(node.value, ast.Name)
        and node.value.id in PICKLES
    }
    assert found == {("phase7.store.old_entries", "pickle.Unpickler")}
    from_modules = {
        node.module
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and {alias.name for alias in node.names} & {*READERS, "open"}
    }
    assert from_modules == {"safetensors.numpy"}
    keywords = {
        node.arg for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.keyword)
    }
    assert "allow_pickle" not in keywords
    assert "exist_ok" in keywords  # liveness


def test_joblib_distributes_work_and_stores_nothing():
    users = {module for module in MODULES if "joblib" in outer_names(module)}
    assert {part(module) for module in users} == {"run"}
