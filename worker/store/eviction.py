"""A server's maxmemory and policy -> whether it may evict parts of what is matched."""

from __future__ import annotations

from typing import Any

from redis.cluster import RedisCluster

from worker.errors import ConfigError
from worker.store.client import translated

KEEPS_ALL = "noeviction"


def info_of_all(client: Any, *sections: str) -> list[dict[str, Any]]:
    """INFO of the server, or of every primary of a cluster; of a cluster of one shard the client tells it bare."""
    everywhere = {"target_nodes": RedisCluster.PRIMARIES} if isinstance(client, RedisCluster) else {}
    with translated():
        told = client.info(*sections, **everywhere)
    return list(told.values()) if told and all(isinstance(each, dict) for each in told.values()) else [told]


def refuse_eviction(client: Any) -> str | None:
    """What cannot be known, in a sentence; None when the server keeps what it is given.

    Raises:
        ConfigError: it evicts keys when it is full, and a match would be answered from what is left.
        Retryable: it does not answer.
    """
    for told in info_of_all(client, "memory"):
        policy, most = told.get("maxmemory_policy"), told.get("maxmemory")
        if policy is None or most is None:
            return (
                "Redis does not tell its maxmemory-policy; see to it that it is noeviction, "
                "or verdicts are made from what is left"
            )
        if int(most) > 0 and policy != KEEPS_ALL:
            size = told.get("maxmemory_human", most)
            raise ConfigError(
                f"redis.url: the server's maxmemory-policy is {policy} (maxmemory {size}), "
                f"so it evicts events that are matched; set it to {KEEPS_ALL}, and a full server slows reading down"
            )
    return None
