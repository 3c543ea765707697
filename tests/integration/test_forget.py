"""`fusion-worker forget`: of a key nothing is left in Redis, of others all; workers beside it go on as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.integration.test_explain_command import overrides
from tests.story import Fed, frame, minutes_ago
from tests.town import Town, town, verdicts
from worker.cli import main

SECOND = 1_000_000


def kept(made: Town) -> bytes:
    """All members and records of events that Redis holds of the group."""
    client = Redis.from_url(made.stack.redis_url)
    told = b""
    for key in client.scan_iter(f"fw:{made.name}:*", count=1000):
        if key.endswith(b":z"):
            told += b"".join(client.zrange(key, 0, -1))
        elif key.endswith(b":p"):
            told += b"".join(part for pair in client.hgetall(key).items() for part in pair)
    client.close()
    return told


def test_a_key_is_forgotten_beside_a_running_worker(
    stack: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its events go and another key's stay; an anchor that waits has its result when time goes on, which says what
    took its match; what comes later is matched; Redis is not filled again."""
    at = minutes_ago(5)
    with town(stack, tmp_path, {"texts": 1, "frames": 1}, streams={"frames": {"max_wait": "50s"}}) as made:
        for key in ("key-a", "key-b"):
            made.feed(
                [Fed(at + n * SECOND, "frames", key, f"{key}-f{n}", frame("small", large=n > 0)) for n in range(3)]
            )
            made.feed([Fed(at, "texts", key, f"{key}-t0", b"done")])
        made.feed([Fed(at + 2 * SECOND + 300_000, "texts", "key-a", "waits", b"its window is open")])
        made.start()
        made.read_until(lambda: len(made.results) == 2 and b"key-a-f2" in kept(made) and b"key-b-f2" in kept(made))
        given = overrides(made)
        assert main(["forget", "--key", "key-a", "--key", "unknown", *given]) == 0
        said = capsys.readouterr().out
        assert "key-a: deleted 3 events" in said
        assert "unknown: deleted 0 events" in said
        assert b"key-a" not in kept(made)
        assert b"key-b-f2" in kept(made)
        later = at + 10 * SECOND
        made.feed([Fed(later, "frames", "key-a", "later", frame("later")), Fed(later, "texts", "key-a", "new", b"new")])
        made.feed([Fed(later + SECOND, "frames", "key-a", "last", frame("last"))])
        made.read_until(lambda: len(made.results) == 4)
        (waited,) = [one for one in made.results if one["inputs"]["texts"]["id"] == "waits"]
        assert (waited["missing"], waited["truncated"]) == ({"frames": "payload_expired"}, {"frames": "forgotten"})
        assert verdicts(made.results)["new"] == "later"
        assert "fusion_redis_rebuilds_total 0.0" in made.metrics()
        assert made.stop() == [0]
        assert main(["forget", "--key", "key-b", *given, "--set", f"kafka.group_id={made.name}"]) == 0
        assert b"key-b" not in kept(made)


def test_what_ended_epochs_hold_goes_too(stack: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also what a stream held that is no longer configured; and without a key the command is refused."""
    with town(stack, tmp_path) as made:
        given, client = overrides(made), Redis.from_url(stack.redis_url)
        from hashlib import blake2b

        tag = blake2b(b"key-a", digest_size=16).hexdigest()
        old = f"fw:{made.name}:0123456789abcdef.0-01234567:{{{tag}}}:gone:p"
        client.hset(old, "member", "body")
        assert main(["forget", "--key", "key-a", *given]) == 0
        assert "deleted 0 events, and 1 Redis keys of epochs that have ended" in capsys.readouterr().out
        assert not client.exists(old)
        assert not client.exists(f"fw:{made.name}:epoch")
        client.close()
        assert main(["forget", *given]) == 2
        away = ["--set", "redis.url=redis://127.0.0.1:1/0", "--set", "kafka.startup_timeout=300ms"]
        assert main(["forget", "--key", "key-a", *given, *away]) == 3
