"""The recorded span of a batch, as it travels with what the batch led to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Trace:
    """Its trace's id, 32 hex digits, and the tracing library's context."""

    id: str
    context: Any = field(repr=False, compare=False)
