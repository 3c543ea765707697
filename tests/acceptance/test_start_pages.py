"""docs/start: every line of the pages is typed, in their order, into one shell, on the stack's servers.

Debian's kcat and arecord are the real ones; the camera is a real RTSP server, the microphone ALSA's null device. A line
that installs or starts what the stack is already is held against what it names instead.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.result import ResultV1
from tests import debian
from tests.prometheus_tools import wait_until
from tests.rtsp import draw, served
from worker.cli import main
from worker.settings import load
from worker.starting import PURPOSES, text_of

ROOT = Path(__file__).resolve().parents[2]
PAGES, FILES = ROOT / "docs" / "start", ROOT / "deploy" / "start"
PACKAGES = {
    "kcat": ("kcat", "librdkafka1", "libyajl2"),
    "arecord": ("alsa-utils", "libasound2", "libasound2-data", "libatopology2", "libfftw3-single3", "libsamplerate0"),
}
LINE_SECONDS = 120.0
pytestmark = pytest.mark.timeout(600)


def lines_of(page: str) -> list[str]:
    """What the page tells to type."""
    return re.findall(r"^    (\S.*)$", (PAGES / f"{page}.md").read_text(encoding="utf-8"), re.MULTILINE)


class Terminal:
    """A shell in which lines are typed; what it shows is kept."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._shell = subprocess.Popen(
            ["bash"], cwd=folder, env={**os.environ, **environ}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, bufsize=1, start_new_session=True,
        )  # fmt: skip
        self.shown: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._typed = 0

    def type(self, line: str) -> None:
        """Types one line and waits for its end, which must be a good one."""
        assert self._shell.stdin is not None
        self._typed += 1
        mark = f"typed {self._typed}: "
        self._shell.stdin.write(f'{line}\necho "{mark}$?"\n')
        end = wait_until(
            lambda: [one for one in self.shown if one.startswith(mark)], LINE_SECONDS, f"{line}\n{self.shown}"
        )
        assert end == [f"{mark}0"], f"{line}\n{self.shown}"

    def results(self) -> list[ResultV1]:
        """The results that have come to it."""
        found = [re.fullmatch(r"\S+ (\{.*\})", line) for line in self.shown]
        return [ResultV1.model_validate(json.loads(one[1])) for one in found if one]

    def wait_for(self, key: str) -> ResultV1:
        """The first result of that key."""
        found = wait_until(lambda: [one for one in self.results() if one.key == key], 60, f"{key}\n{self.shown[-5:]}")
        return found[0]

    def close(self) -> None:
        """Ends what it has started, if that is still there."""
        assert self._shell.stdin is not None
        self._shell.stdin.write("kill $(jobs -p) 2> /dev/null; wait; exit\n")
        self._shell.wait(60)
        self._reader.join(10)

    def _read(self) -> None:
        assert self._shell.stdout is not None
        for line in self._shell.stdout:
            self.shown.append(line.rstrip("\n"))


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with kcat, arecord and fusion-worker."""
    folder = tmp_path_factory.mktemp("programs")
    (folder / "asound.conf").write_text("pcm.!default { type null }\n")
    for name, packages in PACKAGES.items():
        root = debian.unpacked(name, packages)
        around = f"LD_LIBRARY_PATH={debian.libraries(root)} ALSA_CONFIG_PATH={folder / 'asound.conf'}"
        (folder / name).write_text(f'#!/bin/sh\n{around} exec {root / "usr/bin" / name} "$@"\n')
    (folder / "fusion-worker").write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m worker "$@"\n')
    for name in (*PACKAGES, "fusion-worker"):
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def terminal(stack: Any, tmp_path: Path, programs: Path) -> Iterator[Terminal]:
    """With the stack's addresses, which the environment puts before the file's."""
    made = Terminal(tmp_path, {
        "FUSION__KAFKA__BOOTSTRAP_SERVERS": stack.bootstrap_servers, "FUSION__REDIS__URL": stack.redis_url,
        "FUSION__HTTP__PORT": "0", "PATH": f"{programs}:{os.environ['PATH']}",
    })  # fmt: skip
    yield made
    made.close()


def held(line: str) -> bool:
    """Whether the line installs or starts a server, and is held against what it names instead of typed."""
    if line.startswith("make "):
        assert subprocess.run(["make", "--dry-run", *line.split()[1:]], cwd=ROOT, capture_output=True).returncode == 0
    elif line.startswith("sudo apt-get install "):
        known = {"kcat": "kcat", "alsa-utils": "arecord"}
        assert {known[name] for name in line.split()[3:]} <= set(PACKAGES)
    elif line.startswith("docker compose "):
        services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
        profile = re.search(r"--profile (\w+)", line)
        named = [word for word in line.split(" up ")[1].split() if not word.startswith("-")]
        assert named
        assert all(services[name].get("profiles", []) == ([profile[1]] if profile else []) for name in named)
    else:
        return line.startswith("export PATH=")
    return True


def typed(terminal: Terminal, page: str, changed: Mapping[str, str], after: Mapping[str, Callable[[], object]]) -> None:
    """Types the page: lines that begin as one of `changed` give way to it, and what `after` holds is looked at."""
    wanted = [*changed, *after]
    for line in lines_of(page):
        begins = [start for start in wanted if line.startswith(start)]
        if not held(line):
            terminal.type(next((changed[start] for start in begins if start in changed), line))
            for start in begins:
                after.get(start, lambda: None)()
        wanted = [start for start in wanted if start not in begins]
    assert wanted == []


def test_a_junction_with_one_s_own_camera(stack: Any, terminal: Terminal, tmp_path: Path) -> None:
    """The simulated junctions have verdicts; the camera's frame is the report's; the model says how strange it is."""

    def simulated() -> None:
        found = [terminal.wait_for(f"junction-{n}") for n in (1, 2)]
        assert all(set(one.inputs) == {"reports", "cameras"} for one in found)

    def own() -> None:
        found = terminal.wait_for("junction-12")
        assert set(found.inputs) == {"reports", "cameras"}, found
        assert found.confidence is not None
        assert found.confidence.familiar < 0.05

    def recorded() -> None:
        rows = [json.loads(line) for file in (tmp_path / "recorded").glob("*.jsonl") for line in file.open()]
        assert {row["key"] for row in rows} == {"junction-1", "junction-2", "junction-12"}

    with served(draw(tmp_path / "clip.mp4", 60, 15), "viewer", "password") as camera:
        changed = {
            "export KAFKA=": f"export KAFKA={stack.bootstrap_servers}",
            "export CAMERA=": f"export CAMERA='{camera.url('viewer:password')}'",
        }
        after = {"fusion-worker feed --config": simulated, "echo 'Two cars": own, "fusion-worker record": recorded}
        typed(terminal, "traffic", changed, after)
    assert [line for line in terminal.shown if line.startswith("a frame of junction-12: ")]
    assert text_of("traffic") == (tmp_path / "traffic.toml").read_text(encoding="utf-8")


def test_a_home_with_one_s_own_microphone(stack: Any, terminal: Terminal, tmp_path: Path) -> None:
    """The simulated homes have verdicts; reading and sentence are those of the microphone's sound."""

    def simulated() -> None:
        found = [terminal.wait_for(f"home-{n}") for n in (1, 2)]
        assert all("sensors" in one.inputs for one in found)
        # The next lines send the sound; `record` divides few keys by blocks of ten times the widest window, here 70 s,
        # and leaves out rows within one of such an edge.
        wait_until(lambda: 72 < time.time() % 700 < 680, 100, "no edge of a block")

    def own() -> None:
        found = terminal.wait_for("my-home")
        assert set(found.inputs) == {"sounds", "sensors", "texts"}, found

    def recorded() -> None:
        rows = [json.loads(line) for file in (tmp_path / "recorded").glob("*.jsonl") for line in file.open()]
        assert {row["key"] for row in rows} == {"home-1", "home-2", "my-home"}

    changed = {"export KAFKA=": f"export KAFKA={stack.bootstrap_servers}"}
    after = {"fusion-worker feed --config": simulated, "kcat -P -b $KAFKA -t home.sounds": own,
             "fusion-worker record": recorded}  # fmt: skip
    typed(terminal, "home", changed, after)
    assert text_of("home") == (tmp_path / "home.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("purpose", sorted(PURPOSES))
def test_what_init_writes_is_what_is_deployed_and_in_force(purpose: str, tmp_path: Path) -> None:
    """deploy/start is current; each key is described where it first stands, and is taken as it stands, no other."""
    assert main(["init", purpose, "--out", str(tmp_path / "new")]) == 0
    path = tmp_path / "new" / f"{purpose}.toml"
    assert path.read_text() == (FILES / path.name).read_text()
    loaded = load(path, [], {})
    given = {key for key, origin in loaded.origin.items() if origin == str(path)}
    assert given == {key for key, value in PURPOSES[purpose].values.items() if value is not None}
    lines = path.read_text().splitlines()
    named = [re.match(r"(?:# )?(\w+) = ", line) for line in lines]
    first = {found[1]: number for number, found in reversed([*enumerate(named)]) if found}
    assert len(first) > 8
    assert all(lines[number - 1].startswith("# ") for number in first.values())


def test_init_replaces_nothing_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line and exit 2, the file as it was; with --overwrite it is new; a folder that is none is told."""
    path = tmp_path / "home.toml"
    path.write_text("mine")
    assert main(["init", "home", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"fusion-worker: {path}: is there already; --overwrite replaces it\n"
    assert path.read_text() == "mine"
    assert main(["init", "home", "--out", str(path)]) == 2
    assert f"{path}: is no folder" in capsys.readouterr().err
    assert main(["init", "home", "--out", str(tmp_path), "--overwrite"]) == 0
    assert path.read_text() == text_of("home")
