"""The garbage collector, told what never becomes garbage."""

from __future__ import annotations

import gc

# Containers made and not let go, after which the youngest are looked at; ten times as many for the middle ones, a
# hundred times for all. At Python's 700 the collector runs several times a poll for almost nothing, since the worker
# makes hardly any cycles; at 10,000 one collection takes 3 to 7 ms, with more the loop would stand longer at a time.
THRESHOLDS = (10_000, 10, 10)


def settle() -> None:
    """Called once all is loaded: what lives by now is looked at no more.

    Libraries and the model leave some 500,000 objects that stay for as long as the process does; a full collection
    passed over each of them, 0.3 s in which no thread moves.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
