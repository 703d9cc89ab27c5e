"""Causal head patching of language models, measured on the text they generate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phase7.effects.file import open_effects

__version__ = "0.1.0"
__all__ = ["__version__", "open_effects"]


def __getattr__(name: str) -> Any:
    """Load `open_effects` on first use, and register the xarray accessors with it.

    Importing phase7 itself must stay quick for the command line.
    """
    if name == "open_effects":
        from importlib import import_module

        from phase7.effects.file import open_effects

        import_module("phase7.accessor")
        return open_effects
    raise AttributeError(f"module 'phase7' has no attribute {name!r}")
