"""A dead letter with less in it says what it lacks, and keeps what the worker says of it."""

from __future__ import annotations

import pytest

from worker.errors import Fatal
from worker.records import Outgoing
from worker.stages.shrink import is_dead_letter, shrunk

TOLD = (("__connect.errors.stage", b"VALIDATE"), ("fusion.attempts", b"1"))
LETTER = Outgoing("dead", b"k" * 20, b"v" * 10, (("its own", b"x" * 999), ("another", b"y"), *TOLD))


def test_the_largest_part_goes_first() -> None:
    """Headers that it came with, then its key, then its body: in the order of their sizes, each with its bytes."""
    first = shrunk(LETTER, "texts/0/1")
    headers = (*TOLD, ("fusion.headers_omitted_bytes", b"1014"))
    assert first == Outgoing("dead", b"k" * 20, b"v" * 10, headers)
    second = shrunk(first, "texts/0/1")
    assert second == Outgoing("dead", None, b"v" * 10, (*headers, ("fusion.key_omitted_bytes", b"20")))
    third = shrunk(second, "texts/0/1")
    assert third.value == b""
    assert third.headers[-1] == ("fusion.value_omitted_bytes", b"10")
    with pytest.raises(Fatal, match=r"texts/0/1.*max\.message\.bytes"):
        shrunk(third, "texts/0/1")


def test_a_result_is_no_dead_letter() -> None:
    """It has no stage."""
    assert is_dead_letter(LETTER)
    assert not is_dead_letter(Outgoing("fusions", b"k", b"{}", (("ce_id", b"1"),)))
