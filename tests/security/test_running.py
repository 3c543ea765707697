"""Workers under exactly the least rights, over TLS on both sides: a story comes to its end, across rotations too."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kafka.admin import (
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePatternFilter,
    ResourceType,
)

from tests.security.cases import least
from tests.security.certificates import Authority
from tests.security.redis_server import kind, open_redis
from tests.security.secured import PASSWORD, SecuredKafka
from tests.story import nearest_frame, story
from tests.town import LIVELINESS_SECONDS, Town, town, verdicts
from worker.config import Settings
from worker.store.rights import least_acl


@dataclass(frozen=True, slots=True)
class Stores:
    """A Redis over TLS, its address, and who signs for it."""

    server: Any
    url: str
    authority: Authority


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    """One for all cases here."""
    folder = tmp_path_factory.mktemp("stores")
    authority = Authority(folder, "authority")
    with open_redis(kind(), folder, authority.sign("server"), authority) as server:
        yield Stores(server, f"rediss://localhost:{server.port}/0?ssl_ca_certs={authority.file}", authority)


@contextlib.contextmanager
def secured_town(broker: SecuredKafka, stores: Stores, folder: Path, **settings: Any) -> Iterator[Town]:
    """A town whose workers may do what docs/security.md says, and nothing else; the test itself is an administrator."""
    stack: Any = SimpleNamespace(bootstrap_servers=broker.broker.address, redis_url=stores.url)
    user = {"username": "", "password": PASSWORD}
    with town(stack, folder, {"texts": 2, "frames": 2}, redis=user, **settings) as made:
        made.settings["redis"]["username"] = made.name
        if "sasl_plain_password" in made.settings["kafka"]:
            made.settings["kafka"]["sasl_plain_username"] = made.name
            broker.let_in(made.name)
        broker.allow(made.name, least(Settings.model_validate(made.settings)))
        acl(stores, made.name, "on", f">{PASSWORD}", *least_acl(made.name))
        yield made


def told(made: Town, seed: int) -> None:
    """A story goes in, and its verdicts come out: the oracle's. Each begins behind the end of the one before, whose
    frames have the same keys."""
    known = len(made.results)
    start_us = int(time.time() * 1e6) - 120_000_000 + known * 1_000_000
    events = story(seed, start_us, keys=3, anchors_per_key=6)
    made.feed(events)
    made.send("texts", "k", b"no text: \xff")
    made.flush()
    dead = len(made.dead)
    made.read_until(lambda: len(made.results) >= known + 18 and len(made.dead) > dead)
    assert verdicts(made.results[known:]) == nearest_frame(events)


@pytest.mark.parametrize(
    ("fetcher", "guarantee"),
    [
        ("librdkafka", "exactly_once"),
        ("kafka-python", "at_least_once"),
        pytest.param("kafka-python", "exactly_once", marks=pytest.mark.long),
        pytest.param("librdkafka", "at_least_once", marks=pytest.mark.long),
    ],
)
def test_the_least_rights_are_enough(
    kafka: SecuredKafka, stores: Stores, tmp_path: Path, fetcher: str, guarantee: str
) -> None:
    """Results and a dead letter, over SASL_SSL and Redis with TLS."""
    given = {**kafka.sasl("", "SCRAM-SHA-512"), "fetcher": fetcher}
    with secured_town(kafka, stores, tmp_path, kafka=given, delivery={"guarantee": guarantee}) as made:
        made.start()
        told(made, 1)
        assert made.stop() == [0]


@pytest.mark.parametrize("resource", ["TRANSACTIONAL_ID", "fusions", "texts"])
def test_a_right_that_is_taken_away_ends_the_worker_clearly(
    kafka: SecuredKafka, stores: Stores, tmp_path: Path, resource: str
) -> None:
    """Exit 3 and one line, and nothing is published under it."""
    given = {**kafka.sasl("", "SCRAM-SHA-256"), "fetcher": "kafka-python"}
    with secured_town(kafka, stores, tmp_path, kafka=given) as made:
        made.start()
        told(made, 2)
        kind = ResourceType.TRANSACTIONAL_ID if resource == "TRANSACTIONAL_ID" else ResourceType.TOPIC
        name = f"{made.name}-" if resource == "TRANSACTIONAL_ID" else f"{made.name}.{resource}"
        _take(kafka, made.name, kind, name)
        made.feed(story(3, int(time.time() * 1e6), keys=1, anchors_per_key=2))
        ended(made, "Kafka refuses access: ")


@pytest.mark.parametrize("command", ["hset", pytest.param("fcall", marks=pytest.mark.long)])
def test_a_right_in_redis_that_is_taken_away_ends_the_worker_and_loses_nothing(
    kafka: SecuredKafka, stores: Stores, tmp_path: Path, command: str
) -> None:
    """Of the worker's own and of what its functions do: exit 3 and one line; once given again, the next goes on."""
    with secured_town(kafka, stores, tmp_path, kafka=kafka.sasl("", "SCRAM-SHA-256")) as made:
        made.start()
        told(made, 7)
        acl(stores, made.name, f"-{command}")
        known, events = len(made.results), story(8, int(time.time() * 1e6), keys=1, anchors_per_key=4)
        made.feed(events)
        ended(made, "Redis refuses a right: ")
        acl(stores, made.name, f"+{command}")
        made.start()
        made.read_until(lambda: len(made.results) >= known + 4)
        assert verdicts(made.results[known:]) == nearest_frame(events)
        assert made.stop() == [0]


