"""Faster ways of computing the same, and which of them a model uses.

They rest on private operations of torch and on how transformers and transformer-lens are built
inside, so another version of these can take them away or change what they give.
:mod:`phase7.engine.model.compared` then finds out which still hold; a model works without any of
them, more slowly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from phase7.engine.model.packed import pack_products


@dataclass(frozen=True, kw_only=True)
class Shortcuts:
    """What a model uses.

    Attributes
    ----------
    packed_products : bool
        Products read packed weights (:mod:`phase7.engine.model.packed`).
    lean_modules : bool
        Activations and normalisations take fewer passes (:mod:`phase7.engine.model.lean`).
    shared_cache : bool
        Rows share the prompt's keys and values (:mod:`phase7.engine.model.kv_cache`).
    shared_layers : bool
        Rows share the layers that no patch can change (:mod:`phase7.engine.decode.rows`); only with a
        shared cache.
    """

    packed_products: bool = False
    lean_modules: bool = False
    shared_cache: bool = False
    shared_layers: bool = False

    def apply(self, bridge: Any) -> None:
        """Change a bridge's modules. (The cache is no module: it is made anew for every batch.)"""
        if self.lean_modules:
            from phase7.engine.model.lean import make_lean  # other versions may not have what it imports

            make_lean(bridge)
        if self.packed_products:
            pack_products(bridge)
