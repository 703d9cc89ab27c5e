"""Rows that know nothing of each other, summarised on several processors at once.

NumPy lets other threads run while it works on an array, so threads are enough. Every row's numbers are
what they are alone, so nothing depends on how the rows are shared out.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

#: Fewer rows than this are not worth a thread.
_LEAST_ROWS = 16


def in_parts(n_rows: int, of_rows: Callable[[slice], Sequence[Any]]) -> list[Any]:
    """Call a function for consecutive parts of some rows, and put its results together.

    Parameters
    ----------
    n_rows : int
    of_rows : callable
        From a part of the rows to a sequence of arrays, each with one entry for each of these rows.

    Returns
    -------
    list of array
        Each over all rows.
    """
    n_parts = max(1, min(_processors(), n_rows // _LEAST_ROWS))
    if n_parts == 1:
        return list(of_rows(slice(0, n_rows)))
    ends = [n_rows * part // n_parts for part in range(n_parts + 1)]
    parts = [slice(start, end) for start, end in itertools.pairwise(ends)]
    # Products of matrices on all processors at once, in every part, would be in each other's way.
    with _libraries().limit(limits=1), ThreadPoolExecutor(n_parts) as pool:
        found = list(pool.map(of_rows, parts))
    return [np.concatenate(column) for column in zip(*found, strict=True)]


@cache
def _libraries() -> ThreadpoolController:
    """NumPy's and SciPy's products of matrices, looked for once: it takes a quarter of a second."""
    return ThreadpoolController()


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # where no process is bound to some of them
