"""State of the detectors: one row a series, plain arrays, written as versioned bytes.

Fields whose first axis is not the series (`columns × series`) are marked by a leading number of columns; so that a block
of minutes runs over contiguous memory. Everything else about a detector is rebuilt from its config.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from monitor.detection.baseline import PACKED, TERMS
from monitor.detection.cusum import COLUMNS

Array = NDArray[Any]

#: Hours of blocks that can wait before the baseline learns them.
RING_HOURS = 12
#: Version of the layout below. A change of the layout, or of what a field means, needs a new one.
VERSION = 1
MAGIC = b"CMDT"


class StateVersionError(ValueError):
    """Stored detector state is of another version than this program reads.

    Attributes:
        found: Version in the bytes.
        expected: Version this program reads.
    """

    def __init__(self, found: int, expected: int) -> None:
        self.found = found
        self.expected = expected
        super().__init__(
            f"detector state has version {found}, this program reads version {expected}: "
            "run the version that wrote it, or delete the state and learn anew"
        )


#: Field → dtype and shape of one series; a negative first number means [columns, series].
LAYOUT: dict[str, tuple[str, tuple[int, ...]]] = {
    "seen": ("i4", ()),
    "ready": ("u1", ()),
    "alerting": ("u1", ()),
    "paused": ("u1", ()),
    "pending": ("u1", ()),
    "hold_until": ("i4", ()),
    "gap": ("i4", ()),
    "learned_hours": ("i4", ()),
    "traffic_hours": ("i4", ()),
    "surge_minutes": ("i4", ()),
    "conversions": ("f8", ()),
    "exposure": ("f8", ()),
    "fast": ("f8", ()),
    "slow": ("f8", ()),
    "silence": ("f8", ()),
    "block_x": ("f8", ()),
    "block_m": ("f8", ()),
    "block_n": ("f8", ()),
    "block_minutes": ("f8", ()),
    "data_minutes": ("f8", ()),
    "mean": ("f8", (TERMS,)),
    "covariance": ("f4", (PACKED,)),
    "hour_rest": ("f2", (24,)),
    "level_wander": ("f4", ()),
    "hour_noise": ("f4", ()),
    "last_innovation": ("f4", ()),
    "noise_sums": ("f4", (4,)),
    "slow_level": ("f8", ()),
    "per_minute": ("f8", ()),
    "traffic_level": ("f8", ()),
    "traffic_noise": ("f4", ()),
    "traffic_hour": ("f2", (48,)),
    "traffic_day": ("f2", (7,)),
    "hour_x": ("f4", (RING_HOURS,)),
    "hour_m": ("f4", (RING_HOURS,)),
    "minute_x": ("u2", (-60,)),
    "minute_m": ("f2", (-60,)),
    "sum_x": ("f8", ()),
    "sum_m": ("f8", ()),
    "sum_u": ("f8", ()),
    "sum_n": ("f8", ()),
    "sum_e": ("f8", ()),
    "total": ("f8", (-COLUMNS,)),
    "low": ("f8", (-COLUMNS,)),
    "x_at": ("f8", (-COLUMNS,)),
    "m_at": ("f8", (-COLUMNS,)),
    "onset": ("i4", (-COLUMNS,)),
    "remaining": ("f8", ()),
    "recovery_at": ("f8", ()),
    "alert_x": ("f8", ()),
    "alert_m": ("f8", ()),
    "recent_x": ("f8", ()),
    "recent_m": ("f8", ()),
}


@dataclass
class SeriesState:
    """Arrays of all series; see `LAYOUT`. Names are the field's words, units in the comments of `scan.py`."""

    seen: Array
    ready: Array
    alerting: Array
    paused: Array
    pending: Array
    hold_until: Array
    gap: Array
    learned_hours: Array
    traffic_hours: Array
    surge_minutes: Array
    conversions: Array
    exposure: Array
    fast: Array
    slow: Array
    silence: Array
    block_x: Array
    block_m: Array
    block_n: Array
    block_minutes: Array
    data_minutes: Array
    mean: Array
    covariance: Array
    hour_rest: Array
    level_wander: Array
    hour_noise: Array
    last_innovation: Array
    noise_sums: Array
    slow_level: Array
    per_minute: Array
    traffic_level: Array
    traffic_noise: Array
    traffic_hour: Array
    traffic_day: Array
    hour_x: Array
    hour_m: Array
    minute_x: Array
    minute_m: Array
    sum_x: Array
    sum_m: Array
    sum_u: Array
    sum_n: Array
    sum_e: Array
    total: Array
    low: Array
    x_at: Array
    m_at: Array
    onset: Array
    remaining: Array
    recovery_at: Array
    alert_x: Array
    alert_m: Array
    recent_x: Array
    recent_m: Array

    BYTES_PER_SERIES: ClassVar[int] = sum(
        np.dtype(d).itemsize * abs(int(np.prod(s, initial=1))) for d, s in LAYOUT.values()
    )

    @classmethod
    def empty(cls, n: int) -> SeriesState:
        """All zeros, for `n` series."""
        out = {}
        for name, (dtype, shape) in LAYOUT.items():
            full = (-shape[0], n) if shape and shape[0] < 0 else (n, *shape)
            out[name] = np.zeros(full, dtype)
        return cls(**out)

    def __len__(self) -> int:
        return len(self.seen)

    def take(self, index: NDArray[np.int64]) -> SeriesState:
        """A copy with the rows of `index`; −1 gives a row of zeros."""
        out = SeriesState.empty(len(index))
        old = index >= 0
        for f in fields(self):
            a, b = getattr(self, f.name), getattr(out, f.name)
            if _by_column(f.name):
                b[:, old] = a[:, index[old]]
            else:
                b[old] = a[index[old]]
        return out

    def to_bytes(self) -> bytes:
        """Version, number of series, arrays in the order of `LAYOUT`, little endian."""
        head = MAGIC + struct.pack("<HI", VERSION, len(self))
        body = [
            np.ascontiguousarray(getattr(self, name)).astype(f"<{d}", copy=False).tobytes()
            for name, (d, _) in LAYOUT.items()
        ]
        return head + b"".join(body)

    @classmethod
    def from_bytes(cls, data: bytes) -> SeriesState:
        """Read what `to_bytes` wrote.

        Raises:
            StateVersionError: Another version.
            ValueError: Not detector state, or cut off.
        """
        if data[:4] != MAGIC or len(data) < 10:
            msg = f"not detector state: begins with {data[:4]!r} instead of {MAGIC!r}"
            raise ValueError(msg)
        version, n = struct.unpack_from("<HI", data, 4)
        if version != VERSION:
            raise StateVersionError(version, VERSION)
        if len(data) != 10 + n * cls.BYTES_PER_SERIES:
            msg = f"detector state is cut off: {len(data)} bytes instead of {10 + n * cls.BYTES_PER_SERIES}"
            raise ValueError(msg)
        out, at = cls.empty(n), 10
        for name, (d, _) in LAYOUT.items():
            a = getattr(out, name)
            a[...] = np.frombuffer(data, f"<{d}", a.size, at).reshape(a.shape)
            at += a.nbytes
        return out


def _by_column(name: str) -> bool:
    shape = LAYOUT[name][1]
    return bool(shape) and shape[0] < 0
