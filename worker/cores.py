"""How many processors this process may use: those that it may run on, as far as its container's limit goes."""

from __future__ import annotations

import math
import os
from pathlib import Path

_GROUP = Path("/sys/fs/cgroup")


def usable(group: Path = _GROUP, here: int | None = None) -> int:
    """Threads beyond these would only be stopped by the scheduler, all of them at once, for the rest of each period.

    Args:
        group: where the kernel tells of the limit (cgroup 2, or 1 under `cpu/`); without one there is none.
        here: the processors that the process may run on; None: as the kernel says.
    """
    found = len(os.sched_getaffinity(0)) if here is None else here
    quota, period = _limit(group)
    return found if quota <= 0 or period <= 0 else max(1, min(found, math.ceil(quota / period)))


def _limit(group: Path) -> tuple[int, int]:
    """Microseconds of processor time, and in which time; (0, 0): no limit."""
    try:
        if (group / "cpu.max").is_file():
            quota, period = (group / "cpu.max").read_text().split()
            return (0, 0) if quota == "max" else (int(quota), int(period))
        told = [(group / "cpu" / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
        return (int(told[0].read_text()), int(told[1].read_text())) if told[0].is_file() else (0, 0)
    except (OSError, ValueError):
        # What cannot be read limits nobody here; the scheduler does so all the same.
        return 0, 0
