"""Files of certificates for MQTT and for webhooks that do not fit are told before any server is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.security.certificates import Authority
from worker.destinations import Webhook
from worker.errors import ConfigError
from worker.mqtt import tls_context
from worker.servers import MqttBroker
from worker.sinks.webhook import WebhookDestination


def broker(**given: Any) -> MqttBroker:
    """Over TLS."""
    return MqttBroker.model_validate({"host": "localhost", "tls": True, **given})


def test_what_does_not_fit_is_told_by_its_key(tmp_path: Path) -> None:
    """Of MQTT each file, of a webhook its authorities; what fits is taken."""
    authority = Authority(tmp_path, "authority")
    pair, other, locked = authority.sign("a"), authority.sign("b"), authority.sign("c", password="planted")
    (text := tmp_path / "text").write_text("no certificate")
    own, key = str(pair.certificate), str(pair.key)
    cases: list[tuple[dict[str, str], str]] = [
        ({"ca_file": "/absent"}, "x.ca_file = '/absent': no such file"),
        ({"ca_file": str(text)}, f"x.ca_file = '{text}': holds no certificate that can be read"),
        ({"certfile": own, "keyfile": "/absent"}, "x.keyfile = '/absent': no such file"),
        ({"certfile": own, "keyfile": str(other.key)}, f"is not the key of x.certfile = '{own}'"),
        ({"certfile": str(locked.certificate), "keyfile": str(locked.key)}, "is locked; give one that is not"),
    ]
    for given, said in cases:
        with pytest.raises(ConfigError) as caught:
            tls_context(broker(**given), "x")
        assert said in str(caught.value)
    assert tls_context(broker(ca_file=str(authority.file), certfile=own, keyfile=key), "x") is not None
    for path, said in (("/absent", "no such file"), (str(text), "holds no certificate that can be read")):
        with pytest.raises(ConfigError, match=f"sinks.webhook.ca_file = '{path}': {said}"):
            WebhookDestination(Webhook(url="https://localhost/", ca_file=path))
    WebhookDestination(Webhook(url="https://localhost/", ca_file=str(authority.file))).close()
