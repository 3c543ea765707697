"""The first mistakes are told before torch is looked for: what is wrong with the configuration costs no wait."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from worker.demo.processes import free_port

# Runs the command as the program does, then says which heavy parts it has imported.
_PROGRAM = (
    "import sys; from worker.cli import main; code = main(sys.argv[1:]); "
    "print('imported:', *(n for n in ('torch', 'transformers', 'onnxruntime') if n in sys.modules)); sys.exit(code)"
)


def mistaken(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The command, ended; it has imported nothing heavy."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments], env={**os.environ, **environ}, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "imported:", done.stdout
    return done


NOBODY = ["--set", "kafka.startup_timeout=1s", "--set", "http.port=0"]


@pytest.mark.parametrize("command", ["run", "topics", "feed", "replay", "explain texts/0/1", "record --out {folder}"])
def test_a_wrong_configuration_and_a_kafka_that_is_not_there(command: str, tmp_path: Path) -> None:
    """A key, a file, a server: of any command that reads the configuration."""
    where = ["--set", f"kafka.bootstrap_servers=127.0.0.1:{free_port()}", *NOBODY]
    for given, code in (["--set", "model.max_batch=0"], 2), (["--config", str(tmp_path / "no.toml")], 2), (where, 3):
        done = mistaken(*command.format(folder=tmp_path / "out").split(), *given)
        assert done.returncode == code, done.stderr
        assert [line for line in done.stderr.splitlines() if line.startswith("fusion-worker: ")]


def test_a_port_that_is_taken_and_a_model_that_is_not_there(tmp_path: Path) -> None:
    """`run` looks at both before it looks for servers."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = mistaken("run", "--set", f"http.port={taken.getsockname()[1]}")
    assert done.returncode == 2
    assert "is in use; give a free port" in done.stderr
    done = mistaken("run", *NOBODY, "--set", f"model.path={tmp_path}")
    assert done.returncode == 2
    assert "no config.json, model.safetensors, tokenizer.json there" in done.stderr
