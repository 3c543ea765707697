"""One real broker with a listener for each way in, users, and ACLs that the test gives out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ConfigResource,
    ConfigResourceType,
    NewTopic,
    ResourcePattern,
    ResourceType,
    UserScramCredentialUpsertion,
)

from tests.security.certificates import HERE, Authority, Pair
from worker.broker.rights import Right
from worker.demo.kafka import EmbeddedKafka
from worker.demo.processes import free_port

# What breaks a line, a URL, a JAAS entry or a format that is not quoted.
PASSWORD = "p/a#s@s%20:w=o rd"
# Listener -> its security.protocol; each has a port of its own.
_PROTOCOLS = {
    "tls": "SSL", "mutual": "SSL", "expired": "SSL", "elsewhere": "SSL", "sasl": "SASL_SSL", "bare": "SASL_PLAINTEXT",
}  # fmt: skip
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"


class SecuredKafka:
    """A broker that lets the world in by its PLAINTEXT port as an administrator, and by all others as who they are.

    `plain` users sign in by PLAIN with PASSWORD; every user of `let` may do what he was given, and nothing else.
    """

    def __init__(self, jars: Path, folder: Path, users: Sequence[str]) -> None:
        self.folder = folder
        self.authority, self.other = Authority(folder, "authority"), Authority(folder, "other-authority")
        self._ports = {name: free_port() for name in _PROTOCOLS}
        for name, hosts, days in (("broker", HERE, 5), ("broker-expired", HERE, -1), ("broker-far", ["far.test"], 5)):
            self.authority.sign(name, hosts, days=days)
        port = free_port()
        self.broker = EmbeddedKafka(jars, folder, {**self._properties(port, users)}, port)
        self.admin = KafkaAdminClient(bootstrap_servers=self.broker.address)

    def _properties(self, port: int, users: Sequence[str]) -> dict[str, str]:
        listeners = {name: f"{name.upper()}://127.0.0.1:{number}" for name, number in self._ports.items()}
        controller = f"CONTROLLER://127.0.0.1:{free_port()}"
        protocols = ",".join(f"{name.upper()}:{protocol}" for name, protocol in _PROTOCOLS.items())
        every = ",".join([f"PLAINTEXT://127.0.0.1:{port}", *listeners.values()])
        found = {
            "listeners": f"{every},{controller}",
            "advertised.listeners": every,
            "controller.quorum.voters": f"1@{controller.partition('//')[2]}",
            "listener.security.protocol.map": f"PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,{protocols}",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "ssl.principal.mapping.rules": "RULE:^CN=([^,]+)$/$1/,DEFAULT",
            "sasl.enabled.mechanisms": ",".join(MECHANISMS),
        }
        pairs = {"expired": "broker-expired", "elsewhere": "broker-far"}
        for name, protocol in _PROTOCOLS.items():
            if protocol.endswith("SSL"):
                found |= self._tls(f"listener.name.{name}.ssl", pairs.get(name, "broker"))
            if protocol.startswith("SASL"):
                found |= _sasl(f"listener.name.{name}", users, MECHANISMS if name == "sasl" else MECHANISMS[1:])
        return found | {"listener.name.mutual.ssl.client.auth": "required"}

    def _tls(self, prefix: str, pair: str) -> dict[str, str]:
        return {
            f"{prefix}.keystore.type": "PEM",
            f"{prefix}.keystore.location": str(self.folder / f"{pair}.pem"),
            f"{prefix}.truststore.type": "PEM",
            f"{prefix}.truststore.location": str(self.authority.file),
        }

    def address(self, listener: str, host: str = "localhost") -> str:
        """host:port of a listener; it tells its clients to come to 127.0.0.1."""
        return f"{host}:{self._ports[listener]}"

    def tls(self, listener: str = "tls", **changes: Any) -> dict[str, Any]:
        """`[kafka]` for that listener, right but for the changes; None takes a key out."""
        return _without_none(
            {
                "bootstrap_servers": self.address(listener),
                "security_protocol": _PROTOCOLS[listener],
                "ssl_cafile": str(self.authority.file),
                **changes,
            }
        )

    def sasl(self, user: str, mechanism: str = "PLAIN", **changes: Any) -> dict[str, Any]:
        """`[kafka]` for a user over TLS, right but for the changes."""
        return self.tls(
            **{
                "listener": "sasl",
                "sasl_mechanism": mechanism,
                "sasl_plain_username": user,
                "sasl_plain_password": PASSWORD,
                **changes,
            }
        )

    def client(self, pair: Pair) -> dict[str, Any]:
        """The keys of `[kafka]` that show a client's certificate."""
        return {"ssl_certfile": str(pair.certificate), "ssl_keyfile": str(pair.key)}

    def let_in(self, user: str, password: str = PASSWORD) -> None:
        """Gives a user his SCRAM credentials, of both kinds."""
        for kind in MECHANISMS[1:]:
            told = self.admin.alter_user_scram_credentials([UserScramCredentialUpsertion(user, kind, password)])
            assert not any(told.values()), told

    def allow(self, user: str, rights: Iterable[Right]) -> None:
        """Gives a user these rights, as the rules of docs/security.md are given."""
        made = [
            ACL(
                f"User:{user}", "*", ACLOperation[right.operation], ACLPermissionType.ALLOW,
                ResourcePattern(
                    ResourceType[right.resource], right.name, ACLResourcePatternType[right.pattern]
                ),
            )
            for right in rights
        ]  # fmt: skip
        self.admin.create_acls(made)

    def create(self, topics: Mapping[str, int]) -> None:
        """Makes topics with so many partitions."""
        self.admin.create_topics([NewTopic(name, count, 1) for name, count in topics.items()])

    def renew(self, listener: str) -> None:
        """Gives a listener of the running broker another certificate by the same authority; it shows it soon."""
        pair = self.authority.sign("broker", file="broker-renewed")
        configs = {f"listener.name.{listener}.ssl.keystore.location": str(pair.both)}
        self.admin.alter_configs([ConfigResource(ConfigResourceType.BROKER, "1", configs)], raise_on_unknown=False)

    def restart(self) -> None:
        """Ends every connection. The administrator's client is a new one: the old may not find the broker again."""
        self.admin.close()
        self.broker.stop()
        self.broker.start()
        self.admin = KafkaAdminClient(bootstrap_servers=self.broker.address)

    def close(self) -> None:
        """Ends the broker."""
        self.admin.close()
        self.broker.stop()


def _sasl(prefix: str, users: Sequence[str], mechanisms: Sequence[str]) -> dict[str, str]:
    known = " ".join(f'user_{user}="{PASSWORD}"' for user in users)
    scram = {f"{prefix}.{one.lower()}.sasl.jaas.config": f"{_SCRAM} required;" for one in MECHANISMS[1:]}
    enabled = {f"{prefix}.sasl.enabled.mechanisms": ",".join(mechanisms)}
    return enabled | {f"{prefix}.plain.sasl.jaas.config": f"{_PLAIN} required {known};", **scram}


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


@contextlib.contextmanager
def open_kafka(jars: Path, folder: Path, users: Sequence[str]) -> Iterator[SecuredKafka]:
    """A SecuredKafka that is closed at the end."""
    made = SecuredKafka(jars, folder, users)
    try:
        yield made
    finally:
        made.close()
