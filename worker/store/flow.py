"""The flow of all workers' partitions, exchanged through Redis."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from operator import attrgetter

from worker.flows import Flow, PartitionFlow
from worker.records import Partition
from worker.store.form import Forms
from worker.store.sweep import Sweeps

_NAMES = [field.name for field in fields(PartitionFlow)]  # in the order in which they are told and read
_TOLD = attrgetter(*_NAMES)


class Flows(Sweeps, Forms):
    """The flow of ContextStore."""

    def exchange_flow(self, own: Mapping[Partition, PartitionFlow], needed_us: int | None = None) -> Flow:
        """See ContextStore.exchange_flow."""
        told = [
            text
            for p, flow in own.items()
            for text in (
                f"{p.topic}/{p.number}",
                json.dumps(_TOLD(flow)),
            )
        ]
        name = f"{self._prefix}:flow:{self._epoch}"
        seconds, micros, *everybody = self._watched(
            lambda pipe: self._fcall(pipe, "fusion_exchange", (name,), self._lifetime.data_ms, *told)
        )[0]
        flows = {}
        for field, value in zip(everybody[::2], everybody[1::2], strict=True):
            topic, _, number = field.decode().rpartition("/")
            # Of two releases in one pool the older one tells fewer of these, and reads those that it knows.
            flows[Partition(topic, int(number))] = PartitionFlow(*json.loads(value)[: len(_NAMES)])
        now_us = int(seconds) * 1_000_000 + int(micros)
        self._hold_on(now_us)
        self._step(now_us, needed_us)
        return Flow(now_us, flows)
