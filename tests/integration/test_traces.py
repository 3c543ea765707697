"""Spans of a whole worker on a real Kafka and Redis, as a collector takes them from the wire."""

from __future__ import annotations

import hashlib
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from tests.collector import Collector, attributes, collector
from tests.story import Fed, headers_of, minutes_ago, nearest_frame, story
from tests.town import Town, town, verdicts
from tests.unit.test_ops_metrics import PREFIX

HEADER = "Authorization=Bearer s3cret-of-the-collector"
NARROW = {"max.message.bytes": str(20 * 2**10)}


def ids(event_id: str) -> tuple[str, str]:
    """(trace id, span id) that this event's producer gave it."""
    digest = hashlib.sha256(event_id.encode()).hexdigest()
    return digest[:32], digest[32:48]


def feed(made: Town, events: list[Fed], broken: frozenset[str] = frozenset()) -> None:
    """Each event with a traceparent; of those that are `broken` with one that cannot be read."""
    for event in events:
        trace, span = ids(event.id)
        told = f"00-{trace}-{span}-01" if event.id not in broken else f"00-{trace}-{'0' * 16}-01"
        made.send(event.stream, event.key, event.body, [*headers_of(event), ("traceparent", told.encode())])
    made.flush()


def links(span: Any) -> set[tuple[str, str]]:
    """What a span is linked to."""
    return {(one.trace_id.hex(), one.span_id.hex()) for one in span.links}


def outcomes(sent: Collector) -> list[tuple[str, str | None]]:
    """(outcome, error.type) of each transaction's span, in time."""
    spans = sorted(sent.named("commit"), key=lambda span: span.start_time_unix_nano)
    return [(told["fusion.transaction.outcome"], told.get("error.type")) for told in map(attributes, spans)]


def settings(sent: Collector) -> dict[str, Any]:
    """All batches are recorded."""
    return {
        "traces": {"endpoint": sent.endpoint, "header": HEADER, "ratio": 1.0},
        "streams": {"frames": {"max_wait": "1s"}},
    }


def committed(metrics: str) -> int:
    """How many transactions a worker has committed."""
    (line,) = [
        one for one in metrics.splitlines() if one.startswith(f'{PREFIX}transactions_total{{outcome="committed"')
    ]
    return int(float(line.split()[-1]))


def exemplars(made: Town) -> set[str]:
    """The trace ids beside end_to_end_seconds, as Prometheus reads them."""
    (port,) = made.ports().values()
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers=accept)
    with urllib.request.urlopen(request, timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    told = [one for one in lines if one.startswith(f"{PREFIX}end_to_end_seconds_bucket") and "trace_id" in one]
    return {one.partition('trace_id="')[2][:32] for one in told}


def test_each_batch_is_linked_to_its_events_and_each_transaction_tells_its_outcome(stack: Any, tmp_path: Path) -> None:
    """A text and its frame are linked from one process span; a settle span a transaction, one of them aborted."""
    events = story(15, minutes_ago(3), keys=3, anchors_per_key=4)
    pairs = nearest_frame(events)
    broken = next(text for text, frame in pairs.items() if frame is not None)
    with collector() as sent, town(stack, tmp_path, {"fusions": 1}, **settings(sent)) as made:
        admin = KafkaAdminClient(bootstrap_servers=stack.bootstrap_servers)
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, f"{made.name}.fusions", NARROW)])
        admin.close()
        made.start()
        feed(made, events, frozenset([broken]))
        made.read_until(lambda: len(made.results) == len(pairs))
        shown = exemplars(made)
        large = Fed(events[-1].time_us + 1_000_000, "texts", "junction-0", "x" * 30_000, b"its result is too large")
        feed(made, [large])
        made.read_until(lambda: len(made.dead) == 1)
        assert made.stop() == [0]
        told = outcomes(sent)
        assert verdicts(made.results) == pairs
    assert told.count(("aborted", "TooLarge")) == 1
    assert {one for one in told if one[0] != "aborted"} == {("committed", None)}
    of_batches = [links(span) for span in sent.named("process")]
    for text, frame in pairs.items():
        wanted = {ids(one) for one in (text, frame) if one not in (None, broken)}
        assert any(wanted <= some for some in of_batches)
    known = {ids(one) for pair in pairs.items() for one in pair if one not in (None, broken)} | {ids(large.id)}
    assert set().union(*of_batches) == known
    check_form(made, sent, shown)


