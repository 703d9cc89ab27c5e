"""How a batch's rows are laid out: baseline, patches, spare baselines, self-donor checks.

What enters: counts. What leaves: counts. Nothing here imports torch, so that plans can count rows.

Matrix multiplications treat rows in blocks (of 4 or 8 here, by processor and library), and the rows
left over take another path whose last bits differ. Batches of whole blocks avoid it, and the checks,
which must equal the baseline, stand at the end, where left-over rows would be.
"""

from __future__ import annotations

import math

#: A multiple of every block size seen, also when two threads share the rows.
ROW_BLOCK = 16


def n_slots(n_patches: int, n_samples: int) -> int:
    """Smallest number of patches, at least `n_patches`, whose samples fill whole blocks of rows."""
    unit = ROW_BLOCK // math.gcd(ROW_BLOCK, n_samples)
    return -(-n_patches // unit) * unit


def n_slots_within(max_rows: int, n_samples: int) -> int:
    """Largest such number whose rows stay within `max_rows`; 0 if none does."""
    unit = ROW_BLOCK // math.gcd(ROW_BLOCK, n_samples)
    return max_rows // n_samples // unit * unit
