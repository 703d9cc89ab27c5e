"""Causal head patching of language models, measured on the text they generate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phase7.effects import open_effects

__version__ = "0.1.0"
__all__ = ["__version__", "open_effects"]


def __getattr__(name: str) -> Any:
    """Load `open_effects` on first use: importing phase7 must stay quick for the command line."""
    if name == "open_effects":
        from phase7.effects import open_effects

        return open_effects
    raise AttributeError(f"module 'phase7' has no attribute {name!r}")
