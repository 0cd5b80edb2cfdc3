"""An exact map from 64-bit keys to row numbers, a batch at a time.

Open addressing with linear probing in two numpy arrays: 24-48 bytes a key where a dict of Python ints needs about 130,
and one pass over a batch instead of a Python call per key. Keys must be well mixed already (they are hashes).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]
I32 = npt.NDArray[np.int32]

#: Marks an empty cell: no key has this value (`monitor.batch.Hasher`).
EMPTY = np.uint64(0)
_SMALLEST = 1024


class HashIndex:
    """Keys to row numbers; at most half full, so that a probe is short."""

    def __init__(self) -> None:
        self._count = 0
        self._allocate(_SMALLEST)

    def __len__(self) -> int:
        return self._count

    def _allocate(self, size: int) -> None:
        self._mask = np.uint64(size - 1)
        self._keys: U64 = np.zeros(size, np.uint64)
        self._rows: I32 = np.zeros(size, np.int32)

    def find(self, keys: U64) -> I32:
        """Row number of each key, -1 where there is none. Keys may repeat."""
        found = np.full(len(keys), -1, np.int32)
        place = keys & self._mask
        there = self._keys[place]
        hit = there == keys
        found[hit] = self._rows[place[hit]]
        pending = np.flatnonzero(~hit & (there != EMPTY))
        while pending.size:
            place_p = (place[pending] + np.uint64(1)) & self._mask
            place[pending] = place_p
            there = self._keys[place_p]
            hit = there == keys[pending]
            found[pending[hit]] = self._rows[place_p[hit]]
            pending = pending[~hit & (there != EMPTY)]
        return found

    def insert(self, keys: U64, rows: I32) -> None:
        """Add keys that are distinct and not yet in the map."""
        needed = 2 * (self._count + len(keys))
        if needed > len(self._keys):
            old_keys, old_rows = self.items()
            self._allocate(max(_SMALLEST, 1 << int(needed).bit_length()))
            self._place(old_keys, old_rows)
        self._place(keys, rows)
        self._count += len(keys)

    def _place(self, keys: U64, rows: I32) -> None:
        place = keys & self._mask
        pending = np.arange(len(keys))
        while pending.size:
            free = self._keys[place[pending]] == EMPTY
            trying = pending[free]
            self._keys[place[trying]] = keys[trying]  # of several that want one cell the last stays
            placed = trying[self._keys[place[trying]] == keys[trying]]
            self._rows[place[placed]] = rows[placed]
            lost = np.ones(len(keys), bool)
            lost[placed] = False
            pending = pending[lost[pending]]
            place[pending] = (place[pending] + np.uint64(1)) & self._mask

    def items(self) -> tuple[U64, I32]:
        """All keys and their row numbers, in no order."""
        used = self._keys != EMPTY
        return self._keys[used], self._rows[used]

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return self._keys.nbytes + self._rows.nbytes
