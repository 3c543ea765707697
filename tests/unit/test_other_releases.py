"""What another release has committed is read, or refused in one line that names the form; it is never guessed."""

from __future__ import annotations

import pytest

from worker.errors import Fatal
from worker.pipeline.positions import position_of
from worker.stages.ledger import decode_finished


def test_a_ledger_of_a_later_form_is_refused() -> None:
    """Taken for another origin's, what was finished out of order would be done twice."""
    with pytest.raises(Fatal, match=r"at offset 7 is of form a2, this release reads a1; .*docs/upgrades\.md"):
        list(decode_finished(7, "a2:anything"))


def test_a_position_of_a_later_form_is_refused() -> None:
    """Taken for another origin's, bad context would have its dead letters twice."""
    with pytest.raises(Fatal, match=r"is of form c3, this release reads c2; .*docs/upgrades\.md"):
        position_of("c3:e:1:2:3:4")


@pytest.mark.parametrize("metadata", ["", "hello", "a:b", "again 1: and 2", "AgAB:2", "c:1", "b1:x"])
def test_of_another_origin_is_nothing_known(metadata: str) -> None:
    """Another program's group was taken over: its offset counts, what it wrote beside it does not."""
    assert list(decode_finished(7, metadata)) == []
    assert position_of(metadata) is None
