"""`fusion-worker sink mqtt` against a real Kafka and a real MQTT broker, read as Home Assistant reads it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Template

from tests.mqtt_broker import PASSWORD, USER, listener, mqtt_broker
from tests.security.certificates import Authority
from tests.sinks import result, sinks, wait_until
from worker.sinks.home_assistant import slug

# What Home Assistant documents for MQTT discovery by device, and for its sensors and binary sensors.
_OF_DEVICE = {"identifiers", "name", "manufacturer", "model"}
_OF_ENTITY = {
    "platform", "unique_id", "name", "icon", "state_topic", "value_template", "json_attributes_topic", "state_class",
    "device_class", "suggested_display_precision", "entity_category", "expire_after",
}  # fmt: skip
_KEYS = ("junction-12", "Kreuzung/Süd #3", "+")


def states_of(config: dict[str, Any], retained: dict[str, bytes]) -> dict[str, str]:
    """What Home Assistant's entities of a device show."""
    import json

    shown = {}
    for name, entity in config["components"].items():
        value_json = json.loads(retained[entity["state_topic"]])
        shown[name] = Template(entity["value_template"]).render(value_json=value_json)
    return shown


def test_home_assistant_finds_each_key_and_its_last_verdict(stack: Any, tmp_path: Path) -> None:
    """Documented fields alone, ids that stay, topics that any key may have, states and attributes; later than the
    results too, since they are retained."""
    with sinks(stack, tmp_path) as made, mqtt_broker(tmp_path / "broker") as broker:
        rows = [result(key, n, label=f"label {n}") for n in range(4) for key in _KEYS]
        made.feed(rows)
        assert made.run("mqtt", host="127.0.0.1", port=broker.port, expire_after="1h") == 0
        with listener(broker) as home:
            wait_until(lambda: len(home.of("/config")) == 3 and len(home.of("/attributes")) == 3)
            retained = home.retained()
            configs = {config["device"]["name"]: config for config in home.of("/config")}
        assert configs.keys() == set(_KEYS)
        assert len({entity["unique_id"] for c in configs.values() for entity in c["components"].values()}) == 12
        for key, config in configs.items():
            assert f"homeassistant/device/fusion/{slug(key)}/config" in retained
            assert re.fullmatch(r"[a-zA-Z0-9_-]+", slug(key))
            assert config["device"].keys() <= _OF_DEVICE
            assert config["origin"]["name"] == "fusion-worker"
            assert config["availability_topic"] == "fusion/status"
            for entity in config["components"].values():
                assert entity.keys() <= _OF_ENTITY
                assert entity["platform"] in ("sensor", "binary_sensor")
                assert entity["expire_after"] == 3600
            last = [one for one in rows if one["key"] == key][-1]
            shown = states_of(config, retained)
            assert shown == {"label": "label 3", "score": "0.93", "time": last["time"], "complete": "ON"}
        assert retained["fusion/status"] == b"offline"


def test_a_broker_that_hangs_and_one_that_is_restarted_lose_nothing(stack: Any, tmp_path: Path) -> None:
    """Every result comes, of each key in order, and after a restart the devices are told again."""
    with sinks(stack, tmp_path, 1) as made, mqtt_broker(tmp_path / "broker") as broker:
        ids = made.feed([result("k", 0)])
        sink = made.start("mqtt", host="127.0.0.1", port=broker.port, timeout="1s", retry_max="1s", batch=4)
        with listener(broker) as home:
            wait_until(lambda: any(one["id"] == ids[0] for one in home.of("/attributes")))
            with broker.hanging():
                ids += made.feed([result("k", n) for n in range(1, 20)])
                wait_until(lambda: any(line["event"] == "not delivered" for line in made.log()))
            wait_until(lambda: {one["id"] for one in home.of("/attributes")} == set(ids))
            order = list(dict.fromkeys(one["id"] for one in home.of("/attributes")))
            assert order == ids
        broker.stop()
        ids += made.feed([result("k", n) for n in range(20, 25)])
        broker.start()
        with listener(broker) as home:
            wait_until(lambda: any(one["id"] == ids[-1] for one in home.of("/attributes")))
            assert home.of("/config")
            assert home.retained()["fusion/status"] == b"online"
            sink.kill()
            wait_until(lambda: home.retained()["fusion/status"] == b"offline")


def test_killed_before_the_commit_the_last_verdict_stays(stack: Any, tmp_path: Path) -> None:
    """SIGKILL after the broker's answer, before Kafka's: each key's last result is retained, and none is missing."""
    with sinks(stack, tmp_path) as made, mqtt_broker(tmp_path / "broker") as broker, listener(broker) as home:
        rows = [result(f"k{n % 3}", n) for n in range(30)]
        ids = made.feed(rows)
        assert made.run("mqtt", harness=["--kill", "1"], host="127.0.0.1", port=broker.port, batch=10) == -9
        assert made.run("mqtt", host="127.0.0.1", port=broker.port) == 0
        wait_until(lambda: {one["id"] for one in home.of("/attributes")} == set(ids))
        last = {row["key"]: row["id"] for row in rows}
        wait_until(lambda: {one["key"]: one["id"] for one in home.of("/attributes")} == last)


@pytest.mark.long
def test_tls_and_users(stack: Any, tmp_path: Path) -> None:
    """A right password passes; a wrong one, and a certificate of another authority, are one line and 3; a key is
    forgotten."""
    authority = Authority(tmp_path, "authority")
    pair = authority.sign("server")
    other = Authority(tmp_path, "other")
    tls = (str(pair.certificate), str(pair.key))
    with sinks(stack, tmp_path) as made, mqtt_broker(tmp_path / "broker", tls=tls, users=True) as broker:
        made.feed([result("k", 0)])
        right = {"host": "localhost", "port": broker.port, "tls": "true", "username": USER}
        right["ca_file"] = str(authority.file)
        assert made.run("mqtt", password=PASSWORD, **right) == 0
        code, line = made.fails("mqtt", password="wrong-password", **right)
        assert (code, "refuses this user" in line, "wrong-password" in line) == (3, True, False)
        code, line = made.fails("mqtt", password=PASSWORD, **{**right, "ca_file": str(other.file)})
        assert (code, "certificate is not accepted" in line) == (3, True)
        code, line = made.fails("mqtt", "--set", "kafka.startup_timeout=1s", host="127.0.0.1", port=1)
        assert (code, "127.0.0.1:1 is not reached" in line) == (3, True)
        assert made.start("mqtt", "--forget", "k", password=PASSWORD, **right).wait(30) == 0
