"""What the collector of spans says -> findings."""

from __future__ import annotations

from worker.findings.finding import Finding, warning


def of_traces(refusal: str | None) -> list[Finding]:
    """`refusal`: why it takes no spans; None: it does."""
    if refusal is None:
        return []
    return [warning(
        f"traces.endpoint takes no spans ({refusal}): they are counted and lost, results go on",
        "see that a collector takes OTLP over HTTP (protobuf) there, and that traces.header is what it asks for",
    )]  # fmt: skip
