"""Spans: none where traces are off; where they are on, of what they are made, and that no exporter holds anybody up."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.semconv._incubating.attributes import messaging_attributes
from opentelemetry.semconv.schemas import Schemas

from tests.unit.test_batch import item
from tests.unit.test_commit import FakeSink, outcome
from tests.unit.worker_in_memory import Counting
from worker.config import Settings
from worker.connect import traces_of
from worker.errors import ConfigError, Retryable, StaleMember, Uncertain
from worker.ops import traces
from worker.ops.traces import SCHEMA, OpenTelemetryTraces, outcome_of, partners
from worker.ports import UNTRACED
from worker.records import Aligned
from worker.stages.decode import Prepared
from worker.trace import Trace

ROOT = Path(__file__).parents[2]
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"

# A whole worker but for its servers, which are in memory; then what it has imported.
_OFF = """
import sys
from dataclasses import replace
from tests.fakes.source import FakeSource
from tests.unit.worker_in_memory import FRAMES, TEXTS, reading, text, workers
import worker.assemble
from worker.trace import Trace
GOOD = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
def made(*_): raise AssertionError("a trace was made")
Trace.__init__ = made
with workers() as make:
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    one = make(source)
    for second in range(20):
        source.send(replace(text(second * 1_000_000), headers=(("traceparent", GOOD),)))
        source.send(reading(second * 1_000_000))
    assert one.turn_until(lambda: len(one.sink.results) == 20, 10.0)
ours = ("worker.ops.traces", "opentelemetry.exporter", "opentelemetry.sdk.trace")
print("imported:", *(name for name in sys.modules if name.startswith(ours)))
"""


class Kept(SpanExporter):
    """Keeps what it is given, once it may go on."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self.goes, self.inside = threading.Event(), threading.Event()
        self.goes.set()
        self.error: Exception | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Keeps, or fails as told."""
        self.inside.set()
        self.goes.wait()
        if self.error:
            raise self.error
        self.spans += spans
        return SpanExportResult.SUCCESS


class Quiet:
    """A log that keeps its warnings."""

    def __init__(self) -> None:
        self.warned: list[str] = []

    def warning(self, event: str, **fields: Any) -> None:
        """Keeps it."""
        self.warned.append(event)


def made(exporter: SpanExporter, ratio: float = 1.0) -> tuple[OpenTelemetryTraces, Counting, Quiet]:
    """Traces that go to this exporter."""
    heard, log = Counting(), Quiet()
    one: Any = log
    return OpenTelemetryTraces(exporter, heard, one, ratio=ratio, service="s", group="g", topic="texts"), heard, log


def batch(*traceparents: str | None) -> list[Prepared]:
    """An item whose frames have these; its text has the first."""
    plain = item(0, b"ok")
    (frame,) = plain.inputs["frames"]
    frames = tuple(replace(frame, traceparent=one) for one in traceparents)
    aligned = Aligned(replace(plain.anchor, traceparent=traceparents[0]), {"frames": frames}, {}, True)
    return [Prepared(aligned, None, ())]


def test_a_worker_without_traces_imports_nothing_and_makes_none() -> None:
    """Neither ours nor the library's, which is installed here (the client of Redis takes its metrics' part by itself),
    though every text names a trace."""
    done = subprocess.run([sys.executable, "-c", _OFF], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1:] == ["imported:"], done.stderr


def test_where_traces_are_off_nothing_is_allocated() -> None:
    """A batch and a transaction cost two calls, and not one block of memory."""
    items, outcomes = batch(GOOD), [outcome(0)]

    def turn() -> None:
        with UNTRACED.process(items), UNTRACED.settle(outcomes):
            pass

    turn()
    before = sys.getallocatedblocks()
    for _ in range(10_000):
        turn()
    assert sys.getallocatedblocks() - before < 100
    assert UNTRACED.process(items) is UNTRACED.process(items) is UNTRACED.settle(outcomes)


def test_what_is_no_w3c_traceparent_is_ignored() -> None:
    """And what several events name is one link."""
    bad = ["", "x", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01",
           f"00-{TRACE}-{SPAN}-01-more", f"00-{TRACE.upper()}-{SPAN}-01", f"00-{TRACE[1:]}-{SPAN}-01"]  # fmt: skip
    assert partners(batch(None, *bad)) == []
    assert len(partners(batch(f"cc-{TRACE}-{SPAN}-01-what a later version adds"))) == 1
    (found,) = partners(batch(GOOD, None, GOOD, *bad))
    assert (f"{found.trace_id:032x}", f"{found.span_id:016x}", found.is_remote) == (TRACE, SPAN, True)


def test_names_are_those_of_one_version_of_the_conventions() -> None:
    """Attributes are known to the package of that version, and its schema is told."""
    exporter = Kept()
    one, heard, _ = made(exporter)
    with one.process(batch(GOOD)) as trace, one.settle([replace(outcome(0), trace=trace)]):
        pass
    one.close()
    known = {told for name, told in vars(messaging_attributes).items() if name.startswith("MESSAGING_")}
    used = {name for span in exporter.spans for name in span.attributes or {}}
    assert used - known == {"fusion.transaction.outcome"}
    operations = {one.value for one in messaging_attributes.MessagingOperationTypeValues}
    assert {str((span.attributes or {})["messaging.operation.type"]) for span in exporter.spans} <= operations
    assert Schemas.V1_44_0.value == SCHEMA
    assert heard.counted[("spans_total", "exported")] == 2


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (None, "committed"),
        (Retryable("x"), "aborted"),
        (StaleMember("x"), "fenced"),
        (Uncertain("x"), "uncertain"),
    ],
)
def test_a_transaction_s_span_tells_how_it_ended(error: Exception | None, told: str) -> None:
    """The error goes on to who reacts to it; its message, which may hold a secret, stays out of the span."""
    exporter, sink = Kept(), FakeSink(*([error] if error else []))
    one, _, _ = made(exporter)
    with pytest.raises(type(error)) if error else nullcontext(), one.settle([outcome(0)]):
        sink.publish([], {}, None)
    one.close()
    (span,) = exporter.spans
    assert (span.attributes or {})["fusion.transaction.outcome"] == told == outcome_of(error)
    assert (span.attributes or {}).get("error.type") == (type(error).__name__ if error else None)
    assert (span.events, span.status.description) == ((), None)


def test_a_transaction_of_several_batches_is_in_the_first_s_trace() -> None:
    """The others are linked; a batch that is not recorded leaves it a trace of its own."""
    exporter = Kept()
    one, _, _ = made(exporter)
    seen: list[Trace | None] = []
    for _ in range(3):
        with one.process(batch(GOOD)) as trace:
            seen.append(trace)
    with one.settle([replace(outcome(n), trace=trace) for n, trace in enumerate([None, *seen, *seen])]):
        pass
    with one.settle([outcome(9)]):
        pass
    one.close()
    first, alone = exporter.spans[-2:]
    assert first.parent == (seen[0].context if seen[0] else None)
    assert [link.context for link in first.links] == [trace.context for trace in seen[1:] if trace]
    assert alone.parent is None


def test_a_share_of_the_batches_is_recorded() -> None:
    """Of the others there is no trace, and a transaction of recorded ones alone is recorded always."""
    exporter = Kept()
    one, heard, _ = made(exporter, ratio=0.2)
    recorded = 0
    for _ in range(1_000):
        with one.process(batch(GOOD)) as trace:
            recorded += trace is not None
        if trace is not None:
            with one.settle([outcome(0), replace(outcome(1), trace=trace)]):
                pass
    one.close()
    assert 120 < recorded < 280
    assert len(exporter.spans) == heard.counted[("spans_total", "exported")] == 2 * recorded


def test_an_exporter_that_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept for it is bounded, spans with their links; what does not fit is counted, and the end comes."""
    monkeypatch.setattr(traces, "MOST_WAITING", 256)
    monkeypatch.setattr(traces, "CLOSE_SECONDS", 0.2)
    exporter = Kept()
    exporter.goes.clear()
    one, heard, log = made(exporter)
    began = time.monotonic()
    for _ in range(200):
        with one.process(batch(GOOD)):
            pass
    assert one._outbox.waiting == 256
    assert heard.counted == {("spans_total", "dropped"): 200 - 128}
    one.close()
    assert time.monotonic() - began < 5.0
    assert log.warned == ["spans were not sent"]
    exporter.goes.set()


