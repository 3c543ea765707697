"""`kafka.fetcher`: who reads, and what of the connection librdkafka is told."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Consumer

from worker.broker.fetchers import choose
from worker.broker.group_fetcher import GroupFetcher
from worker.broker.librdkafka import MOST_BYTES, NAMES, connection_settings, consumer_settings, translated
from worker.broker.options import CONNECTION_KEYS, connection_options
from worker.config import Settings
from worker.errors import ConfigError, Fatal, Retryable, Unreachable

SERVERS = {"bootstrap_servers": ["a:9092", "b:9092"]}


def kafka(**given: Any) -> dict[str, Any]:
    """The section."""
    return Settings().kafka.model_dump() | given


def test_auto_takes_librdkafka_where_it_is_there() -> None:
    """And says which version."""
    assert choose(kafka()).told.startswith("librdkafka 2.")
    assert choose(kafka(fetcher="librdkafka")).told == choose(kafka()).told
    own = choose(kafka(fetcher="kafka-python"))
    assert own.told.startswith("kafka-python 3.")
    group: Any = object()
    assert own.make(group) is group


def test_where_it_is_not_there_auto_says_so_and_a_wish_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence with the remedy, exit status 2."""
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    chosen = choose(kafka())
    assert chosen.told.startswith("kafka-python")
    assert "pip install 'fusion-worker[fast]'" in chosen.instead
    with pytest.raises(ConfigError, match=r"kafka.fetcher = 'librdkafka': .*pip install 'fusion-worker\[fast\]'") as it:
        choose(kafka(fetcher="librdkafka"))
    assert it.value.exit_code == 2


def test_what_librdkafka_cannot_express_is_told() -> None:
    """auto reads by kafka-python then, and a wish is refused."""
    given = {"security_protocol": "SASL_SSL", "sasl_mechanism": "GSSAPI"}
    assert "sasl_mechanism = 'GSSAPI'" in choose(kafka(**given)).instead
    assert choose(kafka(**given)).told.startswith("kafka-python")
    with pytest.raises(ConfigError, match=r"kafka.fetcher = 'librdkafka': kafka.sasl_mechanism = 'GSSAPI'"):
        choose(kafka(fetcher="librdkafka", **given))


def test_every_setting_of_the_connection_has_its_counterpart() -> None:
    """None is dropped in silence; the client's key is looked for where kafka-python looks."""
    assert {*NAMES, "ssl_check_hostname"} == set(CONNECTION_KEYS)
    given = kafka(
        security_protocol="SASL_SSL", sasl_mechanism="SCRAM-SHA-256", sasl_plain_username="u", sasl_plain_password="p",
        ssl_cafile="ca.pem", ssl_certfile="cert.pem", ssl_password="s", ssl_check_hostname=False,
        bootstrap_servers="a:1, b:2",
    )  # fmt: skip
    told = connection_settings(connection_options(given))
    assert told == {
        "bootstrap.servers": "a:1,b:2", "reconnect.backoff.max.ms": 1000, "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-256", "sasl.username": "u", "sasl.password": "p", "ssl.ca.location": "ca.pem",
        "ssl.certificate.location": "cert.pem", "ssl.key.location": "cert.pem", "ssl.key.password": "s",
        "ssl.endpoint.identification.algorithm": "none",
    }  # fmt: skip
    told = connection_settings(connection_options(kafka(ssl_certfile="c", ssl_keyfile="k")))
    assert (told["ssl.certificate.location"], told["ssl.key.location"]) == ("c", "k")
    assert "ssl.endpoint.identification.algorithm" not in told


@pytest.mark.parametrize("fetch_max_bytes", [1, 2**10, 16 * 2**20, MOST_BYTES, 2**40])
def test_librdkafka_takes_any_size(fetch_max_bytes: int) -> None:
    """Its settings bound each other, and it refuses what lies beyond."""
    Consumer(consumer_settings(SERVERS, "g", fetch_max_bytes), logger=logging.getLogger("librdkafka")).close()


def test_settings_that_librdkafka_refuses_are_the_configuration_s_error(tmp_path: Path) -> None:
    """A file of certificates that is not there."""
    given = kafka(security_protocol="SSL", ssl_cafile=str(tmp_path / "nowhere.pem"))
    group: Any = object.__new__(GroupFetcher)
    with pytest.raises(ConfigError, match=r"librdkafka does not take the settings: .*ssl.ca.location") as it:
        choose(given).make(group)
    assert it.value.exit_code == 2


def failure(name: str, *, fatal: bool = False) -> Any:
    """A KafkaError of confluent-kafka's."""
    return SimpleNamespace(name=lambda: name, str=lambda: "it says", fatal=lambda: fatal)


@pytest.mark.parametrize(
    ("name", "kind", "sentence"),
    [
        ("_AUTO_OFFSET_RESET", Fatal, "t/3 has no offset 7: its records were deleted before they were read"),
        ("OFFSET_OUT_OF_RANGE", Fatal, "t/3 has no offset 7: its records were deleted before they were read"),
        ("_LOG_TRUNCATION", Fatal, "t/3 has no offset 7: its records were deleted before they were read"),
        ("_BAD_MSG", Fatal, "t/3/7: the batch cannot be unpacked (_BAD_MSG: it says); nothing of it was committed"),
        ("_BAD_COMPRESSION", Fatal, "t/3/7: the batch cannot be unpacked (_BAD_COMPRESSION: it says); nothing"),
        ("INVALID_MSG", Fatal, "t/3/7: the batch cannot be unpacked"),
        ("_AUTHENTICATION", Unreachable, "Kafka refuses access: _AUTHENTICATION: it says; check kafka.sasl_*"),
        ("TOPIC_AUTHORIZATION_FAILED", Unreachable, "Kafka refuses access: TOPIC_AUTHORIZATION_FAILED"),
        ("_ALL_BROKERS_DOWN", Retryable, "Kafka: _ALL_BROKERS_DOWN: t/3: it says"),
        ("UNKNOWN_TOPIC_OR_PART", Retryable, "Kafka: UNKNOWN_TOPIC_OR_PART: t/3: it says"),
    ],
)
def test_what_librdkafka_says_is_one_of_our_errors(name: str, kind: type[Exception], sentence: str) -> None:
    """In the sentences that kafka-python's errors give."""
    told = translated(failure(name), "t", 3, 7)
    assert type(told) is kind
    assert str(told).startswith(sentence)


def test_what_librdkafka_cannot_go_on_from_ends_the_process() -> None:
    """Whatever its name."""
    assert isinstance(translated(failure("_INCONSISTENT", fatal=True)), Fatal)
