"""Causal head patching of language models, measured on the text they generate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phase7.api.donors import donor
    from phase7.api.models import load_model
    from phase7.api.patched import patched
    from phase7.api.prompts import read_prompts
    from phase7.api.runs import patch, sweep
    from phase7.api.texts import compare_texts
    from phase7.effects.file import open_effects
    from phase7.experiment.declared import Readouts
    from phase7.experiment.profile import Sampling

__version__ = "0.1.0"
__all__ = [
    "Readouts", "Sampling", "__version__", "compare_texts", "donor", "load_model", "open_effects",
    "patch", "patched", "read_prompts", "sweep",
]  # fmt: skip

#: Where each public name is defined.
_HOMES = {
    "Readouts": "phase7.experiment.declared",
    "Sampling": "phase7.experiment.profile",
    "compare_texts": "phase7.api.texts",
    "donor": "phase7.api.donors",
    "load_model": "phase7.api.models",
    "open_effects": "phase7.effects.file",
    "patch": "phase7.api.runs",
    "patched": "phase7.api.patched",
    "read_prompts": "phase7.api.prompts",
    "sweep": "phase7.api.runs",
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use, and register the xarray accessors with it.

    Importing phase7 itself must stay quick for the command line.
    """
    if name not in _HOMES:
        raise AttributeError(f"module 'phase7' has no attribute {name!r}")
    from importlib import import_module

    import_module("phase7.accessor")
    return getattr(import_module(_HOMES[name]), name)
