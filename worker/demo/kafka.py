"""Apache Kafka as a child process: jars by Maven, one node in KRaft mode on free ports, data in a folder."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import uuid
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path

from worker.demo.processes import answers, free_port, spawn, stop, wait_for
from worker.errors import ConfigError, Unreachable

# A broker of one node with a handful of topics is at ease with this much; more only costs the model its memory.
HEAP = "-Xmx512m"
# It lives for minutes: code that is compiled once and quickly costs less than the best code does to be made.
QUICK = "-XX:TieredStopAtLevel=1"
START_SECONDS = 90.0


def _properties(port: int, controller: int, data: Path) -> dict[str, str]:
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(data),
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "group.initial.rebalance.delay.ms": "0",
        "auto.create.topics.enable": "false",
        "message.max.bytes": "12582912",
        "log.retention.ms": "-1",
    }


def fetch_jars(cache: Path, say: Callable[[str], None]) -> Path:
    """The folder with Kafka's jars, fetched once.

    Raises:
        ConfigError: Java or Maven is missing; one line that says which.
    """
    if missing := [name for name in ("java", "mvn") if shutil.which(name) is None]:
        raise ConfigError(
            f"no Docker engine answers and {' and '.join(missing)} is missing: install Java 17+ and Maven, "
            "start Docker, or give FUSION_TEST_KAFKA and FUSION_TEST_REDIS"
        )
    pom = resources.files("worker.demo").joinpath("kafka-pom.xml").read_text(encoding="utf-8")
    # Absolute: Maven takes a relative folder from the pom's, not from where the command was called.
    target = cache.resolve() / "kafka" / uuid.uuid5(uuid.NAMESPACE_OID, pom).hex[:12]
    target.mkdir(parents=True, exist_ok=True)
    with (target / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Two commands that begin together would write over each other.
        if not ((target / "complete").exists() and any(target.glob("kafka_*.jar"))):
            _fetch(target, pom, say)
    return target


def _fetch(target: Path, pom: str, say: Callable[[str], None]) -> None:
    say("fetching Apache Kafka with Maven (54 MB, once)")
    (target / "pom.xml").write_text(pom, encoding="utf-8")
    command = ["mvn", "-B", "-q", "-f", str(target / "pom.xml"), "dependency:copy-dependencies"]
    done = subprocess.run(
        [*command, "-DincludeScope=runtime", f"-DoutputDirectory={target}"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise Unreachable(f"Maven could not fetch Kafka: {(done.stdout + done.stderr)[-1000:]}")
    (target / "complete").touch()


class EmbeddedKafka:
    """One broker on a port of its own; stopped and started again it keeps port and data."""

    def __init__(
        self,
        jars: Path,
        folder: Path,
        properties: Mapping[str, str] | None = None,
        port: int = 0,
        *,
        wait: bool = True,
    ) -> None:
        """`properties` are added to the broker's, or replace them; `port` 0 takes any free one.

        Without `wait` the broker may not listen yet: one of several does so only once enough of them are there.
        """
        self.port = port or free_port()
        self._jars = jars
        self._log = folder / "kafka.log"
        self._child: subprocess.Popen[bytes] | None = None
        self._config = folder / "server.properties"
        every = {**_properties(self.port, free_port(self.port), folder / "kafka-data"), **(properties or {})}
        self._config.write_text("".join(f"{name}={value}\n" for name, value in every.items()), encoding="utf-8")
        cluster = "AAAAAAAAAAAAAAAAAAAAAQ"
        format_storage = ["format", "-t", cluster, "-c", str(self._config)]
        done = subprocess.run(
            [*self._java("-Xmx128m"), "kafka.tools.StorageTool", *format_storage],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise Unreachable(f"Kafka's storage could not be formatted: {(done.stdout + done.stderr)[-1000:]}")
        self._spawn()
        if wait:
            self.wait()

    def _java(self, heap: str) -> list[str]:
        return ["java", heap, QUICK, "-cp", f"{self._jars}/*"]

    @property
    def address(self) -> str:
        """host:port for clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The broker's process, for tests that pause or kill it."""
        if self._child is None:
            raise ConfigError("the embedded Kafka is stopped")
        return self._child.pid

    def start(self) -> None:
        """Starts the broker and waits until it listens."""
        self._spawn()
        self.wait()

    def _spawn(self) -> None:
        self._child = spawn([*self._java(HEAP), "kafka.Kafka", str(self._config)], log=self._log)

    def wait(self) -> None:
        """Returns once it listens."""
        if self._child is not None:
            wait_for("Kafka", lambda: answers(self.port), self._child, self._log, START_SECONDS)

    def stop(self) -> None:
        """Stops it."""
        if self._child is not None:
            stop(self._child, grace_seconds=10.0)
            self._child = None

    def kill(self) -> None:
        """SIGKILL."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None
