"""The flow of all workers' partitions, exchanged through Redis."""

from __future__ import annotations

import json
from collections.abc import Mapping

from worker.records import Flow, Partition, PartitionFlow
from worker.store.epoch import Epochs

# A flow that nobody tells any more is of no use to anybody: the next one of its epoch writes it again.
FLOW_TTL_MS = 86_400_000


class Flows(Epochs):
    """The flow of ContextStore."""

    def exchange_flow(self, own: Mapping[Partition, PartitionFlow]) -> Flow:
        """See ContextStore.exchange_flow."""
        told = [
            text
            for p, flow in own.items()
            for text in (
                f"{p.topic}/{p.number}",
                json.dumps([flow.frontier_us, flow.clear_from_us, flow.caught_up_us]),
            )
        ]
        name = f"{self._prefix}:flow:{self._epoch}"
        seconds, micros, *everybody = self._call("fusion_exchange", name, FLOW_TTL_MS, *told)
        flows = {}
        for field, value in zip(everybody[::2], everybody[1::2], strict=True):
            topic, _, number = field.decode().rpartition("/")
            flows[Partition(topic, int(number))] = PartitionFlow(*json.loads(value))
        return Flow(int(seconds) * 1_000_000 + int(micros), flows)