def test_redis_changes_its_certificate_and_then_its_password_under_a_running_worker(
    kafka: SecuredKafka, stores: Stores, tmp_path: Path
) -> None:
    """It goes on over new connections by the same authority, and while its password is one of two; once that is gone
    its connections still hold, and the first new one ends it: exit 3 and one line."""
    server = stores.server
    with secured_town(kafka, stores, tmp_path, kafka=kafka.sasl("", "SCRAM-SHA-512")) as made:
        made.start()
        told(made, 9)
        before = certificate(f"localhost:{server.port}")
        server.renew(stores.authority.sign("server", file="renewed"))
        assert certificate(f"localhost:{server.port}") != before
        acl(stores, made.name, ">another")
        assert hung_up(stores, made.name)
        told(made, 10)
        acl(stores, made.name, f"<{PASSWORD}")
        told(made, 11)
        assert hung_up(stores, made.name)
        ended(made, "Redis refuses access: ", "check redis.username and redis.password")


def acl(stores: Stores, user: str, *rules: str) -> None:
    """Changes what a user may do, or by which password."""
    stores.server.admin.execute_command("ACL", "SETUSER", user, *rules)


def hung_up(stores: Stores, user: str) -> int:
    """How many connections of that user there were; there are none now."""
    return int(stores.server.admin.execute_command("CLIENT", "KILL", "USER", user))


def ended(made: Town, *sentences: str) -> None:
    """The worker ends by itself with 3, and says why in one line, without its password: as its last word, or, where a
    library does not let it close, in its log."""
    (worker,) = made.workers
    assert worker.wait(LIVELINESS_SECONDS) == 3, made.log()
    made.workers.clear()
    written = (made.folder / f"{made.name}.log").read_text()
    (line,) = [line for line in written.splitlines() if sentences[0] in line]
    assert [sentence in line for sentence in sentences] == [True] * len(sentences), line
    assert not [other for other in written.splitlines() if not other.startswith("{") and other != line]
    assert PASSWORD not in written


def _take(kafka: SecuredKafka, user: str, kind: Any, name: str) -> None:
    pattern = ResourcePatternFilter(kind, name, ACLResourcePatternType.ANY)
    gone = ACLFilter(f"User:{user}", "*", ACLOperation.ANY, ACLPermissionType.ANY, pattern)
    ((_, matched, error),) = kafka.admin.delete_acls([gone])
    assert matched, error


@pytest.mark.long
@pytest.mark.parametrize("fetcher", ["librdkafka", "kafka-python"])
def test_certificates_are_renewed_under_a_running_worker(
    kafka: SecuredKafka, stores: Stores, tmp_path: Path, fetcher: str
) -> None:
    """The broker's own and the client's, each by the same authority: the worker goes on, also when it must connect
    again, and nothing is lost or doubled."""
    given = {**kafka.tls("mutual"), "fetcher": fetcher}
    with secured_town(kafka, stores, tmp_path, kafka=given) as made:
        pair = kafka.authority.sign(made.name)
        made.settings["kafka"] |= kafka.client(pair)
        made.start()
        told(made, 4)
        before = certificate(kafka.address("mutual"))
        kafka.renew("mutual")
        made.read_until(lambda: certificate(kafka.address("mutual")) != before)
        kafka.authority.sign(made.name)  # in the place of the other
        told(made, 5)
        kafka.restart()
        told(made, 6)
        assert made.stop() == [0]


@pytest.mark.long
@pytest.mark.parametrize("fetcher", ["librdkafka", "kafka-python"])
def test_a_password_of_kafka_that_changes_ends_the_worker_at_its_next_connection(
    kafka: SecuredKafka, stores: Stores, tmp_path: Path, fetcher: str
) -> None:
    """Those that it has still hold; exit 3 and one line; with the new one the next goes on, and nothing is lost."""
    given = {**kafka.sasl("", "SCRAM-SHA-512"), "fetcher": fetcher}
    with secured_town(kafka, stores, tmp_path, kafka=given) as made:
        made.start()
        told(made, 12)
        kafka.let_in(made.name, "another")
        told(made, 13)
        kafka.restart()
        ended(made, "Kafka refuses access: ")
        made.settings["kafka"]["sasl_plain_password"] = "another"
        made.start()
        told(made, 14)
        assert made.stop() == [0]


def certificate(address: str) -> str:
    """What a server shows now."""
    host, _, port = address.partition(":")
    return ssl.get_server_certificate((host, int(port)))
