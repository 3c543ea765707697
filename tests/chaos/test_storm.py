"""Whatever is killed, nothing is lost, doubled or changed: short storms, held against the oracle and a calm run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.checker import content, findings, undisturbed
from tests.chaos.ground import Ground
from tests.chaos.storm import Storm, backlog, settings
from tests.town import town

ANCHORS = 800
FAULTS = {
    "workers killed": ["kill"] * 6,
    "workers frozen": ["freeze"] * 2,
    "workers stopped": ["terminate"] * 4,
    "Redis emptied": ["flush"] * 5,
    "Redis hanging or restarted": ["freeze_redis", "restart_redis", "freeze_redis"],
    "Kafka hanging": ["freeze_kafka"] * 2,
    "Kafka restarted": ["restart_kafka"] * 2,
    "Kafka away for 20 s": ["stop_kafka"],
    "put out and taken in again": ["kill", "freeze", "freeze_kafka", "freeze_kafka", "terminate", "freeze", "kill"],
    "all at once": ["kill", "flush", "terminate", "restart_redis", "freeze", "kill", "freeze_redis", "flush"],
}


SHORT = {"all at once"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in SHORT else pytest.mark.long) for name in FAULTS]
)
def test_a_storm_changes_nothing_but_time(ground: Ground, tmp_path: Path, name: str) -> None:
    """Each anchor has one outcome, in order, as the oracle says, in the bytes of an undisturbed run."""
    seed = list(FAULTS).index(name)
    events = backlog(seed, ANCHORS)
    with town(ground, tmp_path, **settings(ground)) as made:
        made.start(3)
        Storm(ground, made, seed).rage(events, FAULTS[name])
        made.read(1.0)
        assert set(made.stop()) == {0}, made.log()
        found = findings(events, made)
        assert not found, str(found)
        assert content(made.raw) == undisturbed(made, ANCHORS)
