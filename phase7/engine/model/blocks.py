"""Blocks of rows that a matrix product treats alike, whatever the other rows are."""

from __future__ import annotations

#: Rows of plain products: a multiple of every block size seen, also when two threads share the rows.
ROW_BLOCK = 16


def whole_blocks(n_rows: int, row_block: int = ROW_BLOCK) -> int:
    """`n_rows` rounded up to whole blocks."""
    return -(-n_rows // row_block) * row_block
