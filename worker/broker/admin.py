"""Questions to the cluster outside the data's way: is it there, which topics exist, create them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import (
    AuthorizationError,
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    GroupAuthorizationFailedError,
    KafkaError,
    NotCoordinatorError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from worker.broker.entrance import ensure_let_in
from worker.broker.faults import ACCESS_REMEDY
from worker.errors import ConfigError, Retryable, Unreachable
from worker.records import Partition

# How long one question may take once the cluster was reached.
ANSWER_TIMEOUT_SECONDS = 10.0
_TOPIC_ALREADY_EXISTS = 36
_AGAIN_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class NewTopic:
    """A topic to be created; what `configs` does not name is as the broker has it."""

    name: str
    partitions: int
    replication_factor: int
    configs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a cluster tells of itself.

    Attributes:
        version: by what its brokers can do; the client tells no finer.
        configs: broker -> its configuration; None where this user may not see it.
    """

    brokers: int
    version: str
    configs: Mapping[str, Mapping[str, str]] | None


def ensure_reachable(options: Mapping[str, Any], timeout_seconds: float) -> None:
    """Waits until the cluster answers.

    Args:
        options: what `connection_options` gives.

    Raises:
        Unreachable: no answer in time, or access was refused.
        ConfigError: an address that is not host:port.
    """
    with _admin(options, timeout_seconds) as admin:
        admin.describe_cluster()


def cluster_of(options: Mapping[str, Any], timeout_seconds: float) -> Cluster:
    """Waits until the cluster answers; raises as `ensure_reachable`."""
    with _admin(options, timeout_seconds) as admin:
        names = [str(broker["broker_id"]) for broker in admin.describe_cluster()["brokers"]]
        version = ".".join(map(str, admin._manager.broker_version))
        return Cluster(len(names), version, _configs(admin, ConfigResourceType.BROKER, names))


def partitions_of(
    options: Mapping[str, Any], names: Sequence[str], timeout_seconds: float = ANSWER_TIMEOUT_SECONDS
) -> dict[str, int]:
    """The number of partitions of each named topic that exists; asking creates none.

    Raises:
        Unreachable: as `ensure_reachable`, or this user may not see one.
    """
    described = described_topics(options, names, timeout_seconds)
    forbidden = [one["name"] for one in described if one["error_code"] == TopicAuthorizationFailedError.errno]
    if forbidden:
        told = ", ".join(forbidden)
        raise Unreachable(f"Kafka does not let this user see {told}; it needs DESCRIBE there; {ACCESS_REMEDY}")
    return {topic["name"]: len(topic["partitions"]) for topic in described if topic["partitions"]}


def described_topics(
    options: Mapping[str, Any], names: Sequence[str], timeout_seconds: float = ANSWER_TIMEOUT_SECONDS
) -> list[dict[str, Any]]:
    """What the cluster tells of each: `name`, `error_code`, `partitions`, `authorized_operations` (Kafka's names).

    Raises:
        Unreachable: as `ensure_reachable`.
    """
    with _admin(options, timeout_seconds) as admin:
        found: list[dict[str, Any]] = admin.describe_topics(list(names))
    return found


def is_gone(options: Mapping[str, Any], partition: Partition, timeout_seconds: float) -> bool:
    """True when the cluster says that there is no such partition; one that this user may not see is not gone.

    Raises:
        Retryable: no answer.
    """
    try:
        with _admin(options, timeout_seconds) as admin:
            told = next(iter(admin.describe_topics([partition.topic])), None)
    except Unreachable as error:
        raise Retryable(str(error)) from error
    if told is None or told["error_code"] not in (0, UnknownTopicOrPartitionError.errno):
        raise Retryable(f"Kafka does not tell of topic {partition.topic}")
    return partition.number >= len(told["partitions"])


