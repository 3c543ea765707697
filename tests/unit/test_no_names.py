"""Hosts that no resolver takes, and arguments that are empty or not UTF-8: one line and 2, before anything connects."""

from __future__ import annotations

import pytest

from worker.cli import main
from worker.destinations import Sql
from worker.errors import ConfigError
from worker.feeds.named import all_named
from worker.settings import load
from worker.sinks.sql import SqlDestination

NO_HOSTS = ["a..b", f"{'a' * 64}.org", ".a"]
ADDRESSES = {
    "http.host": "{}",
    "feeds.mqtt.host": "{}",
    "sinks.mqtt.host": "{}",
    "kafka.bootstrap_servers": "localhost:9092, {}:9092",
    "redis.url": "redis://joe:s3cret@{}:6379/0",
    "traces.endpoint": "https://{}/v1/traces",
    "sinks.webhook.url": "https://{}/s3cret",
}
# One that Python reads from a byte that is no UTF-8.
BYTE = "s3cret\udcff"


@pytest.mark.parametrize("host", NO_HOSTS)
@pytest.mark.parametrize("key", ADDRESSES)
def test_a_host_that_is_no_name_is_refused_with_the_configuration(key: str, host: str) -> None:
    """The line names the key, and no secret that stands in the address."""
    with pytest.raises(ConfigError) as caught:
        load(None, [f"{key}={ADDRESSES[key].format(host)}"], {})
    assert str(caught.value).startswith(f"{key} = ")
    assert "the host is no name: between its dots stand 1 to 63 characters each" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "host", ["b", "b.", "b-1.example.org", "k_1", "m\u00fcller.de", "127.0.0.1", f"{'a' * 63}.org"]
)
def test_a_name_is_taken(host: str) -> None:
    """Also one of other letters, and an address; those of IPv6 in brackets where a port follows."""
    for key, address in ADDRESSES.items():
        load(None, [f"{key}={address.format(host)}"], {})
    load(None, ["http.host=::1", "kafka.bootstrap_servers=[::1]:9092", "redis.url=redis://[::1]:6379/0"], {})


@pytest.mark.parametrize("host", NO_HOSTS)
@pytest.mark.parametrize("source", ["rtsp://joe:s3cret@{}/x", "cam=rtsp://joe:s3cret@{}:554/x", "cam=http://{}:80"])
def test_a_camera_at_such_a_host_is_refused(host: str, source: str) -> None:
    """With a key and without; it would be asked for without end."""
    with pytest.raises(ConfigError, match="SOURCE: the host is no name") as caught:
        all_named([source.format(host)], None)
    assert "s3cret" not in str(caught.value)


def test_so_is_a_database() -> None:
    """Before its driver looks for it."""
    with pytest.raises(ConfigError, match=r"sinks.sql.url: the host is no name"):
        SqlDestination(Sql(url="postgresql+psycopg://u:s3cret@a..b/db"), create=False)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["forget", "--key", BYTE], "argument 3: is not UTF-8"),
        (["explain", "--find", BYTE], "argument 3: is not UTF-8"),
        (["record", "--out", BYTE], "argument 3: is not UTF-8"),
        (["review", BYTE, BYTE], "argument 2, 3: is not UTF-8"),
        (["check", "--set", f"redis.password={BYTE}"], "argument 3: is not UTF-8"),
        (["train", "--name", BYTE], "argument 3: is not UTF-8"),
        ([BYTE], "argument 1: is not UTF-8"),
        (["forget", "--key", ""], "argument --key: is empty"),
        (["explain", "--find", ""], "argument --find: is empty"),
        (["sink", "mqtt", "--forget", ""], "argument --forget: is empty"),
        (["feed", "video", "--key", "", "x.mp4"], "argument --key: is empty"),
        (["feed", "mqtt", "--key", ""], "argument --key: is empty"),
    ],
)
def test_an_argument_that_is_none_is_refused(command: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of any command; what it holds is not repeated, since it may be a secret."""
    assert main(command) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "s3cret" not in told
    assert len(told.splitlines()) == 1


def test_a_variable_that_is_not_utf8_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the configuration, and in a camera's address."""
    with pytest.raises(ConfigError, match="environment 'FUSION__REDIS__PASSWORD': is not UTF-8"):
        load(None, [], {"FUSION__REDIS__PASSWORD": BYTE})
    monkeypatch.setenv("CAMERA_PASSWORD", BYTE)
    with pytest.raises(ConfigError, match="SOURCE: the environment's CAMERA_PASSWORD is not UTF-8"):
        all_named(["cam=rtsp://joe:${CAMERA_PASSWORD}@host/x"], None)


def test_what_is_not_utf8_stops_no_variable_of_others() -> None:
    """Only those of the configuration are looked at."""
    load(None, [], {"LESSOPEN": BYTE})
