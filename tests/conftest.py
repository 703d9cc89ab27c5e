"""Shapes and types in the engine's signatures are checked at every call of this test run.

The hook works on modules imported after it, so it stands before everything else. What tests start in
other processes is not checked.
"""

from __future__ import annotations

from jaxtyping import install_import_hook

from tests.type_checker import check

install_import_hook("phase7.engine", f"{check.__module__}.check")
