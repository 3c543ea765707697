"""Fixtures for all tests: the stack is started once per run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.demo.stack import Stack, open_stack

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """A real Kafka and a real Redis or Valkey, shared by all tests; names in them are each test's own."""
    cache = Path(os.environ.get("FUSION_CACHE", ROOT / ".cache"))
    with open_stack(cache, print) as opened:
        yield opened
