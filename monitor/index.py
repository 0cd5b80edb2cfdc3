"""An exact map from 64-bit keys to row numbers, a batch at a time.

Open addressing with linear probing over row numbers; the keys stay with the rows, in the column of the table that owns
the index. 8-16 bytes a key where a dict of Python ints needs about 130, and one pass over a batch instead of a Python
call per key. Keys must be well mixed already (they are hashes).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]
I32 = npt.NDArray[np.int32]

_SMALLEST = 1024
#: A cell that names no row.
_EMPTY = -1


class HashIndex:
    """Keys to row numbers; at most half full, so that a probe is short. Each call is given the keys of all rows."""

    def __init__(self) -> None:
        self._count = 0
        self._allocate(_SMALLEST)

    def _allocate(self, size: int) -> None:
        self._mask = np.uint64(size - 1)
        self._rows: I32 = np.full(size, _EMPTY, np.int32)

    def find(self, keys: U64, key_of_row: U64) -> I32:
        """Row number of each key, -1 where there is none. Keys may repeat."""
        place = keys & self._mask
        found: I32 = self._rows[place]
        # Row -1 is the last one, which has some other key or the same: `found` is right in both cases.
        pending = np.flatnonzero((key_of_row[found] != keys) & (found != _EMPTY))
        while pending.size:
            place_p = (place[pending] + np.uint64(1)) & self._mask
            place[pending] = place_p
            there = self._rows[place_p]
            found[pending] = there
            pending = pending[(key_of_row[there] != keys[pending]) & (there != _EMPTY)]
        return found

    def insert(self, rows: I32, key_of_row: U64) -> None:
        """Add rows whose keys are distinct and not yet in the map."""
        needed = 2 * (self._count + len(rows))
        if needed > len(self._rows):
            old = self._rows[self._rows != _EMPTY]
            self._allocate(max(_SMALLEST, 1 << int(needed).bit_length()))
            self._place(old, key_of_row)
        self._place(rows, key_of_row)
        self._count += len(rows)

    def _place(self, rows: I32, key_of_row: U64) -> None:
        place = key_of_row[rows] & self._mask
        while rows.size:
            free = self._rows[place] == _EMPTY
            self._rows[place[free]] = rows[free]  # of several that want one cell the last stays
            lost = self._rows[place] != rows
            rows, place = rows[lost], (place[lost] + np.uint64(1)) & self._mask

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return self._rows.nbytes
