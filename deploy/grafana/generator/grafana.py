"""Converts boards to Grafana's JSON. The only module that uses the Grafana SDK."""

from grafana_foundation_sdk.builders import bargauge, common, dashboard, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as values
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heat
from grafana_foundation_sdk.models import prometheus as query_model

from deploy.grafana.generator.model import (
    Bars,
    Board,
    Colour,
    Graph,
    Heat,
    Levels,
    Panel,
    Place,
    Placed,
    Query,
    Row,
    Stat,
    arrange,
)
from deploy.grafana.generator.promql import VARIABLES

EVERY_PROCESS = "tokenstream_records_consumed_total"
"""A metric that every role exposes, at zero where it does not count: its labels are the choices of the variables."""
TAG = "tokenstream"
DATASOURCE = values.DataSourceRef(type_val="prometheus", uid="${datasource}")

AnyPanel = stat.Panel | timeseries.Panel | bargauge.Panel | heatmap.Panel


def rendered(board: Board) -> str:
    """The dashboard's JSON, the same for the same board: keys sorted, one line break at its end."""
    return str(JSONEncoder(sort_keys=True, indent=2).encode(dashboard_of(board).build())) + "\n"


def dashboard_of(board: Board) -> dashboard.Dashboard:
    built = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([TAG])
        .timezone("browser")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh("10s")
        .link(other_boards())
    )
    for variable in variables():
        built.with_variable(variable)
    for placed in arrange(board):
        if isinstance(placed.what, Row):
            built.with_row(dashboard.Row(placed.what.title).id(placed.id).grid_pos(grid_of(placed.place)))
        else:
            built.with_panel(panel_of(placed, placed.what))
    return built


def other_boards() -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink("tokenstream")
        .type(model.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .include_vars(True)
        .keep_time(True)
    )


def variables() -> list[dashboard.DatasourceVariable | dashboard.QueryVariable]:
    """The Prometheus to ask, then job, namespace and pod, each narrowing the next."""
    chosen: list[dashboard.DatasourceVariable | dashboard.QueryVariable] = [
        dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
    ]
    for index, name in enumerate(VARIABLES):
        matchers = ",".join(f'{earlier}=~"${earlier}"' for earlier in VARIABLES[:index])
        chosen.append(query_variable(name, f"label_values({EVERY_PROCESS}{{{matchers}}}, {name})"))
    return chosen


def query_variable(name: str, query: str) -> dashboard.QueryVariable:
    """All by default. For `job` that is every job with our metrics, and no other: Python's own metrics have names
    that others use too. For the rest it also matches a series without that label, as outside Kubernetes.
    """
    variable = (
        dashboard.QueryVariable(name)
        .label(name.capitalize())
        .datasource(DATASOURCE)
        .query({"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"})
        .definition(query)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .current(model.VariableOption(selected=True, text="All", value="$__all"))
    )
    return variable if name == "job" else variable.all_value(".*")


def panel_of(placed: Placed, panel: Panel) -> AnyPanel:
    match panel:
        case Stat():
            return with_common(stat_panel(panel), placed, panel)
        case Graph():
            return with_common(graph_panel(panel), placed, panel)
        case Bars():
            return with_common(bars_panel(), placed, panel)
        case Heat():
            return with_common(heat_panel(panel), placed, panel)
        case _:
            raise TypeError(f"{panel.title!r}: there is no way to draw a {type(panel).__name__}.")


def with_common(built: AnyPanel, placed: Placed, panel: Panel) -> AnyPanel:
    """The fields of panels of every kind."""
    built.id(placed.id).title(panel.title).description(panel.description).grid_pos(grid_of(placed.place))
    built.datasource(DATASOURCE).unit(panel.unit).no_value(panel.no_value)
    built.thresholds(thresholds(panel.levels))
    if panel.least is not None:
        built.min(panel.least)
    for index, query in enumerate(panel.queries):
        built.with_target(target_of(query, chr(ord("A") + index), panel))
    return built


def target_of(query: Query, ref_id: str, panel: Panel) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(ref_id).datasource(DATASOURCE)
    match panel:
        case Bars():
            return target.instant()
        case Heat():
            return target.range().format(query_model.PromQueryFormat.HEATMAP)
        case _:
            return target.range()


def stat_panel(panel: Stat) -> stat.Panel:
    built = (
        stat.Panel()
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .color_mode(values.BigValueColorMode.VALUE)
        .graph_mode(values.BigValueGraphMode.AREA)
        .text_mode(values.BigValueTextMode.VALUE if len(panel.queries) == 1 else values.BigValueTextMode.VALUE_AND_NAME)
    )
    return built if panel.decimals is None else built.decimals(panel.decimals)


def graph_panel(panel: Graph) -> timeseries.Panel:
    built = (
        timeseries.Panel()
        .line_width(1)
        .fill_opacity(30 if panel.stacked else 8)
        .show_points(values.VisibilityMode.NEVER)
        .axis_soft_min(0)
        .legend(legend())
        .tooltip(common.VizTooltipOptions().mode(values.TooltipDisplayMode.MULTI).sort(values.SortOrder.DESCENDING))
    )
    if panel.stacked:
        built.stacking(common.StackingConfig().mode(values.StackingMode.NORMAL).group("A"))
    if panel.levels.watch is not None or panel.levels.bad is not None:
        built.thresholds_style(common.GraphThresholdsStyleConfig().mode(values.GraphThresholdsStyleMode.DASHED))
    return built


def legend() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .display_mode(values.LegendDisplayMode.TABLE)
        .placement(values.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["lastNotNull", "max"])
    )


def bars_panel() -> bargauge.Panel:
    return (
        bargauge.Panel()
        .orientation(values.VizOrientation.HORIZONTAL)
        .display_mode(values.BarGaugeDisplayMode.BASIC)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def heat_panel(panel: Heat) -> heatmap.Panel:
    return (
        heatmap.Panel()
        .calculate(False)
        .color(heatmap.HeatmapColorOptions().mode(heat.HeatmapColorMode.SCHEME).scheme("Oranges").steps(64))
        .y_axis(heatmap.YAxisConfig().unit(panel.unit))
        .cell_gap(1)
    )


def thresholds(levels: Levels) -> dashboard.ThresholdsConfig:
    steps: list[model.Threshold] = [model.Threshold(value=None, color=levels.base)]
    for value, colour in ((levels.watch, Colour.WATCH), (levels.bad, Colour.BAD)):
        if value is not None:
            steps.append(model.Threshold(value=value, color=colour))
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)


def grid_of(place: Place) -> model.GridPos:
    return model.GridPos(x=place.x, y=place.y, w=place.width, h=place.height)
