"""What sources of live feeds that cannot be had are said to be."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from worker.cli import main
from worker.destinations import Sql
from worker.errors import ConfigError
from worker.feeds.messages.command import chosen_file
from worker.feeds.messages.onvif import Account
from worker.feeds.named import all_named
from worker.feeds.video.container import Unplayable, opened
from worker.settings import load
from worker.sinks.sql import SqlDestination

UNCLEAR = ["rtsp://u:p[w@127.0.0.1:9/x", "http://[::1/x", "http://u:p[w@127.0.0.1/x"]
STREAMS = """
[streams.reports]
topic = "reports"
modality = "text"
role = "anchor"
[streams.readings]
topic = "readings"
modality = "sensor"
role = "context"
match = "latest"
before = "9s"
[streams.cameras]
topic = "cameras"
modality = "image"
role = "context"
match = "latest"
before = "9s"
"""


def test_a_host_that_there_is_not_is_told_in_words_without_the_password() -> None:
    """PyAV calls it an input/output error."""
    with pytest.raises(Unplayable) as error:
        opened("rtsp://joe:s3cret@no-such-host.invalid/stream")
    assert "there is no host 'no-such-host.invalid'" in str(error.value)
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize(
    "address", ["junction-12", "rtsp://junction-12/x", "http://", "http://a:b@c:99999", "http://c:0", *UNCLEAR]
)
def test_what_is_no_address_of_an_onvif_camera_is_refused(address: str) -> None:
    """A name alone would be asked for without end."""
    with pytest.raises(
        ConfigError, match="SOURCE: gate: an ONVIF camera is http://HOST:PORT, user and password before"
    ):
        Account.at("gate", address)


@pytest.mark.parametrize("address", UNCLEAR)
def test_an_address_whose_host_cannot_be_told_is_one_line_without_the_password(address: str) -> None:
    """As a source without a key it has no name; with one FFmpeg reads it, and says why it cannot."""
    with pytest.raises(ConfigError, match="SOURCE: where the host of an address stands is not clear") as error:
        all_named([address], None)
    assert "p[w" not in str(error.value)
    [(key, _)] = all_named([f"cam={address}"], None)
    assert key == "cam"
    with pytest.raises(Unplayable) as lost:
        opened(address)
    assert "p[w" not in str(lost.value)


@pytest.mark.parametrize(
    ("key", "address", "said"),
    [
        ("sinks.webhook.url", "http://[::1/x", "its host cannot be told"),
        ("sinks.webhook.url", "http://h:99999/x", "the port must be a number from 1 to 65535"),
        ("sinks.webhook.url", "http://:80/x", "it names no host"),
        ("sinks.webhook.url", "http://u@h/x", "it names no host, or holds a user"),
        ("traces.endpoint", "http://[::1/x", "its host cannot be told"),
        ("traces.endpoint", "http://h:0/x", "the port must be a number from 1 to 65535"),
        ("redis.url", "redis://[::1/0", "its host cannot be told"),
    ],
)
def test_an_address_of_the_configuration_that_cannot_be_read_is_one_line(key: str, address: str, said: str) -> None:
    """Before anything connects, with the key."""
    with pytest.raises(ConfigError) as error:
        load(None, [f"{key}={address}"], {})
    assert str(error.value).startswith(f"{key} = ")
    assert said in str(error.value)


@pytest.mark.parametrize("url", ["postgresql+psycopg://u@h:99x/db", "postgresql+psycopg://u@[::1/db", "results.db"])
def test_an_address_of_no_database_is_one_line(url: str) -> None:
    """Whatever SQLAlchemy stumbles over."""
    with pytest.raises(ConfigError, match=r"sinks.sql.url: is no address of SQLAlchemy"):
        SqlDestination(Sql(url=url), create=False)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["onvif"], "feed onvif: name a camera"),
        (["onvif", "gate=rtsp://h/x"], "SOURCE: gate: an ONVIF camera is"),
        (["onvif", "g=http://h", "g=http://i"], "two have the key 'g'"),
        (["video", "${NOT_THERE}"], "the environment has no NOT_THERE"),
        (["video", "a=1.mp4", "a=2.mp4"], "two have the key 'a'"),
        (["video", "none.mp4"], "SOURCE: none.mp4: there is no such file or folder"),
    ],
)
def test_what_is_wrong_with_sources_is_told_before_kafka_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str], said: str
) -> None:
    """Nobody waits for a server to learn of a slip of his own."""
    config = tmp_path / "fusion.toml"
    config.write_text(STREAMS)
    away = ["--set", "kafka.bootstrap_servers=127.0.0.1:1", "--set", "kafka.startup_timeout=1s"]
    assert main(["feed", *command, "--config", str(config), *away]) == 2
    assert said in capsys.readouterr().err


def test_a_preset_and_a_mapping_are_one_too_many() -> None:
    """And none is too few."""
    with pytest.raises(ConfigError, match="or --mapping FILE, not both"):
        chosen_file(Namespace(kind="mqtt", preset="frigate", mapping="mine.toml"))
    with pytest.raises(ConfigError, match=r"or --mapping FILE$"):
        chosen_file(Namespace(kind="mqtt", preset=None, mapping=None))
