"""Builds the three dashboards as code: `python deploy/grafana/build.py [--check]`.

Needs `pip install -r deploy/grafana/requirements.txt`. The JSON in `dashboards/` is committed, so that
whoever runs Grafana can import it; `--check` says whether it is up to date and changes nothing.

Every business number is exposed by exactly one worker at a time and moves with a rebalance, so queries
aggregate over `instance` (`max by (…)`). Boards need no recording rule: they work in a Prometheus that only
scrapes. The file is long because it is mostly the titles, descriptions and queries of all panels.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.builders import bargauge, common, dashboard
from grafana_foundation_sdk.builders import statetimeline as timeline
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as c
from grafana_foundation_sdk.models import dashboard as d
from panels import (
    BLUE,
    COUNT,
    GREEN,
    MONITOR,
    ORANGE,
    PER_SECOND,
    RATIO,
    RED,
    SECONDS,
    STATES,
    WHOLE,
    YELLOW,
    baseline,
    board,
    business,
    by_threshold,
    choice,
    curve,
    detection,
    fixed,
    grid,
    number,
    shown_as,
    size,
    steps,
    with_queries,
)

OUT = Path(__file__).parent / "dashboards"

#: How a fall is coloured: orange from −15 %, red from −50 %.
FELL = steps((None, RED), (-0.5, ORANGE), (-0.15, "transparent"), (0.15, GREEN))


def per_minute(metric: str, by: str, *, goal: bool = True) -> str:
    """A number of a minute as the detector sees it: of the 1m window, mean of five minutes."""
    goals = ',goal=~"$goal"' if goal else ""
    return f'max by ({by}) (avg_over_time({metric}{{{MONITOR},window="1m",{WHOLE}{goals}}}[5m]))'


def lately(by: str) -> str:
    """The rate beside which an expectation may stand: conversions per visitor of single minutes."""
    visitors = per_minute("conversion_visitors", "job", goal=False)
    return f"{per_minute('conversion_conversions', f'job, {by}')} / on (job) group_left () ({visitors} > 0)"


def interval(metric: str) -> str:
    """An end of the interval around that rate: that of the converters, times conversions per converter."""
    conversions, converters = (
        per_minute(f"conversion_{name}", "job") for name in ("conversions", "converters")
    )
    return f"{business(metric, 'job', window='1m')} * {conversions} / ({converters} > 0)"


def overview() -> dashboard.Dashboard:
    """What converts, whether that is normal, and what broke."""
    revenue = business("conversion_revenue", "goal, currency")
    expected = detection("conversion_rate_expected_ratio")
    against = f"max by (goal) ({lately('goal')}) / ({expected} > 0) - 1"
    rate = curve(
        "Rate of $goal against its expectation",
        "The rate of each minute with its 95 % interval (band), the mean of five minutes (line), and what the "
        "baseline expects now (dashed; from when it is learned). A line that stays below the dashed one is what the "
        "detector looks for. Always per minute, as the detector counts: longer windows have higher rates.",
        RATIO,
        [
            (lately("goal"), "rate"),
            (interval("conversion_rate_lower_ratio"), "lower"),
            (interval("conversion_rate_upper_ratio"), "upper"),
            (detection("conversion_rate_expected_ratio", by="job"), "expected"),
        ],
        minimum=0,
        fill=0,
    )
    band = [d.DynamicConfigValue(id_val="custom.lineWidth", value=0)]
    below = d.DynamicConfigValue(id_val="custom.fillBelowTo", value="lower")
    faint = d.DynamicConfigValue(id_val="custom.fillOpacity", value=15)
    dashed = d.DynamicConfigValue(id_val="custom.lineStyle", value={"fill": "dash", "dash": [8, 6]})
    rate = rate.override_by_name("lower", [*band, fixed(BLUE)])
    rate = rate.override_by_name("upper", [*band, below, faint, fixed(BLUE)])
    rate = rate.override_by_name(
        "rate", [fixed(BLUE), d.DynamicConfigValue(id_val="custom.lineWidth", value=2)]
    )
    rate = rate.override_by_name("expected", [dashed, fixed(ORANGE)])
    state = " + ".join(
        f"{code} * " + detection("conversion_detector_state", f',state="{name}"')
        for code, name in enumerate(STATES)
        if code
    )
    states = size(
        timeline.Panel(),
        "Detectors",
        "What the detector of each goal does: learning (not enough history), insufficient (too little "
        "traffic to tell), watching, frozen (no data, or a surge), alerting.",
        COUNT,
        width=12,
        height=9,
    )
    texts = {str(code): (name, color) for code, (name, color) in enumerate(STATES.items())}
    states = states.mappings(shown_as(texts)).color_scheme(by_threshold()).thresholds(steps((None, "text")))
    return board(
        "Conversion overview",
        "conversion-overview",
        "What converts right now, whether that is normal, and what broke.",
        [
            choice("window", "Window", f"conversion_visitors{{{MONITOR}}}", default="5m"),
            choice("goal", "Goal", f"conversion_converters{{{MONITOR}}}", every=".+", many=True),
        ],
        panels=[
            number(
                "Active alerts",
                "Alerts of the detector that are open now, over all goals and segments. Every kind counts.",
                COUNT,
                [(f"sum(max by (goal, dimension, value, kind) (conversion_alert_active{{{MONITOR}}}))", "")],
                thresholds=steps((None, GREEN), (1, RED)),
                mappings=shown_as({"0": ("none", GREEN)}),
            ),
            number(
                "Conversion rate now",
                "Converters ÷ visitors of the same window, by goal. A visitor with three orders is one "
                "converter.",
                RATIO,
                [(business("conversion_rate_ratio"), "{{goal}}")],
                width=8,
                decimals=2,
            ),
            number(
                "Visitors now",
                "Unique visitors active in the window.",
                COUNT,
                [(business("conversion_visitors", "job", goal=False), "visitors")],
            ),
            number(
                "Conversions now",
                "Completed goals in the window; one visitor may have several.",
                COUNT,
                [(business("conversion_conversions"), "{{goal}}")],
            ),
            number(
                "Revenue now",
                "Sum of the amounts in the window, by currency; 0 where no goal has revenue.",
                COUNT,
                [
                    (
                        f"sum by (currency) ({revenue}) or on() vector(0)",
                        "{{currency}}",
                    )
                ],
            ),
            "Rate against expectation",
            rate.repeat("goal").repeat_direction("h").max_per_row(2),
            "By goal",
            grid(
                "Goals",
                "Every goal in the chosen window. Against expectation: the last five minutes ÷ what the "
                "baseline expects now, − 1. Lost: conversions missing since the onset of its open "
                "alert.",
                [
                    ("Rate", business("conversion_rate_ratio"), RATIO, None),
                    ("Lower", business("conversion_rate_lower_ratio"), RATIO, None),
                    ("Upper", business("conversion_rate_upper_ratio"), RATIO, None),
                    ("Against expectation", against, RATIO, FELL),
                    ("Converters", business("conversion_converters"), COUNT, None),
                    ("Conversions", business("conversion_conversions"), COUNT, None),
                    (
                        "Lost",
                        detection("conversion_lost_conversions"),
                        COUNT,
                        steps((None, "transparent"), (1, RED)),
                    ),
                ],
                "goal",
                width=12,
            ),
            with_queries(states, [(state, "{{goal}}")]),
            "Volume",
            curve(
                "Visitors and sessions",
                "Unique visitors and sessions active in the window.",
                COUNT,
                [
                    (business("conversion_visitors", "job", goal=False), "visitors"),
                    (business("conversion_sessions", "job", goal=False), "sessions"),
                ],
                minimum=0,
            ),
            curve(
                "Conversions",
                "Completed goals in the window, by goal.",
                COUNT,
                [(business("conversion_conversions"), "{{goal}}")],
                minimum=0,
            ),
            curve(
                "Revenue",
                "Sum of the amounts in the window, by goal and currency; a 0 line where no goal has revenue.",
                COUNT,
                [
                    (
                        f"{revenue} or on() vector(0)",
                        "{{goal}} {{currency}}",
                    )
                ],
                minimum=0,
            ),
            curve(
                "Lost conversions",
                "Expected minus seen since the onset of the open alert of a goal; 0 while there is none.",
                COUNT,
                [(detection("conversion_lost_conversions"), "{{goal}}")],
                minimum=0,
            ),
        ],
    )


def segments() -> dashboard.Dashboard:
    """Who fell: the values of one dimension beside each other."""

    def of(metric: str, *, goal: bool = True) -> str:
        goals = ',goal="$goal"' if goal else ""
        return f'max by (value) ({metric}{{{MONITOR},window="$window",dimension="$dimension"{goals}}})'

    rates = f'conversion_rate_ratio{{{MONITOR},window="$window",dimension="$dimension",goal="$goal"}}'
    usual = f"max by (value) (avg_over_time({rates}[$baseline]))"
    # A value that never converts has no relative change: it is left out.
    change = f"{of('conversion_rate_ratio')} / ({usual} > 0) - 1"
    # Not every segment is watched by a detector: then nothing is known to be lost.
    lost = (
        f'max by (value) (conversion_lost_conversions{{{MONITOR},dimension="$dimension",goal="$goal"}})'
        f" or 0 * {of('conversion_visitors', goal=False)}"
    )
    bars = size(
        bargauge.Panel(),
        "Change of the rate by $dimension",
        "The rate of the window against its own mean of the chosen time; the ten that fell most.",
        RATIO,
        width=12,
        height=9,
    )
    bars = bars.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    bars = bars.orientation(c.VizOrientation.HORIZONTAL).display_mode(c.BarGaugeDisplayMode.BASIC)
    bars = bars.min(-1).max(1).thresholds(FELL).color_scheme(by_threshold())
    return board(
        "Segments",
        "conversion-segments",
        "The values of one dimension beside each other: who fell, who lost most, how traffic is mixed.",
        [
            choice("window", "Window", f"conversion_visitors{{{MONITOR}}}", default="5m"),
            baseline(),
            choice("goal", "Goal", f"conversion_converters{{{MONITOR}}}"),
            choice("dimension", "Dimension", f'conversion_visitors{{{MONITOR},dimension!="all"}}'),
        ],
        panels=[
            grid(
                "$goal by $dimension",
                "One row a value. Change: the rate of the window against its own mean of the chosen time; "
                "orange below −15 %, red below −50 %. Small segments swing by chance: look at "
                "their visitors too.",
                [
                    ("Change", change, RATIO, FELL),
                    ("Rate", of("conversion_rate_ratio"), RATIO, None),
                    ("Usual", usual, RATIO, None),
                    ("Visitors", of("conversion_visitors", goal=False), COUNT, None),
                    ("Conversions", of("conversion_conversions"), COUNT, None),
                    ("Lost", lost, COUNT, steps((None, "transparent"), (1, RED))),
                ],
                "value",
                height=10,
                sort="Change",
            ),
            "Who fell",
            with_queries(bars, [(f"bottomk(10, {change})", "{{value}}")]),
            curve(
                "Lost conversions by $dimension",
                "Conversions missing since the onset of the open alert of a segment; 0 where there is none.",
                COUNT,
                [(lost, "{{value}}")],
                minimum=0,
                height=9,
            ),
            "Over time",
            curve(
                "Rate by $dimension",
                "Converters ÷ visitors of each value.",
                RATIO,
                [(of("conversion_rate_ratio"), "{{value}}")],
                minimum=0,
            ),
            curve(
                "Mix of visitors by $dimension",
                "Share of each value in the traffic. A changed mix moves the total rate although no "
                "segment fell.",
                COUNT,
                [(of("conversion_visitors", goal=False), "{{value}}")],
                stack=c.StackingMode.PERCENT,
                fill=60,
            ),
        ],
    )


def pipeline() -> dashboard.Dashboard:
    """How the monitor itself does."""

    def quantile(q: float, metric: str) -> str:
        rate = f"sum by (le) (rate({metric}_bucket{{{MONITOR}}}[$__rate_interval]))"
        return f"histogram_quantile({q}, {rate})"

    def per_second(metric: str, by: str = "instance") -> str:
        return f"sum by ({by}) (rate({metric}{{{MONITOR}}}[$__rate_interval]))"

    def share(metric: str) -> str:
        return f"{per_second(metric, 'job')} / {per_second('conversion_events_total', 'job')}"

    lag = f"max by (partition) (conversion_consumer_lag{{{MONITOR}}})"
    committed = f"conversion_committed_offset{{{MONITOR}}}[$__rate_interval]"
    age = f"time() - max by (instance) (conversion_last_checkpoint_timestamp_seconds{{{MONITOR}}})"
    incomplete = shown_as({"0": ("incomplete", RED), "1": ("complete", GREEN)})
    tiles = [
        (
            "Workers",
            "Workers that Prometheus can scrape.",
            COUNT,
            f"sum(up{{{MONITOR}}})",
            steps((None, RED), (1, GREEN)),
            {},
        ),
        (
            "Totals",
            "Whether every partition has reported its counts. Incomplete for some seconds in a rebalance.",
            COUNT,
            f"min(conversion_snapshot_complete{{{MONITOR}}})",
            steps((None, RED), (1, GREEN)),
            {"mappings": incomplete, "graph": c.BigValueGraphMode.NONE},
        ),
        (
            "Behind",
            "Records not read yet, as seconds of work at the present pace; alarm from 60 s.",
            SECONDS,
            f"sum({lag}) / sum({per_second('conversion_events_total')})",
            steps((None, GREEN), (30, YELLOW), (60, RED)),
            {},
        ),
        (
            "Delay (99 %)",
            "From event time to counted, 99 of 100 events are faster. Includes the publisher's own delay.",
            SECONDS,
            quantile(0.99, "conversion_event_delay_seconds"),
            steps((None, GREEN), (5, YELLOW), (30, RED)),
            {},
        ),
        (
            "Rejected",
            "Share of events that cannot be counted; alarm above 1 %.",
            RATIO,
            share("conversion_events_rejected_total"),
            steps((None, GREEN), (0.001, YELLOW), (0.01, RED)),
            {"decimals": 2},
        ),
        (
            "Oldest checkpoint",
            "Age of the last checkpoint of the worker that is furthest back; due every 5 s, alarm from 60 s.",
            SECONDS,
            f"max({age})",
            steps((None, GREEN), (15, YELLOW), (60, RED)),
            {},
        ),
    ]
    return board(
        "Pipeline",
        "conversion-pipeline",
        "How the monitor itself does: is it fresh, complete, and does it lose nothing?",
        [],
        span="now-30m",
        panels=[
            *(
                number(title, text, unit, [(expr, "")], thresholds=thresholds, **more)
                for title, text, unit, expr, thresholds, more in tiles
            ),
            "Fresh",
            curve(
                "Events by worker",
                "Events taken from the topic, good or bad.",
                PER_SECOND,
                [(per_second("conversion_events_total"), "{{instance}}")],
                minimum=0,
            ),
            curve(
                "Lag by partition",
                "Records of a partition that are not read yet. One that grows alone is a hot or stuck "
                "partition.",
                COUNT,
                [(lag, "{{partition}}")],
                minimum=0,
            ),
            curve(
                "Delay from event time to counted",
                "Half, 95 and 99 of 100 events are faster than this.",
                SECONDS,
                [
                    (quantile(q, "conversion_event_delay_seconds"), f"{q * 100:g} %")
                    for q in (0.5, 0.95, 0.99)
                ],
                minimum=0,
            ),
            curve(
                "Age of the watermark by partition",
                "How far event time of a partition is behind the clock. A line that climbs alone: its "
                "publisher is silent.",
                SECONDS,
                [
                    (
                        f"time() - max by (partition) (conversion_watermark_timestamp_seconds{{{MONITOR}}})",
                        "{{partition}}",
                    )
                ],
            ),
            "Nothing lost, nothing counted twice",
            curve(
                "Rejected by reason",
                "Events that went to the dead-letter topic.",
                PER_SECOND,
                [(per_second("conversion_events_rejected_total", "reason"), "{{reason}}")],
                minimum=0,
            ),
            curve(
                "Late, repeated, misrouted, lost",
                "Late: in no window. Repeated: dropped, harmless. Misrouted: visitors counted twice. "
                "Lost: deleted by retention before they were read.",
                PER_SECOND,
                [
                    (per_second(f"conversion_events_{metric}_total", "job"), legend)
                    for metric, legend in (
                        ("late", "late"),
                        ("duplicate", "repeated"),
                        ("misrouted", "misrouted"),
                        ("lost", "lost"),
                    )
                ],
                minimum=0,
            ),
            curve(
                "Checkpoints",
                "How long a checkpoint takes (half and 99 of 100), and how old the last one of each worker "
                "is. An age that climbs beyond the interval of 5 s means that nothing is secured.",
                SECONDS,
                [
                    (quantile(0.5, "conversion_checkpoint_seconds"), "50 % take"),
                    (quantile(0.99, "conversion_checkpoint_seconds"), "99 % take"),
                    (age, "age {{instance}}"),
                ],
                minimum=0,
                thresholds=steps((None, "transparent"), (60, RED)),
            ),
            curve(
                "Committed by partition",
                "Offsets committed a second. A partition at 0 while it has lag does not move on.",
                PER_SECOND,
                # A gauge that only grows; negative after the topic was made anew, hence the clamp.
                [
                    (
                        f"clamp_min(max by (partition) (deriv({committed})), 0)",
                        "{{partition}}",
                    )
                ],
                minimum=0,
            ),
            "Workers",
            curve(
                "Partitions by worker",
                "How the partitions are shared out, and which worker holds the totals (1 more line at 1).",
                COUNT,
                [
                    (
                        f"count by (instance) (conversion_watermark_timestamp_seconds{{{MONITOR}}})",
                        "{{instance}}",
                    ),
                    (f"max by (instance) (conversion_holds_totals{{{MONITOR}}})", "{{instance}} totals"),
                ],
                width=8,
                minimum=0,
            ),
            curve(
                "Memory by worker",
                "Resident memory of the process.",
                "bytes",
                [(f"max by (instance) (process_resident_memory_bytes{{{MONITOR}}})", "{{instance}}")],
                width=8,
                minimum=0,
            ),
            curve(
                "CPU by worker",
                "Cores in use; a worker is one process and cannot use much more than one.",
                COUNT,
                [
                    (
                        f"sum by (instance) (rate(process_cpu_seconds_total{{{MONITOR}}}[$__rate_interval]))",
                        "{{instance}}",
                    )
                ],
                width=8,
                minimum=0,
                thresholds=steps((None, "transparent"), (0.8, RED)),
            ),
            curve(
                "Series",
                "Series that a scrape of each worker brings, and those of small segments left out to "
                "keep the limit.",
                COUNT,
                [
                    (f"max by (instance) (scrape_samples_scraped{{{MONITOR}}})", "{{instance}}"),
                    (f"max by (job) (conversion_series_dropped{{{MONITOR}}})", "left out"),
                ],
                minimum=0,
            ),
            grid(
                "Versions",
                "Which build runs on how many workers; more than one only during an upgrade.",
                [("Workers", f"count by (version) (conversion_build_info{{{MONITOR}}})", COUNT, None)],
                "version",
                width=12,
                height=8,
            ),
        ],
    )


def as_json(made: dashboard.Dashboard) -> str:
    """The file's text: stable order, panel ids by place, alert annotations with their words."""
    found = json.loads(json.dumps(made.build(), cls=JSONEncoder))
    for place, panel in enumerate(found["panels"], start=1):
        panel["id"] = place
    for shown in found["annotations"]["list"]:
        # The SDK does not know these fields of the Prometheus data source.
        shown |= {"titleFormat": "{{kind}}", "textFormat": "{{goal}} {{dimension}}={{value}}", "step": "10s"}
    return json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Writes the files, or with `--check` says which are not up to date."""
    stale = []
    for made in (overview(), segments(), pipeline()):
        text = as_json(made)
        path = OUT / f"{json.loads(text)['uid']}.json"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
            if "--check" not in arguments:
                path.write_text(text, encoding="utf-8")
    if "--check" in arguments and stale:
        print(f"not up to date: {', '.join(stale)}; run python deploy/grafana/build.py")
        return 1
    print(f"{len(stale)} of 3 dashboards written" if "--check" not in arguments else "up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
