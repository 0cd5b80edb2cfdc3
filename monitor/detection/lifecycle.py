"""An incident: one cause, one alert, from its first record to the last.

An incident belongs to one group. Series that fall while it is open join it. What it says is an alert record, as the
contract names the fields; each record carries `revision`, so (alert_id, revision) is unique and a replay idempotent.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from typing import Any

from monitor.detection.config import SeriesKey
from monitor.detection.sentence import summary

#: Ages in minutes at which an open incident is looked at again; then every `REVIEW_EVERY`.
REVIEWS = (2, 5, 10, 20, 30, 60, 120)
REVIEW_EVERY = 240
#: After a return of the drop an incident ends only after a quiet time of this many minutes, and longer than this many
#: times the longest quiet time that did not last.
FLAP_QUIET, FLAP_FACTOR = 20, 1.5


@dataclass
class Incident:
    """State of one incident; times in epoch minutes (`raised`, `resolved`: the minute after the deciding one).

    `muted`: whether its latest change was. `told`: whether those who read the topic know it as going on.
    """

    alert_id: str
    kind: str
    group: str
    lead: SeriesKey
    onset: int
    raised: int
    members: set[SeriesKey]
    state: str = "firing"
    resolved: int | None = None
    revision: int = 0
    flaps: int = 0
    quiet_since: int | None = None
    longest_quiet: int = 0
    next_review: int = 0
    observed: float = 0.0
    expected: float = 0.0
    visitors_ratio: float | None = None
    probability: float = 0.0
    at_least: float | None = None
    lost: float = 0.0
    segments: list[tuple[str, str, float]] = field(default_factory=list)
    release: str | None = None
    adopted: bool = False
    late: bool = False
    muted: bool = False
    acknowledged: bool = False
    told: bool = False
    left: float = 1.0
    said: tuple[Any, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether it is still going on."""
        return self.resolved is None

    @property
    def is_rate(self) -> bool:
        """Whether it is about a fallen rate (as against traffic or missing data)."""
        return self.kind in ("rate_drop", "tracking_outage")

    def schedule(self, now: int) -> None:
        """Set the next review after `now`."""
        age = now - self.raised
        ahead = next((r for r in REVIEWS if r > age), (age // REVIEW_EVERY + 1) * REVIEW_EVERY)
        self.next_review = self.raised + ahead

    def record(self, state: str, now: int, utc_offset_minutes: int) -> dict[str, Any]:
        """The next record, of the given state, decided by the minute before `now`."""
        self.state = state
        self.revision += 1
        series = self.lead.group or f"{self.lead.dimension}={self.lead.value}"
        if self.lead.group and not self.lead.is_whole:
            series = f"{self.lead.group}/{self.lead.value}"
        out: dict[str, Any] = {
            "alert_id": self.alert_id,
            "state": state,
            "kind": self.kind,
            "goal": self.lead.goal,
            "dimension": self.lead.dimension,
            "value": self.lead.value,
            "series": series,
            "raised_at": self.raised * 60,
            "onset_at": self.onset * 60,
            "resolved_at": None if self.resolved is None else self.resolved * 60,
            "observed_ratio": _digits(self.observed),
            "expected_ratio": _digits(self.expected),
            "probability": round(self.probability, 4),
            "lost_conversions": round(self.lost, 1),
            "segments": [{"dimension": d, "value": v, "share": s} for d, v, s in self.segments],
            "release": self.release,
            "revision": self.revision,
            "changed_at": now * 60,
            "at_least_drop": self.at_least,
            "visitors_ratio": None if self.visitors_ratio is None else _digits(self.visitors_ratio),
            "flapping": self.flaps > 0,
            "flaps": self.flaps,
            "adopted": self.adopted,
            "late": self.late,
            "acknowledged": self.acknowledged,
            "goals": sorted({k.goal for k in self.members} | {self.lead.goal}),
        }
        out["summary"] = summary(out, utc_offset_minutes)
        return out

    def to_dict(self) -> dict[str, Any]:
        """For the stored state."""
        out = asdict(self)
        out["lead"] = list(asdict(self.lead).values())
        out["members"] = sorted(list(asdict(k).values()) for k in self.members)
        return out

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Incident:
        """Read what `to_dict` gave."""
        d = dict(data)
        d["lead"] = SeriesKey(*d["lead"])
        d["members"] = {SeriesKey(*k) for k in d["members"]}
        d["segments"] = [(a, b, c) for a, b, c in d["segments"]]
        d["said"] = _tuples(d["said"])
        d.setdefault("told", not d["muted"])  # state of before there was this field
        return cls(**d)


@dataclass(frozen=True)
class AlertChange:
    """One change of an alert.

    Attributes:
        record: What the topic gets.
        key: The series it is about.
        muted: Whether a mute keeps it from being published.
    """

    record: dict[str, Any]
    key: SeriesKey
    muted: bool = False


def alert_id(key: SeriesKey, kind: str, onset: int) -> str:
    """Deterministic name of an alert: from its series, its family of kinds and its onset."""
    family = kind if kind not in ("rate_drop", "tracking_outage") else "rate"
    text = "\x1f".join((key.group, key.goal, key.dimension, key.value, family, str(onset)))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _digits(x: float) -> float:
    return float(f"{x:.6g}")


def _tuples(x: Any) -> Any:
    return tuple(_tuples(i) for i in x) if isinstance(x, list | tuple) else x
