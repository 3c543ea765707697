"""As many threads as the container may use processors, not as many as its node has."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.cores import usable


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 64),
        ({"cpu.max": "max 100000\n"}, 64),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "25000 100000\n"}, 1),
        ({"cpu.max": "9900000 100000\n"}, 64),
        ({"cpu.max": "nonsense\n"}, 64),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "400000\n"}, 64),
    ],
)
def test_the_limit_of_a_container_counts(tmp_path: Path, files: dict[str, str], cores: int) -> None:
    """Of 64 processors so many, rounded up; one that cannot be read is none."""
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert usable(tmp_path, here=64) == cores


def test_here_it_is_at_least_one() -> None:
    """Whatever this machine says."""
    assert usable() >= 1
