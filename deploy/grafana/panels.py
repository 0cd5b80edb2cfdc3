"""The parts that the dashboards are made of: kinds of panel, variables, a board, and what queries select."""

from __future__ import annotations

from string import ascii_uppercase

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as c
from grafana_foundation_sdk.models import dashboard as d
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

TAG = "conversion-monitor"
DATASOURCE = d.DataSourceRef(type_val="prometheus", uid="${datasource}")

#: Which monitor, and its whole.
MONITOR = 'namespace=~"$namespace",job="$job"'
WHOLE = 'dimension="all",value="all"'
RATIO, COUNT, SECONDS, PER_SECOND = "percentunit", "short", "s", "ops"
GREEN, YELLOW, ORANGE, RED, BLUE = "green", "yellow", "orange", "red", "blue"

#: The states of a detector in the order of their urgency, with the colour in which they are shown.
STATES = {"learning": BLUE, "insufficient": "text", "watching": GREEN, "frozen": YELLOW, "alerting": RED}


def query(expr: str, legend: str = "", *, ref: str = "A", instant: bool = False) -> prometheus.Dataquery:
    """A query; `instant` ones feed tables and bars."""
    made = prometheus.Dataquery().expr(expr).ref_id(ref).legend_format(legend).datasource(DATASOURCE)
    return made.instant().format(PromQueryFormat.TABLE) if instant else made.range()


def steps(*pairs: tuple[float | None, str]) -> dashboard.ThresholdsConfig:
    """Thresholds: (from this value, colour), the first with None."""
    found = [d.Threshold(value=value, color=color) for value, color in pairs]
    return dashboard.ThresholdsConfig().mode(d.ThresholdsMode.ABSOLUTE).steps(found)


def size(panel, title: str, description: str, unit: str, *, width: int, height: int):
    """What every panel has."""
    panel = panel.title(title).description(description).datasource(DATASOURCE)
    return panel.unit(unit).span(width).height(height)


def number(title: str, description: str, unit: str, queries, *, width=4, height=5, thresholds=None, **more):
    """Big numbers, one a series, with a line of their recent past."""
    panel = size(stat.Panel(), title, description, unit, width=width, height=height)
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    panel = panel.graph_mode(more.get("graph", c.BigValueGraphMode.AREA))
    panel = panel.thresholds(thresholds or steps((None, BLUE))).color_scheme(by_threshold())
    if "mappings" in more:
        panel = panel.mappings(more["mappings"])
    if "decimals" in more:
        panel = panel.decimals(more["decimals"])
    panel = panel.text_mode(more.get("text", c.BigValueTextMode.AUTO))
    return with_queries(panel, queries)


def curve(title: str, description: str, unit: str, queries, *, width=12, height=8, **more):
    """Lines over time."""
    panel = size(timeseries.Panel(), title, description, unit, width=width, height=height)
    legend = common.VizLegendOptions().show_legend(True).display_mode(c.LegendDisplayMode.LIST)
    panel = panel.legend(legend.placement(c.LegendPlacement.BOTTOM))
    tooltip = common.VizTooltipOptions().mode(c.TooltipDisplayMode.MULTI).sort(c.SortOrder.DESCENDING)
    panel = panel.tooltip(tooltip)
    panel = panel.line_width(1).fill_opacity(more.get("fill", 5)).show_points(c.VisibilityMode.NEVER)
    if "minimum" in more:
        panel = panel.min(more["minimum"])
    if "thresholds" in more:
        style = common.GraphThresholdsStyleConfig().mode(c.GraphThresholdsStyleMode.DASHED)
        panel = panel.thresholds(more["thresholds"]).thresholds_style(style)
    if "stack" in more:
        panel = panel.stacking(common.StackingConfig().mode(more["stack"]).group("A"))
    return with_queries(panel, queries)


def with_queries(panel, queries):
    """Gives a panel its queries: (expression, legend) each, in order A, B, and so on."""
    for ref, (expr, legend) in zip(ascii_uppercase, queries, strict=False):
        panel = panel.with_target(query(expr, legend, ref=ref))
    return panel


