"""Servers that a test may break."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.ground import Ground
from tests.chaos.ground import ground as open_ground


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Kafka, Valkey and a nursery; each test leaves them running."""
    folder: Path = tmp_path_factory.mktemp("alerts-ground")
    with open_ground(folder) as opened:
        yield opened
