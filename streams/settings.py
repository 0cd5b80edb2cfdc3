"""Every setting of conversion-monitor, read once from a YAML file into one frozen value.

The environment is used only where the file asks for it, as `${NAME}`. Durations that `monitor` counts with
are milliseconds (`…_ms`); all others say their unit in their name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, cast

from monitor.goals import Goal
from monitor.rules import Dimension, Rules
from monitor.windows import Window
from streams import config_entries
from streams.config_detection import CalendarDay, Detection, Mute, QuietSpan
from streams.config_entries import Problems
from streams.config_goals import Dimensions, Goals
from streams.config_kinds import Choice, Flag, ListOf, Needed, Text, Whole
from streams.config_records import Record
from streams.config_times import Duration, WindowLength
from streams.contradictions import find_contradictions
from streams.errors import ConfigError, Problem

__all__ = [
    "EMBEDDED",
    "CalendarDay",
    "ConfigFile",
    "Detection",
    "Http",
    "Kafka",
    "Limits",
    "Mute",
    "Privacy",
    "QuietSpan",
    "Security",
    "Settings",
    "load_settings",
    "parse_settings",
]

#: The value of `kafka.bootstrap_servers` that starts the embedded broker with the worker.
EMBEDDED = "embedded"

_DAY_MS = 86_400_000
_SERVER = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):\d{1,5}"
_TOPIC = Text(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,200}", "a topic name (A-Z a-z 0-9 . _ -)", example="clickstream")
_GROUP = Text(
    r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}", "a group name (A-Z a-z 0-9 . _ -)", example="shop-monitor"
)

#: How the connection to a broker is secured.
PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")

#: How a user is authenticated over SASL.
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True)
class Security:
    """How the worker proves who it is, and whom it trusts."""

    protocol: Annotated[Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"], Choice(PROTOCOLS)] = (
        "PLAINTEXT"
    )
    """Encryption (SSL) and authentication (SASL) of the connection to the brokers."""
    mechanism: Annotated[str | None, Choice(MECHANISMS)] = None
    """How the password is checked; needed with a SASL protocol."""
    username: Annotated[str | None, Text()] = None
    """The user; needed with a SASL protocol."""
    password: Annotated[str | None, Text()] = field(default=None, repr=False)
    """The password; needed with a SASL protocol. Take it from the environment: `${KAFKA_PASSWORD}`."""
    ca_file: Annotated[str | None, Text()] = None
    """PEM file of the authority that signed the brokers' certificates; null: those the system trusts."""
    cert_file: Annotated[str | None, Text()] = None
    """PEM file of the worker's own certificate, for brokers that ask for one."""
    key_file: Annotated[str | None, Text()] = None
    """PEM file of the key of `cert_file`."""


@dataclass(frozen=True)
class Kafka:
    """Where events come from, and where state and alerts are kept."""

    bootstrap_servers: Annotated[
        str,
        Text(
            rf"embedded|{_SERVER}(\s*,\s*{_SERVER})*",
            "host:port, several with commas, or embedded",
            example="127.0.0.1:9092",
        ),
    ] = "127.0.0.1:9092"
    """Brokers as host:port, several with commas; `embedded` starts a broker with the worker."""
    topic: Annotated[str, _TOPIC] = "clickstream"
    """The topic that events are read from."""
    group: Annotated[str, _GROUP] = "conversion-monitor"
    """Consumer group of all workers, and prefix of the internal topics: another group starts from nothing."""
    create_topics: Annotated[bool, Flag()] = True
    """Whether missing topics are created; false: a missing topic is an error."""
    partitions: Annotated[int, Whole(1, 1_024)] = 4
    """Partitions of the event topic where it is created: the most workers that can share it."""
    replication_factor: Annotated[int, Whole(1, 10)] = 1
    """Copies of each topic that is created; 3 in production."""
    keyed_by_visitor: Annotated[bool, Flag()] = True
    """Whether publishers key messages by visitor id; false: the worker re-keys them through a topic."""
    security: Annotated[Security, Record(Security)] = Security()
    """How the connection is secured."""

    @property
    def embedded(self) -> bool:
        """Whether the worker brings its own broker."""
        return self.bootstrap_servers == EMBEDDED


@dataclass(frozen=True)
class Http:
    """Where a worker answers: metrics, health, the API, the live page."""

    host: Annotated[str, Text(r"\S+", "a host name or address", example="127.0.0.1")] = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all."""
    port: Annotated[int, Whole(0, 65_535)] = 8_000
    """Port to listen on; 0 takes any free one."""
    public_url: Annotated[
        str | None, Text(r"https?://[^\s/]+(/\S*)?", "an http(s) URL", example="http://monitor-1:8000")
    ] = None
    """How other workers and browsers reach this one when they are redirected to it; null: http://host:port."""

    @property
    def url(self) -> str:
        """The address others are redirected to, without a slash at its end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (self.public_url or f"http://{host}:{self.port}").rstrip("/")


@dataclass(frozen=True)
class Privacy:
    """What is done to visitor ids before they are stored or logged."""

    salt: Annotated[str, Text()] = field(default="", repr=False)
    """Secret of the hashes of visitor ids; the same for all workers. Take it from the environment."""


@dataclass(frozen=True)
class Limits:
    """Bounds of one worker's memory, so that no traffic can exhaust it."""

    visitors: Annotated[int, Whole(1_000, 1_000_000_000)] = 5_000_000
    """Visitors kept by a worker that has all partitions; beyond it the longest unseen are forgotten."""
    event_ids: Annotated[int, Whole(1_000, 1_000_000_000)] = 5_000_000
    """Event ids remembered by a worker that has all partitions; beyond it the oldest are forgotten."""
    series: Annotated[int, Whole(10, 1_000_000)] = 2_000
    """Series (goal × segment value) that are watched for drops, the busiest first."""


