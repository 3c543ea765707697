"""The garbage collector, told what never becomes garbage."""

from __future__ import annotations

import gc

# Containers made and not let go, after which the youngest are looked at; ten times as many for the middle ones, a
# hundred times for all. At 700, as Python has it, it runs at each poll. kafka-python leaves each fetch in a cycle, some
# 50 MB of frames, which stays in memory until it is found: at 10,000 a worker is 100 MB larger for the same gain.
THRESHOLDS = (2_000, 10, 10)


def settle() -> None:
    """Called once all is loaded: what lives by now is looked at no more.

    Libraries and the model leave some 500,000 objects that stay for as long as the process does; a full collection
    passed over each of them, 0.3 s in which no thread moves.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
