"""What the pipeline asks of the outside, a file a room; real implementations and fakes pass the same contract suite."""

from worker.ports.broker import Bodies, Fetcher, Polled, Sink, Source
from worker.ports.model import Model, told_of
from worker.ports.ops import Clock, Health, Log, Observer
from worker.ports.privacy import Mask
from worker.ports.store import ContextStore, Epoch, FlowExchange, Index, Slots
from worker.ports.traces import UNTRACED, Traces

__all__ = [
    "UNTRACED", "Bodies", "Clock", "ContextStore", "Epoch", "Fetcher", "FlowExchange", "Health", "Index", "Log", "Mask",
    "Model", "Observer", "Polled", "Sink", "Slots", "Source", "Traces", "told_of",
]  # fmt: skip