@dataclass(frozen=True)
class ConfigFile:
    """Settings of conversion-monitor."""

    goals: Annotated[
        tuple[Goal, ...], Goals(), Needed("{purchase: {kind: macro, match: {event: purchase}}}")
    ] = ()
    """The desired actions by name."""
    kafka: Annotated[Kafka, Record(Kafka)] = Kafka()
    """Where events come from, and where state and alerts are kept."""
    http: Annotated[Http, Record(Http)] = Http()
    """Where a worker answers."""
    data_dir: Annotated[str, Text(r".+", "a directory", example="./data")] = "./data"
    """Directory for files of the worker, and of the embedded broker."""
    privacy: Annotated[Privacy, Record(Privacy)] = Privacy()
    """What is done to visitor ids."""
    clock: Annotated[Literal["wall", "event"], Choice(("wall", "event"))] = "wall"
    """What moves windows while no event comes: `wall`, the passing of time; `event`, nothing (replays)."""
    windows: Annotated[tuple[Window, ...], ListOf(WindowLength(), 1, 16)] = tuple(
        Window.parse(length) for length in ("1m", "5m", "1h", "24h")
    )
    """Lengths of the sliding windows."""
    allowed_lateness: Annotated[int, Duration(0, _DAY_MS)] = Rules.allowed_lateness_ms
    """How far behind the latest event time an event may be and still count."""
    idle_after: Annotated[int, Duration(100, _DAY_MS)] = Rules.idle_after_ms
    """After so long without events a partition follows the wall clock."""
    session_gap: Annotated[int, Duration(1_000, _DAY_MS)] = Rules.session_gap_ms
    """A pause of more than this ends a session."""
    dedupe_window: Annotated[int, Duration(1_000, _DAY_MS)] = Rules.dedupe_window_ms
    """How long an event id is remembered so that a repeat is not counted."""
    checkpoint_interval: Annotated[int, Duration(100, 300_000)] = 5_000
    """How often state is written and offsets are committed: what a crash must replay."""
    max_in_future: Annotated[int, Duration(0, _DAY_MS)] = Rules.max_in_future_ms
    """How far ahead of the wall clock an event may be before it is rejected."""
    dimensions: Annotated[tuple[Dimension, ...], Dimensions()] = ()
    """The ways to divide visitors into segments."""
    detection: Annotated[Detection, Record(Detection)] = field(default=Detection())
    """When a fall of a rate is told to people."""
    limits: Annotated[Limits, Record(Limits)] = Limits()
    """Bounds of one worker's memory."""


@dataclass(frozen=True)
class Settings:
    """What the program runs with."""

    kafka: Kafka
    """Brokers, topics, security."""
    http: Http
    """Where the worker answers."""
    data_dir: Path
    """Directory for files; relative to the working directory."""
    privacy: Privacy
    """Salt of the visitor hashes."""
    rules: Rules
    """Everything that decides what is counted."""
    checkpoint_interval_s: float
    """Seconds between two checkpoints."""
    detection: Detection
    """When a drop is told, and when not."""
    limits: Limits
    """Bounds of the worker's memory."""


def parse_settings(text: str, environ: Mapping[str, str], source: str = "(text)") -> Settings:
    """Settings from the text of a YAML file.

    Args:
        text: The YAML.
        environ: Where `${NAME}` is looked up.
        source: What to call the text in errors.

    Raises:
        ConfigError: Every problem there is, in the order of lines.
    """
    problems = Problems()
    root = config_entries.parse(text, environ, problems)
    if root is not None:
        read = cast("ConfigFile | None", Record(ConfigFile).read(root, problems))
        if read is not None:
            find_contradictions(read, root, problems)
    if root is None or read is None or problems.found:
        raise ConfigError(source, problems.in_order())
    return _settings(read)


def load_settings(path: Path | str, environ: Mapping[str, str]) -> Settings:
    """Settings from a YAML file; see `parse_settings`.

    Raises:
        ConfigError: The file cannot be read, or every problem that is in it.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        raise ConfigError(str(path), (Problem(None, "(file)", reason, "check the path"),)) from error
    except UnicodeDecodeError as error:
        problem = Problem(None, "(file)", "is not UTF-8", "save it as UTF-8")
        raise ConfigError(str(path), (problem,)) from error
    return parse_settings(text, environ, str(path))


def _settings(read: ConfigFile) -> Settings:
    rules = Rules(
        windows=tuple(sorted(read.windows, key=lambda window: window.length_ms)),
        goals=read.goals,
        dimensions=read.dimensions,
        clock=read.clock,
        allowed_lateness_ms=read.allowed_lateness,
        idle_after_ms=read.idle_after,
        session_gap_ms=read.session_gap,
        dedupe_window_ms=read.dedupe_window,
        max_in_future_ms=read.max_in_future,
    )
    return Settings(
        kafka=read.kafka,
        http=read.http,
        data_dir=Path(read.data_dir),
        privacy=read.privacy,
        rules=rules,
        checkpoint_interval_s=read.checkpoint_interval / 1_000,
        detection=read.detection,
        limits=read.limits,
    )
