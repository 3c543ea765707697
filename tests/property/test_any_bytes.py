"""Each parser under any bytes: a value or the project's own error for bad input. `python -m tests.fuzz` does more."""

from __future__ import annotations

import base64
import zlib
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS
from tests.unit.incoming import FixedClock
from worker.errors import ConfigError, Fatal
from worker.pipeline.positions import Position, position_of, settled_of
from worker.settings import load
from worker.stages.guard import DeadLetterGuard, Tally, suffix
from worker.stages.ledger import Ledger

SLOWEST = timedelta(seconds=10)  # A machine that is busy; what is found takes minutes.


def packed(numbers: bytes) -> str:
    """As a commit's metadata has finished offsets."""
    return "a1:" + base64.b85encode(zlib.compress(numbers, 9)).decode()


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_good_is_read(name: str) -> None:
    """The fuzzer begins where the parser gets far."""
    parse, good = TARGETS[name]
    assert [body for body in good if not parse(body)] == []


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_end_in_a_value_or_an_error_of_ours(name: str) -> None:
    """Bytes at random, and good ones with some changed, cut out or added."""
    parse, good = TARGETS[name]

    @settings(max_examples=150, deadline=SLOWEST)
    @given(st.data())
    def tried(data: st.DataObject) -> None:
        body = bytearray(data.draw(st.sampled_from(list(good)) | st.binary(max_size=200)))
        for _ in range(data.draw(st.integers(0, 4))):
            place = data.draw(st.integers(0, len(body)))
            body[place : place + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
        parse(bytes(body))

    tried()


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        (b"\1", "no run of offsets"),  # a gap without a length
        (b"\1\0", "no run of offsets"),
        (b"\1\1\0\1", "no run of offsets"),  # runs that touch
        (b"\1\x80", "cut off"),
        (b"\xff" * 9 + b"\x7f\1", "more than 63 bits"),
        (b"\xff" * 8 + b"\x7f\1", "no run of offsets"),  # ends behind the last offset there can be
        (b"\xff" * 4_000_000, "more than 63 bits"),  # one number of 28 million bits
        (b"\1" * 5_000_000, "more than 4194304 bytes"),
    ],
)  # fmt: skip
def test_finished_offsets_that_are_none(numbers: bytes, said: str) -> None:
    """Found by reading and by fuzzing: a ValueError of zip's, runs that are none, a number that took hours."""
    with pytest.raises(Fatal, match=f"committed metadata at offset 7 cannot be read: .*{said}"):
        Ledger(1, 7, packed(numbers))


@pytest.mark.parametrize(
    "text", ["c2:e:x:1:2", "c2:e", "c2:e:1:2:3:4", "c2:e:-1:2:3", "c2:e:1:2:" + "9" * 5_000, "c1:"]
)
def test_a_contexts_position_that_is_none(text: str) -> None:
    """It was a ValueError or an IndexError."""
    with pytest.raises(Fatal, match="of a context cannot be read; it is c2:EPOCH:TIME:SETTLED:TARGET"):
        position_of(text)


def test_a_contexts_position_with_a_tally_behind_it() -> None:
    """Of a form without its last numbers the tally was taken for one of them."""
    tally = suffix(Tally(3, 5, 17))
    assert position_of("c2:e:1:2:3" + tally) == Position("e", 1, 2, 3)
    assert position_of("c2:e:1:2" + tally) == Position("e", 1, 2, 0)
    assert position_of("c1:e:1" + tally) == Position("e", 1, 0, 0)
    assert settled_of("c2:e:1:2:3" + tally) == 2
    assert position_of("hello" + tally) is None


@pytest.mark.parametrize("told", ["-1,5,", "5,-1,", "1,1", "1," + "9" * 400 + ",", "1,1," + "~" * 200, "1,1,é"])
def test_a_tally_that_is_none(told: str) -> None:
    """Counts below zero, times that never come to an end, a window of other length: none of it is counted on from."""
    with pytest.raises(Fatal, match=r"tally .* in a commit's metadata cannot be read"):
        DeadLetterGuard(0, 0, FixedClock()).resume("texts", ":g1," + told)


@pytest.mark.parametrize(
    "line",
    [
        "model.max_batch = " + "1" * 5_000,
        "limits.dead_letter_ratio = 0x" + "f" * 4_000,
        "model.max_batch = " + "[" * 5_000,
    ],
)
def test_a_number_of_the_configuration_that_is_too_long(line: str) -> None:
    """Python neither reads nor writes one of over 4,300 digits: it was a traceback."""
    with pytest.raises(ConfigError, match=f"^{line.split()[0]} = .* must be "):
        load(None, [line], {})