def grid(title: str, description: str, columns, key: str, *, width=24, height=9, sort: str = ""):
    """A table, a row per value of the label `key`; columns: (name, expression, unit, thresholds or None)."""
    panel = size(table.Panel(), title, description, COUNT, width=width, height=height)
    names = {key: key.capitalize()}
    for ref, (name, expr, unit, thresholds) in zip(ascii_uppercase, columns, strict=False):
        panel = panel.with_target(query(expr, ref=ref, instant=True))
        names[f"Value #{ref}"] = name
        look = [d.DynamicConfigValue(id_val="unit", value=unit)]
        if unit == RATIO:
            look.append(d.DynamicConfigValue(id_val="decimals", value=2))
        if thresholds is not None:
            look += [
                d.DynamicConfigValue(
                    id_val="custom.cellOptions", value=c.TableColoredBackgroundCellOptions()
                ),
                d.DynamicConfigValue(id_val="color", value={"mode": "thresholds"}),
                d.DynamicConfigValue(id_val="thresholds", value=thresholds.build()),
            ]
        panel = panel.override_by_name(name, look)
    panel = panel.with_transformation(d.DataTransformerConfig(id_val="merge", options={}))
    order = {name: place for place, name in enumerate(["Time", *names])}
    options = {"excludeByName": {"Time": True}, "renameByName": names, "indexByName": order}
    panel = panel.with_transformation(d.DataTransformerConfig(id_val="organize", options=options))
    if sort:
        panel = panel.sort_by([common.TableSortByFieldState().display_name(sort).desc(False)])
    return panel


def by_threshold() -> dashboard.FieldColor:
    """Colour of a number by its thresholds."""
    return dashboard.FieldColor().mode(d.FieldColorModeId.THRESHOLDS)


def shown_as(texts: dict[str, tuple[str, str]]) -> list[d.ValueMapping]:
    """Value → (text, colour)."""
    results = {
        value: d.ValueMappingResult(text=text, color=color, index=place)
        for place, (value, (text, color)) in enumerate(texts.items())
    }
    return [d.ValueMap(options=results)]


def choice(name: str, label: str, of: str, *, default: str = "", every: str = "", many: bool = False):
    """A variable: the values of the label `name` of the metric `of`; `every` is the regex for All."""
    made = dashboard.QueryVariable(name).label(label).datasource(DATASOURCE)
    made = made.query({"query": f"label_values({of}, {name})", "refId": "StandardVariableQuery"})
    made = made.refresh(d.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(d.VariableSort.NATURAL_ASC).multi(many)
    if every:
        made = made.include_all(True).all_value(every)
        return made.current(d.VariableOption(selected=True, text="All", value="$__all"))
    return made.current(d.VariableOption(selected=True, text=default, value=default)) if default else made


def baseline() -> object:
    """How far back the mean reaches that the present is held against."""
    made = dashboard.CustomVariable("baseline").label("Compared with the mean of").values("1h,6h,1d,7d")
    return made.current(d.VariableOption(selected=True, text="1h", value="1h"))


def board(title, uid, description, variables, *, panels, span="now-1h") -> dashboard.Dashboard:
    """A dashboard with variables, links and alerts as annotations; a string among `panels` is a row."""
    made = dashboard.Dashboard(title).uid(uid).description(description).tags([TAG]).readonly()
    made = made.timezone("browser").time(span, "now").refresh("10s").tooltip(d.DashboardCursorSync.CROSSHAIR)
    source = dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
    made = made.with_variable(source)
    made = made.with_variable(choice("namespace", "Namespace", "conversion_build_info", every=".*"))
    made = made.with_variable(choice("job", "Monitor", "conversion_build_info", default="conversion-monitor"))
    for variable in variables:
        made = made.with_variable(variable)
    link = dashboard.DashboardLink("Conversion boards").type(d.DashboardLinkType.DASHBOARDS).tags([TAG])
    made = made.link(link.include_vars(True).keep_time(True).as_dropdown(False).icon("dashboard"))
    shown = dashboard.AnnotationQuery().name("Alerts").datasource(DATASOURCE).enable(True).icon_color(RED)
    expr = f"max by (goal, dimension, value, kind) (conversion_alert_active{{{MONITOR}}}) == 1"
    made = made.annotation(shown.expr(expr))
    for panel in panels:
        made = made.with_row(dashboard.Row(panel)) if isinstance(panel, str) else made.with_panel(panel)
    return made


def business(metric: str, by: str = "goal", *, goal: bool = True, window: str = "$window") -> str:
    """A business number of the whole in the chosen window."""
    goals = ',goal=~"$goal"' if goal else ""
    return f'max by ({by}) ({metric}{{{MONITOR},window="{window}",{WHOLE}{goals}}})'


def detection(metric: str, more: str = "", *, by: str = "goal") -> str:
    """What the detector says of the whole, by goal."""
    return f'max by ({by}) ({metric}{{{MONITOR},{WHOLE},goal=~"$goal"{more}}})'


def fixed(color: str) -> d.DynamicConfigValue:
    """One colour for a line."""
    return d.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": color})
