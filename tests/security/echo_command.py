"""The command itself, `python -m tests.security.echo_command ARGUMENTS`, with a model that needs no torch."""

from __future__ import annotations

import os
import sys

import structlog

from tests.worker_process import EchoModel
from worker import assemble
from worker.cli import main

if __name__ == "__main__":
    assemble.model_of = lambda settings: EchoModel()  # type: ignore[assignment,return-value]
    structlog.contextvars.bind_contextvars(pid=os.getpid())
    sys.exit(main())