def check_form(made: Town, sent: Collector, shown: set[str]) -> None:
    """Names, kinds, who is whose child, the header, and no secret beside it."""
    batches, transactions = sent.named("process"), sent.named("commit")
    assert len(sent.spans) == len(batches) + len(transactions)
    assert {(span.name, span.kind) for span in batches} == {(f"process {made.name}.texts", 5)}
    assert {(span.name, span.kind) for span in transactions} == {(f"commit {made.name}.texts", 3)}
    traces = {span.trace_id.hex(): span for span in batches}
    assert shown
    assert shown <= traces.keys()
    carrying = [span for span in transactions if attributes(span)["messaging.batch.message_count"]]
    assert all(span.parent_span_id == traces[span.trace_id.hex()].span_id for span in carrying)
    assert {one["service.name"] for one in sent.resources} == {"fusion-worker"}
    assert sent.schemas == {"https://opentelemetry.io/schemas/1.44.0"}
    assert {one["authorization"] for one in sent.headers} == {"Bearer s3cret-of-the-collector"}
    assert "s3cret" not in (made.folder / f"{made.name}.log").read_text()


def test_a_fenced_producer_s_transaction_is_told_as_that(stack: Any, tmp_path: Path) -> None:
    """Another producer takes the slot's transactional id: that transaction fails, and each text has one result."""
    events = story(16, minutes_ago(3), keys=2, anchors_per_key=3)
    early, late = events[: len(events) // 2], events[len(events) // 2 :]
    with collector() as sent, town(stack, tmp_path, **settings(sent)) as made:
        made.start()
        feed(made, [*early, *(one for one in late if one.stream == "frames")])
        made.read_until(lambda: len(made.results) == sum(one.stream == "texts" for one in early))
        thief = KafkaProducer(bootstrap_servers=stack.bootstrap_servers, transactional_id=f"{made.name}-0")
        thief.init_transactions()
        feed(made, [one for one in late if one.stream == "texts"])
        made.read_until(lambda: len(made.results) >= 6)
        thief.close()
        number = committed(made.metrics())
        assert made.stop() == [0]
        made.read(1.0)
        assert sorted(verdicts(made.results)) == sorted(one.id for one in events if one.stream == "texts")
        assert len(made.results) == 6
    told = outcomes(sent)
    assert ("fenced", "ProducerFencedError") in told
    assert sum(one[0] == "committed" for one in told) >= number


@pytest.mark.parametrize("trouble", ["gone", "hangs", "refuses"])
def test_a_collector_in_trouble_costs_no_result(stack: Any, tmp_path: Path, trouble: str) -> None:
    """Nobody listens, or answers, or takes spans: results come, the worker drains in time, spans are counted."""
    events = story(17, minutes_ago(3), keys=2, anchors_per_key=5)
    with collector() as sent:
        given = settings(sent)
        if trouble == "gone":
            given["traces"]["endpoint"] = "http://127.0.0.1:9/v1/traces"
        elif trouble == "hangs":
            sent.answers.clear()
        else:
            sent.status = 400
        with town(stack, tmp_path, **given) as made:
            made.start()
            feed(made, events)
            made.read_until(lambda: len(made.results) == 10)
            if trouble == "refuses":
                made.read_until(lambda: f'{PREFIX}spans_total{{outcome="refused"}} 0.0' not in made.metrics())
            assert made.stop() == [0]
            assert verdicts(made.results) == nearest_frame(events)
            log = (made.folder / f"{made.name}.log").read_text()
            assert "ended by force" not in log
            assert ("spans were not sent" in log) is (trouble != "refuses")
