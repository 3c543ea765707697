"""Makes the dashboards of dashboards/: `python -m deploy.grafana.build` (needs the extra `dev`).

The panels are those of deploy/grafana/panels.py, built with Grafana's own types (grafana-foundation-sdk). The runbook
is a dashboard too, so that a panel's link opens its entry wherever Grafana runs, and by night without another address.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    table,
    text,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heat
from grafana_foundation_sdk.models.prometheus import PromQueryFormat, QueryEditorMode
from grafana_foundation_sdk.models.text import TextMode

from deploy.grafana.panels import ROWS, Panel

HERE = Path(__file__).parent
FOLDER = HERE / "dashboards"
RUNBOOK = HERE.parent / "RUNBOOK.md"
UID, RUNBOOK_UID = "fusion-worker", "fusion-worker-runbook"
# As deploy/grafana/provisioning/datasources/prometheus.yml names it.
SOURCE = model.DataSourceRef(type_val="prometheus", uid="prometheus")
_COLUMNS = 24
Visual = timeseries.Panel | stat.Panel | table.Panel | heatmap.Panel | bargauge.Panel


def worker_dashboard() -> model.Dashboard:
    """The five questions."""
    made = (
        _begin(
            UID,
            "fusion-worker",
            "Is it healthy, what comes in, how well does it match, where does the time go, what comes out.",
        )
        .refresh("10s")
        .time("now-15m", "now")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
    )
    made.with_variable(
        dashboard.QueryVariable("instance").label("Worker").datasource(SOURCE)
        .query("label_values(fusion_pending_anchors, instance)")
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True).include_all(True).all_value(".*")
        .current(model.VariableOption(text=["All"], value=["$__all"]))
    )  # fmt: skip
    made.link(dashboard.DashboardLink("Runbook").url(f"/d/{RUNBOOK_UID}").icon("doc"))
    places, number = _Places(), 0
    entries = {name: id_ for id_, name, _ in runbook_entries()}
    for title, panels in ROWS:
        number += 1
        made.with_row(dashboard.Row(title).id(number).grid_pos(places.next(_COLUMNS, 1)))
        for panel in panels:
            number += 1
            built = _visual(panel).id(number).grid_pos(places.next(panel.width, panel.height))
            if panel.alerts:
                built.links([_link(name, entries[name]) for name in panel.alerts])
            made.with_panel(built)
    return made.build()


def runbook_dashboard() -> model.Dashboard:
    """Each entry of deploy/RUNBOOK.md in a panel of its own; the panel's number is the entry's."""
    made = _begin(RUNBOOK_UID, "fusion-worker: runbook", "What an alert means, where to look first, what to do.")
    made.link(dashboard.DashboardLink("Dashboard").url(f"/d/{UID}").icon("dashboard"))
    places = _Places()
    for number, title, body in runbook_entries():
        height = 3 + sum(1 + len(line) // 150 for line in body.splitlines())
        made.with_panel(
            text.Panel().id(number).title(title).content(body).mode(TextMode.MARKDOWN)
            .grid_pos(places.next(_COLUMNS, height))
        )  # fmt: skip
    return made.build()


def runbook_entries() -> Iterator[tuple[int, str, str]]:
    """(number, heading, Markdown) of every heading of the runbook but its title, links led to where they lie."""
    parts = re.split(r"^#{1,2} (.+)$", RUNBOOK.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for number, (title, body) in enumerate(zip(parts[3::2], parts[4::2], strict=True), 1):
        # What a link in the file leads to does not lie beside a dashboard; its words do.
        yield number, title, re.sub(r"\[([^]]+)\]\((?!https?:)[^)]+\)", r"\1", body).strip()


def _begin(uid: str, title: str, about: str) -> dashboard.Dashboard:
    return dashboard.Dashboard(title).uid(uid).description(about).tags([UID]).timezone("browser").version(1)


class _Places:
    """From left to right, and a new line where there is no room."""

    def __init__(self) -> None:
        self._x = self._y = self._height = 0

    def next(self, width: int, height: int) -> model.GridPos:
        """The next place of this size."""
        if self._x + width > _COLUMNS:
            self._x, self._y, self._height = 0, self._y + self._height, 0
        place = model.GridPos(h=height, w=width, x=self._x, y=self._y)
        self._x, self._height = self._x + width, max(self._height, height)
        return place


def _link(name: str, entry: int) -> dashboard.DashboardLink:
    return dashboard.DashboardLink(f"Runbook: {name}").url(f"/d/{RUNBOOK_UID}?viewPanel={entry}").icon("doc")


def _visual(panel: Panel) -> Visual:
    made = _KINDS[panel.kind](panel)
    made.title(panel.title).description(panel.about).datasource(SOURCE).unit(panel.unit)
    if panel.share:
        made.min(0).max(1)
    if panel.whole:
        made.decimals(0)
    for letter, (expression, legend) in zip("ABCDEF", panel.queries, strict=False):
        made.with_target(_query(panel, letter, expression, legend))
    return made


def _query(panel: Panel, letter: str, expression: str, legend: str) -> prometheus.Dataquery:
    forms = {"table": PromQueryFormat.TABLE, "heatmap": PromQueryFormat.HEATMAP}
    query = (
        prometheus.Dataquery().ref_id(letter).expr(expression).legend_format(legend).datasource(SOURCE)
        .editor_mode(QueryEditorMode.CODE).format(forms.get(panel.kind, PromQueryFormat.TIME_SERIES))
    )  # fmt: skip
    if panel.exemplars:
        query.exemplar(True)
    return query.instant() if panel.kind in ("table", "bargauge") else query.range()


def _lines(panel: Panel) -> timeseries.Panel:
    made = (
        timeseries.Panel().draw_style(options.GraphDrawStyle.LINE).line_width(1)
        .fill_opacity(40 if panel.stacked else 0 if panel.unit == "none" else 10)
        .show_points(options.VisibilityMode.NEVER).color_scheme(_colours("palette-classic"))
        .legend(
            common.VizLegendOptions().display_mode(options.LegendDisplayMode.TABLE).show_legend(True)
            .placement(options.LegendPlacement.BOTTOM).calcs(["lastNotNull", "max"])
        )
        .tooltip(
            common.VizTooltipOptions().mode(options.TooltipDisplayMode.MULTI).sort(options.SortOrder.DESCENDING)
        )
    )  # fmt: skip
    if panel.stacked:
        made.stacking(common.StackingConfig().mode(options.StackingMode.NORMAL).group("A"))
    return made


def _stat(panel: Panel) -> stat.Panel:
    steps = [model.Threshold(color=colour, value=value) for colour, value in panel.steps]
    return (
        stat.Panel().color_scheme(_colours("thresholds")).reduce_options(_last())
        .thresholds(dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps))
        .color_mode(options.BigValueColorMode.BACKGROUND).graph_mode(options.BigValueGraphMode.AREA)
        .text_mode(options.BigValueTextMode.AUTO)
    )  # fmt: skip


def _table(panel: Panel) -> table.Panel:
    return table.Panel().show_header(True).color_scheme(_colours("palette-classic"))


def _heatmap(panel: Panel) -> heatmap.Panel:
    return (
        heatmap.Panel().calculate(False).cell_gap(1).y_axis(heatmap.YAxisConfig().unit(panel.unit))
        .color(heatmap.HeatmapColorOptions().mode(heat.HeatmapColorMode.SCHEME).scheme("Blues").steps(32))
        .mode(options.TooltipDisplayMode.SINGLE).show_y_histogram()
    )  # fmt: skip


def _bars(panel: Panel) -> bargauge.Panel:
    return (
        bargauge.Panel().display_mode(options.BarGaugeDisplayMode.GRADIENT).reduce_options(_last()).min(0)
        .orientation(options.VizOrientation.HORIZONTAL).color_scheme(_colours("palette-classic"))
    )  # fmt: skip


def _colours(mode: str) -> dashboard.FieldColor:
    return dashboard.FieldColor().mode(model.FieldColorModeId(mode))


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False)


_KINDS: dict[str, Callable[[Panel], Visual]] = {
    "timeseries": _lines,
    "stat": _stat,
    "table": _table,
    "heatmap": _heatmap,
    "bargauge": _bars,
}


def pages() -> dict[Path, str]:
    """Each file with what it must hold."""
    made: Sequence[model.Dashboard] = (worker_dashboard(), runbook_dashboard())
    return {
        FOLDER / f"{one.uid}.json": json.dumps(one, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False)
        + "\n"
        for one in made
    }


if __name__ == "__main__":
    for path, content in pages().items():
        path.write_text(content, encoding="utf-8")
        print(path.relative_to(HERE.parent.parent))
