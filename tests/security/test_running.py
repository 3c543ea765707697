"""Workers under exactly the least rights, over TLS on both sides: a story comes to its end, across rotations too."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Iterator
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


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str]]:
    """A Redis over TLS and its address."""
    folder = tmp_path_factory.mktemp("stores")
    authority = Authority(folder, "authority")
    with open_redis(kind(), folder, authority.sign("server"), authority) as server:
        yield server, f"rediss://localhost:{server.port}/0?ssl_ca_certs={authority.file}"


@contextlib.contextmanager
def secured_town(broker: SecuredKafka, stores: tuple[Any, str], folder: Path, **settings: Any) -> Iterator[Town]:
    """A town whose workers may do what docs/security.md says, and nothing else; the test itself is an administrator."""
    server, url = stores
    stack: Any = SimpleNamespace(bootstrap_servers=broker.broker.address, redis_url=url)
    user = {"username": "", "password": PASSWORD}
    with town(stack, folder, {"texts": 2, "frames": 2}, redis=user, **settings) as made:
        made.settings["redis"]["username"] = made.name
        if "sasl_plain_password" in made.settings["kafka"]:
            made.settings["kafka"]["sasl_plain_username"] = made.name
            broker.let_in(made.name)
        broker.allow(made.name, least(Settings.model_validate(made.settings)))
        rules = least_acl(made.name)
        server.admin.execute_command("ACL", "SETUSER", made.name, "on", f">{PASSWORD}", *rules)
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
    kafka: SecuredKafka, stores: tuple[Any, str], tmp_path: Path, fetcher: str, guarantee: str
) -> None:
    """Results and a dead letter, over SASL_SSL and Redis with TLS."""
    given = {**kafka.sasl("", "SCRAM-SHA-512"), "fetcher": fetcher}
    with secured_town(kafka, stores, tmp_path, kafka=given, delivery={"guarantee": guarantee}) as made:
        made.start()
        told(made, 1)
        assert made.stop() == [0]


@pytest.mark.parametrize("resource", ["TRANSACTIONAL_ID", "fusions", "texts"])
def test_a_right_that_is_taken_away_ends_the_worker_clearly(
    kafka: SecuredKafka, stores: tuple[Any, str], tmp_path: Path, resource: str
) -> None:
    """Exit 3 and one line, and nothing is published under it."""
    given = {**kafka.sasl("", "SCRAM-SHA-256"), "fetcher": "kafka-python"}
    with secured_town(kafka, stores, tmp_path, kafka=given) as made:
        (worker,) = made.start()
        told(made, 2)
        kind = ResourceType.TRANSACTIONAL_ID if resource == "TRANSACTIONAL_ID" else ResourceType.TOPIC
        name = f"{made.name}-" if resource == "TRANSACTIONAL_ID" else f"{made.name}.{resource}"
        _take(kafka, made.name, kind, name)
        made.feed(story(3, int(time.time() * 1e6), keys=1, anchors_per_key=2))
        assert worker.wait(LIVELINESS_SECONDS) == 3, made.log()
        made.workers.clear()
        assert "Kafka refuses access: " in made.log()
        assert "Traceback" not in made.log()


def _take(kafka: SecuredKafka, user: str, kind: Any, name: str) -> None:
    pattern = ResourcePatternFilter(kind, name, ACLResourcePatternType.ANY)
    gone = ACLFilter(f"User:{user}", "*", ACLOperation.ANY, ACLPermissionType.ANY, pattern)
    ((_, matched, error),) = kafka.admin.delete_acls([gone])
    assert matched, error


@pytest.mark.long
@pytest.mark.parametrize("fetcher", ["librdkafka", "kafka-python"])
def test_certificates_are_renewed_under_a_running_worker(
    kafka: SecuredKafka, stores: tuple[Any, str], tmp_path: Path, fetcher: str
) -> None:
    """The broker's own and the client's, each by the same authority: the worker goes on, also when it must connect
    again, and nothing is lost or doubled."""
    given = {**kafka.tls("mutual"), "fetcher": fetcher}
    with secured_town(kafka, stores, tmp_path, kafka=given) as made:
        pair = kafka.authority.sign(made.name)
        made.settings["kafka"] |= kafka.client(pair)
        made.start()
        told(made, 4)
        before = shown(kafka)
        kafka.renew("mutual")
        made.read_until(lambda: shown(kafka) != before)
        kafka.authority.sign(made.name)  # in the place of the other
        told(made, 5)
        kafka.broker.stop()
        kafka.broker.start()
        told(made, 6)
        assert made.stop() == [0]


def shown(kafka: SecuredKafka) -> str:
    """The certificate that the broker shows now."""
    host, _, port = kafka.address("mutual").partition(":")
    return ssl.get_server_certificate((host, int(port)))
