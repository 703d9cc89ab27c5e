"""``dataset.phase7`` and ``tree.phase7``: the analysis as methods of xarray objects.

Importing this package registers both accessors; using any public name of :mod:`phase7`, such as
:func:`phase7.open_effects`, imports it. ``import phase7`` alone does not, so that the command line stays
quick: with files opened by xarray itself, write ``import phase7.accessor`` once.

The functions behind the methods are in :mod:`phase7.findings.tables`,
:mod:`phase7.findings.comparison`, :mod:`phase7.findings.pairs` and :mod:`phase7.findings.remeasure`. In
the examples, `tree` is what :func:`phase7.open_effects` returned.
"""

from __future__ import annotations

from phase7.accessor.datasets import DatasetAccessor
from phase7.accessor.trees import DataTreeAccessor

__all__ = ["DataTreeAccessor", "DatasetAccessor"]
