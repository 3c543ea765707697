"""Servers that a test may break: one ground for the whole run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.ground import Ground
from tests.chaos.ground import ground as open_ground
from tests.chaos.scene import Scene


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Kafka, Valkey and a nursery of this run's own; each test leaves them running."""
    folder: Path = tmp_path_factory.mktemp("ground")
    with open_ground(folder) as opened:
        yield opened


@pytest.fixture
def scene(ground: Ground) -> Iterator[Scene]:
    """Names of this test alone."""
    made = Scene(ground)
    yield made
    made._reader.close()
