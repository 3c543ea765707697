"""What a worker does on a server -> the least ACL for it."""

from __future__ import annotations

# Of the worker itself, and of its functions: a server looks at the rights of what a function does, too.
DIRECT = (
    "exists", "fcall", "function|load", "hmget", "info", "lpop", "scan", "smembers", "srem", "unlink", "zscore",
)  # fmt: skip
INSIDE = (
    "del", "exists", "get", "hdel", "hget", "hgetall", "hlen", "hmget", "hset", "hsetnx", "info", "pexpire", "pttl",
    "rpush", "sadd", "set", "time", "zadd", "zcard", "zrange", "zrangebyscore", "zrem", "zrevrangebyscore", "zscore",
)  # fmt: skip


def least_acl(group_id: str) -> list[str]:
    """Rules for `ACL SETUSER name on >password ...`: these commands, on this group's keys alone."""
    return [f"~fw:{group_id}:*", "-@all", *(f"+{command}" for command in sorted({*DIRECT, *INSIDE}))]
