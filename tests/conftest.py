"""Fixtures for all tests: the stack is started once per run."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from worker.demo.stack import Stack, open_stack

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """A real Kafka and a real Redis or Valkey, shared by all tests; names in them are each test's own."""
    cache = Path(os.environ.get("FUSION_CACHE", ROOT / ".cache"))
    with open_stack(cache, print) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """A command that a test runs in this process writes its log to that test's stderr, which is closed after it."""
    root = logging.getLogger()
    level = root.level
    yield
    root.level = level
    logging.captureWarnings(False)
    root.handlers = [one for one in root.handlers if type(one).__module__ != "worker.ops.logs"]
    structlog.reset_defaults()