def test_spans_of_many_threads_are_each_told_once() -> None:
    """Exported, refused or dropped: the sum is what was made, also when the exporter raises."""
    exporter = Kept()
    exporter.error = OSError("gone")
    one, heard, _ = made(exporter)

    def work() -> None:
        for _ in range(100):
            with one.process(batch(GOOD)):
                pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one.close()
    assert heard.counted == {("spans_total", "refused"): 800}
    assert one._outbox.waiting == 0


def test_without_the_package_the_configuration_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says what to install; without an endpoint nobody asks for it."""
    monkeypatch.delitem(sys.modules, "worker.ops.traces")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    heard: Any = Counting()
    settings = Settings.model_validate({"traces": {"endpoint": "http://127.0.0.1:4318/v1/traces"}})
    log: Any = Quiet()
    told = r'^traces.endpoint: .*pip install "fusion-worker\[traces\]"'
    with pytest.raises(ConfigError, match=told), traces_of(settings, heard, log):
        pass
    with traces_of(Settings(), heard, log) as off:
        assert off is UNTRACED


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"ratio": 1.0}, "ratio has no effect without endpoint"),
        ({"endpoint": "localhost:4318"}, "it is not http:// or https:// with a host"),
        ({"endpoint": "http://u:p@host/v1/traces"}, "give what proves who you are as traces.header"),
        ({"endpoint": "http://host:0/"}, "the port must be a number from 1 to 65535"),
        ({"endpoint": "http://host", "header": "no equals sign"}, "String should match pattern"),
    ],
)
def test_a_section_that_does_not_fit_is_refused(given: dict[str, Any], sentence: str) -> None:
    """What looks on is not off, and no secret stands in an address."""
    with pytest.raises(ValueError, match=sentence):
        Settings.model_validate({"traces": given})
