"""The group's joins, as the client drives them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest

from worker.broker.unpack import strict_consumer


@pytest.fixture
def client() -> Iterator[Any]:
    """A real client that has no broker to speak to, and has to join."""
    made = strict_consumer(bootstrap_servers="127.0.0.1:1", api_version=(3, 0, 0), group_id="g")
    made._subscription.subscribe(["texts"])
    yield made
    made._client.close()


def test_a_join_that_failed_in_the_client_is_told_once_and_begun_anew(client: Any) -> None:
    """Told again at each poll it would end the process, though the next join might well succeed."""
    coordinator, joins = client._coordinator, list[int]()

    async def ready(timeout_ms: float | None = None) -> bool:
        return True

    async def join() -> bytes:
        joins.append(len(joins))
        raise struct.error(f"answer {joins[-1]} is short")

    coordinator.ensure_coordinator_ready_async, coordinator._do_join_and_sync_async = ready, join
    for number in range(3):
        with pytest.raises(struct.error, match=f"answer {number} is short"):
            client._manager.run(coordinator.join_group_async, 1_000)
    assert joins == [0, 1, 2]
