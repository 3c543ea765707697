"""The clock of this machine, as worker.ports.Clock."""

from __future__ import annotations

import time


class SystemClock:
    """The real clock."""

    def now_us(self) -> int:
        """Microseconds since 1970, UTC."""
        return time.time_ns() // 1000
