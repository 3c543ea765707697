"""Every query of the dashboard on a real Prometheus after a real worker ran: no panel is empty without a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploy.grafana.panels import ROWS
from tests.acceptance.test_dashboard import filled_in
from tests.alerts.traffic import Traffic
from tests.alerts.watch import Watch
from tests.prometheus_tools import serve
from tests.security.redis_server import redis_over_tls
from tests.town import town

PANELS = {panel.title: panel for _, panels in ROWS for panel in panels}
# Of a worker that is well, with the model of the tests.
EMPTY = {
    "Bounds that cost a match": "no bound costs a match; tests/alerts fires FusionBoundHits",
    "Not familiar": "told by models whose folder has a reference; tests/alerts, the_camera_sees_a_wall",
    "Drift": "as Not familiar",
    "Further heads": "the model has a label alone; integration/test_heads_served.py",
    "Numbers": "as Further heads",
    "Rules": "no rule is set; integration/test_rules_beside_a_model.py",
    "Where the shadow differs": "no shadow is set; integration/test_shadow_model.py",
    **{panel.title: f"of another command; integration/test_{test}.py"
       for begin, test in (("Live feeds", "feed_video"), ("Sinks", "sink_webhook"))
       for panel in PANELS.values() if panel.title.startswith(begin)},
}  # fmt: skip

pytestmark = pytest.mark.timeout(600)


class Unfilled:
    """The queries that have given no number yet, by their panel; only these are asked."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self.left = {(panel.title, query) for panel in PANELS.values() for query, _ in panel.queries}

    def titles(self) -> set[str]:
        """Asks once more."""
        self.left = {one for one in self.left if not self._watch.server.numbers(filled_in(one[1]))}
        return {title for title, _ in self.left}


def test_no_panel_is_empty(stack: Any, tmp_path: Path) -> None:
    """Ordinary traffic with a bad record now and then, a review topic and a certificate: all is shown but what is told
    above, which is empty."""
    with (
        redis_over_tls(tmp_path) as (_, url),
        town(stack, tmp_path, {"reviews": 1}, redis={"url": url}) as made,
        serve(tmp_path, ()) as server,
    ):
        made.settings["review"] = {"topic": f"{made.name}.reviews", "below": 0.9}
        watch, traffic = Watch(made, server), Traffic(made)
        made.start()
        watch.sees(1)

        def and_a_bad_one() -> None:
            made.send("texts", "junction-1", b"\xff no text")
            traffic()

        unfilled = Unfilled(watch)
        try:
            watch.until(lambda: unfilled.titles() <= EMPTY.keys(), "panels are filled", and_a_bad_one)
        finally:
            assert {title for title, _ in unfilled.left} == EMPTY.keys()
        assert made.stop() == [0]
