"""Batches and transactions -> OpenTelemetry spans, sent by OTLP beside the work (the extra `traces`).

Names are those of the messaging conventions of SCHEMA; what is beside them begins with `fusion.`.
"""

from __future__ import annotations

import logging
import random
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from worker.errors import StaleMember, Uncertain
from worker.ports.ops import Log, Observer
from worker.ports.traces import HasAligned
from worker.records import Outcome
from worker.trace import Trace

SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
# A batch of windows has many partners. More links are dropped, and the span says how many.
MOST_LINKS = 1024
# Spans that wait for the exporter, each with its links: some 16 MiB. Past it new ones are dropped.
MOST_WAITING = 16_384
EXPORT_BATCH = 128
EXPORT_EVERY_MS = 1_000
# One request with its repetitions.
EXPORT_SECONDS = 5.0
# Within what the watchdog leaves for closing all parts.
CLOSE_SECONDS = 1.0
_ROOT = Context()
# What Kafka's client calls it when a successor took the transactional id.
_FENCED = ("Fenced", "InvalidProducerEpoch")
_NOTHING: AbstractContextManager[None] = nullcontext()
_W3C = re.compile("([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class OpenTelemetryTraces:
    """Traces of one worker.

    Guarantees: no call waits for the exporter; a span is exported, refused or dropped, and counted as that.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        observer: Observer,
        log: Log,
        *,
        ratio: float,
        service: str,
        group: str,
        topic: str,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`ratio`: the share of batches that are recorded, by a `draw` from 0 to 1; `topic`: that of the anchors."""
        self._ratio, self._draw = ratio, draw
        self._outbox, self._log = Outbox(exporter, observer), log
        provider = TracerProvider(
            sampler=ALWAYS_ON,  # what is not recorded never comes here: the library takes 6 us to say no
            resource=Resource.create({SERVICE_NAME: service}),
            shutdown_on_exit=False,
            span_limits=SpanLimits(max_links=MOST_LINKS),
        )
        provider.add_span_processor(self._outbox)
        self._tracer = provider.get_tracer("fusion-worker", schema_url=SCHEMA)
        self._topic = topic
        self._about = {
            "messaging.system": "kafka",
            "messaging.destination.name": topic,
            "messaging.consumer.group.name": group,
        }

    def process(self, batch: Sequence[HasAligned]) -> AbstractContextManager[Trace | None]:
        """A root span with a link to the trace of each event that names one."""
        if self._draw() >= self._ratio:
            return _NOTHING
        role, links = trace.SpanKind.CONSUMER, partners(batch)
        return _Open(self._begin("process", "process", role, _ROOT, links, len(batch)))

    def settle(self, outcomes: Sequence[Outcome]) -> AbstractContextManager[Trace | None]:
        """In the trace of the first recorded batch that it commits, with links to the others."""
        batches = {one.trace.id: one.trace.context for one in outcomes if one.trace is not None}
        if not batches and self._draw() >= self._ratio:
            return _NOTHING
        first, *others = batches.values() or (None,)
        parent = trace.set_span_in_context(trace.NonRecordingSpan(first), _ROOT) if first is not None else _ROOT
        return _Transaction(self._begin("settle", "commit", trace.SpanKind.CLIENT, parent, others, len(outcomes)))

    def _begin(
        self,
        kind: str,
        name: str,
        role: trace.SpanKind,
        parent: Context,
        links: Iterable[trace.SpanContext],
        count: int,
    ) -> trace.Span:
        return self._tracer.start_span(
            f"{name} {self._topic}",
            parent,
            role,
            {
                **self._about,
                "messaging.operation.type": kind,
                "messaging.operation.name": name,
                "messaging.batch.message_count": count,
            },
            [trace.Link(one) for one in links],
        )

    def close(self) -> None:
        """Sends what is left, as long as CLOSE_SECONDS allow."""
        self._outbox.shutdown()
        if left := self._outbox.waiting:
            self._log.warning("spans were not sent", left=left, action="see that traces.endpoint answers")


class _Open:
    """A span while it lasts."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def __enter__(self) -> Trace:
        context = self._span.get_span_context()
        return Trace(trace.format_trace_id(context.trace_id), context)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _at: TracebackType | None
    ) -> None:
        if error is not None:
            self._span.set_attribute("error.type", _cause(error))
            self._span.set_status(trace.StatusCode.ERROR)
        self._span.end()


class _Transaction(_Open):
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._span.set_attribute("fusion.transaction.outcome", outcome_of(error))
        super().__exit__(kind, error, _at)


def outcome_of(error: BaseException | None) -> str:
    """How a transaction ended: committed, fenced (the group, or another producer of this slot, has taken over),
    uncertain or aborted."""
    if error is None:
        return "committed"
    if isinstance(error, StaleMember) or any(word in _cause(error) for word in _FENCED):
        return "fenced"
    return "uncertain" if isinstance(error, Uncertain) else "aborted"


def _cause(error: BaseException) -> str:
    """The class of what was raised at first. Messages stay in the log, which knows the secrets."""
    return type(error.__cause__ or error).__name__


def partners(batch: Iterable[HasAligned]) -> list[trace.SpanContext]:
    """The traces that the events of a batch name, each once; what is no W3C `traceparent` is ignored."""
    told = {
        event.traceparent: None
        for one in batch
        for events in ((one.aligned.anchor,), *one.aligned.inputs.values())
        for event in events
        if event.traceparent is not None
    }
    return [context for one in told if (context := _context(one)) is not None]


def _context(traceparent: str) -> trace.SpanContext | None:
    """As W3C Trace Context has it. The library's own reading goes by way of a context and a span, at ten times the
    cost."""
    found = _W3C.fullmatch(traceparent)
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
        return None
    flags = trace.TraceFlags(int(found[4], 16))
    context = trace.SpanContext(int(found[2], 16), int(found[3], 16), is_remote=True, trace_flags=flags)
    return context if context.is_valid else None


class Outbox(SpanProcessor):
    """Ended spans on their way out, bounded by spans and links together. Thread-safe."""

    def __init__(self, exporter: SpanExporter, observer: Observer) -> None:
        """`exporter` may be slow, fail, or never come back."""
        self._observer, self._lock = observer, threading.Lock()
        self.waiting = 0  # spans and links that are neither sent nor given up
        self._batches = BatchSpanProcessor(
            _Told(exporter, self._gone), MOST_WAITING, EXPORT_EVERY_MS, EXPORT_BATCH, EXPORT_SECONDS * 1000
        )

    def on_end(self, span: ReadableSpan) -> None:
        """Takes it, or drops it where there is no room."""
        with self._lock:
            fits = self.waiting + _weight(span) <= MOST_WAITING
            self.waiting += _weight(span) if fits else 0
        if fits:
            self._batches.on_end(span)
        else:
            self._observer.count("spans_total", outcome="dropped")

    def _gone(self, spans: Sequence[ReadableSpan], outcome: str) -> None:
        with self._lock:
            self.waiting -= sum(map(_weight, spans))
        self._observer.count("spans_total", len(spans), outcome=outcome)

    def shutdown(self) -> None:
        """Sends what is left, as long as CLOSE_SECONDS allow; the library's own end may take half a minute."""
        ending = threading.Thread(target=self._batches.shutdown, name="end of traces", daemon=True)
        ending.start()
        ending.join(CLOSE_SECONDS)


class _Told(SpanExporter):
    """Tells what became of spans."""

    def __init__(self, exporter: SpanExporter, gone: Callable[[Sequence[ReadableSpan], str], None]) -> None:
        self._exporter, self._gone = exporter, gone

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Exports; what is raised counts as a refusal."""
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self._gone(spans, "exported" if result is SpanExportResult.SUCCESS else "refused")
        return result

    def shutdown(self) -> None:
        """Ends what it has open."""
        self._exporter.shutdown()


def _weight(span: ReadableSpan) -> int:
    return 1 + len(span.links)


def otlp(endpoint: str, header: str | None) -> SpanExporter:
    """Sends spans as OTLP over HTTP (protobuf) to this address, with a header NAME=VALUE."""
    name, _, value = (header or "").partition("=")
    return OTLPSpanExporter(endpoint, headers={name: value} if name else {}, timeout=EXPORT_SECONDS)


def refusal(exporter: SpanExporter) -> str | None:
    """Why what it sends is not taken, in the library's words; None: it is. Asks with a request that has no spans, for
    up to EXPORT_SECONDS."""
    said, library = _Said(), logging.getLogger("opentelemetry.exporter")
    before, library.propagate = library.propagate, False
    library.addHandler(said)
    try:
        taken = exporter.export([]) is SpanExportResult.SUCCESS
    finally:
        library.removeHandler(said)
        library.propagate = before
        exporter.shutdown()
    return None if taken else next(iter(said.lines), "no reason is told")


class _Said(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps what is said."""
        self.lines.append(record.getMessage())