def missing_topics(options: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Those of `names` that do not exist, in the order given.

    Raises:
        Unreachable: as `partitions_of`.
    """
    existing = partitions_of(options, names)
    return [name for name in names if name not in existing]


def configs_of(
    options: Mapping[str, Any], names: Sequence[str], timeout_seconds: float = ANSWER_TIMEOUT_SECONDS
) -> dict[str, dict[str, str]] | None:
    """Every configuration in force of the named topics; None where this user may not see it.

    Raises:
        Unreachable: as `ensure_reachable`.
    """
    with _admin(options, timeout_seconds) as admin:
        return _configs(admin, ConfigResourceType.TOPIC, names)


def _configs(admin: Any, kind: ConfigResourceType, names: Sequence[str]) -> dict[str, dict[str, str]] | None:
    try:
        told = admin.describe_configs([ConfigResource(kind, name) for name in names], config_filter="all")
    except AuthorizationError:
        return None
    found: dict[str, Any] = next(iter(told.values()), {})
    if not all(found.get(name) for name in names):
        return None
    return {name: {key: str(one["value"]) for key, one in keys.items()} for name, keys in found.items()}


def group_operations(
    options: Mapping[str, Any], group_id: str, timeout_seconds: float = ANSWER_TIMEOUT_SECONDS
) -> Sequence[str] | None:
    """What this user may do with the group, in Kafka's names: nothing when it may not see it, None where the cluster
    does not tell, since there is no such group yet.

    Raises:
        Unreachable: as `ensure_reachable`.
    """
    deadline = time.monotonic() + timeout_seconds
    with _admin(options, timeout_seconds) as admin:
        while True:
            try:
                found: Sequence[str] | None = admin.describe_groups([group_id])[group_id]["authorized_operations"]
            except GroupAuthorizationFailedError:
                return ()
            except (CoordinatorNotAvailableError, CoordinatorLoadInProgressError, NotCoordinatorError):
                # The first question for any group makes a new cluster create the topic of offsets.
                if time.monotonic() > deadline:
                    raise
                time.sleep(_AGAIN_SECONDS)
            else:
                return found


def create_topics(
    options: Mapping[str, Any], topics: Sequence[NewTopic], timeout_seconds: float
) -> tuple[list[str], list[str]]:
    """Creates topics and waits until each has a leader.

    Returns:
        The names created, and the names that existed; the latter are left as they are.

    Raises:
        Unreachable: as `ensure_reachable`.
        ConfigError: the cluster refused a topic, with its reason.
    """
    wanted = {topic.name: _description(topic) for topic in topics}
    with _admin(options, timeout_seconds) as admin:
        answers = admin.create_topics(wanted, raise_errors=False)["topics"]
        created = [answer["name"] for answer in answers if not answer["error_code"]]
        existing = [answer["name"] for answer in answers if answer["error_code"] == _TOPIC_ALREADY_EXISTS]
        refused = [answer for answer in answers if answer["name"] not in {*created, *existing}]
        admin.wait_for_topics(created, timeout_ms=int(timeout_seconds * 1000))
    if refused:
        reasons = "; ".join(f"{answer['name']!r}: {answer['error_message']}" for answer in refused)
        done = f" (created before: {', '.join(created)})" if created else ""
        raise ConfigError(f"Kafka refuses to create {reasons}{done}")
    return created, existing


def _description(topic: NewTopic) -> dict[str, Any]:
    told = {"num_partitions": topic.partitions, "replication_factor": topic.replication_factor}
    return told | {"configs": dict(topic.configs)}


@contextlib.contextmanager
def _admin(options: Mapping[str, Any], timeout_seconds: float) -> Iterator[Any]:
    servers = ", ".join(options["bootstrap_servers"])
    began = time.monotonic()
    timeout_ms = max(1, int(timeout_seconds * 1000))
    try:
        ensure_let_in(options, timeout_seconds)
        admin = KafkaAdminClient(**options, bootstrap_timeout_ms=timeout_ms, request_timeout_ms=timeout_ms)
    except KafkaError as error:
        raise _unreachable(error, servers, time.monotonic() - began) from error
    except ValueError as error:
        raise ConfigError(
            f"kafka.bootstrap_servers = {servers!r} or kafka.sasl_*: {error}; an address is host:port"
        ) from error
    try:
        yield admin
    except KafkaError as error:
        raise _unreachable(error, servers, time.monotonic() - began) from error
    finally:
        admin.close()


def _unreachable(error: KafkaError, servers: str, seconds: float) -> Unreachable:
    name = type(error).__name__
    if "Authorization" in name or "Authentication" in name or "Sasl" in name:
        return Unreachable(f"Kafka at {servers} refuses access ({error}); {ACCESS_REMEDY}")
    return Unreachable(
        f"Kafka at kafka.bootstrap_servers = {servers!r} not reached within {seconds:.1f} s ({error}); check that a "
        "broker runs there, that its "
        "advertised listeners are reachable from here, kafka.security_protocol and kafka.sasl_*"
    )
