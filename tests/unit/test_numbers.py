"""Numbers on the command line: what no option takes is refused by its name, whatever the command."""

from __future__ import annotations

from argparse import Action, ArgumentTypeError
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from worker import cli
from worker.errors import ConfigError

OPTIONS = 50
# What is neither a number nor finite, has a sign, other digits, or more of them than any bound.
NEVER = ("", "x", "-1", "-0.5", "nan", "inf", "-inf", "1e999", "\u0661\u0662x", "\u00b2", "9" * 29, "1" + "0" * 5000)


def numbers() -> Iterator[tuple[str, Action]]:
    """Each option of each command, and of its kinds, that reads a number."""
    parsers = [("", cli._parser())]
    while parsers:
        name, parser = parsers.pop()
        for action in parser._actions:
            if isinstance(action.choices, dict):
                parsers += [(f"{name} {kind}", one) for kind, one in action.choices.items()]
            elif action.type is not None and any(isinstance(read(action, one), int | float) for one in ("2", "0.5")):
                yield name, action


def read(action: Action, text: str) -> Any:
    """What the option makes of it; None where it does not take it."""
    try:
        return cast(Callable[[str], Any], action.type)(text)
    except (ArgumentTypeError, ValueError):
        return None


def test_no_number_is_without_bounds() -> None:
    """Of every option that reads a number."""
    found = list(numbers())
    assert len(found) > OPTIONS
    for name, action in found:
        for text in NEVER:
            assert read(action, text) is None, (name, action.option_strings, text)


def parsed(*given: str) -> Any:
    """As the program reads its arguments; what it refuses is a ConfigError, which is exit 2."""
    return cli._parser().parse_args(given)


@pytest.mark.parametrize("command", ["train", "tune", "evaluate", "export", "feed", "demo", "explain"])
def test_a_seed_is_one_that_every_library_takes(command: str) -> None:
    """Others are told with the option's name; the highest one is taken."""
    out = {"train": ("--out", "x"), "tune": ("--out", "x"), "explain": ("t/0/1",)}.get(command, ())
    assert parsed(command, *out, "--seed=2147483647").seed == 2**31 - 1
    for seed in ("-1", "2147483648", "12345678901234567890123456789"):
        with pytest.raises(ConfigError, match=f"argument --seed: '{seed}' is not a whole number from 0 to 2147483647"):
            parsed(command, *out, f"--seed={seed}")


@pytest.mark.parametrize("command", ["train", "tune"])
def test_what_training_cannot_have(command: str) -> None:
    """It is refused before anything is read."""
    for option, value, told in (
        ("--device", "foo", "is not auto, cpu, cuda or cuda:N"),
        ("--max-tokens", "1", "is not a whole number from 2 to 9999999"),
        ("--learning-rate", "0", "is not a number above 0 and below 1e9"),
    ):
        with pytest.raises(ConfigError, match=f"argument {option}: '{value}' {told}"):
            parsed(command, "--out", "x", option, value)
    for option in ("--dim", "--max-steps", "--image-size"):
        with pytest.raises(ConfigError, match=f"argument {option}: '1000000' is not a whole number from 1 to "):
            parsed(command, "--out", "x", option, "1000000")
    assert parsed(command, "--out", "x", "--device", "cuda:1", "--max-tokens", "2").max_tokens == 2


@pytest.mark.parametrize("place", ["t/0/9223372036854775808", "t/2147483648/0", "t/0", "t/-1/0", "t/x/0"])
def test_a_place_that_kafka_has_not(place: str) -> None:
    """The log has no such partition or offset; the highest are taken."""
    with pytest.raises(ConfigError, match=r"argument TOPIC/PARTITION/OFFSET: .* is not "):
        parsed("explain", place)
    assert parsed("explain", "a/b/2147483647/9223372036854775807").place == (("a/b", 2**31 - 1), 2**63 - 1)


def test_a_speed_that_no_clock_has() -> None:
    """What is too slow is told; 0 is as fast as possible."""
    for option, text in (("--speed", "1e-300"), ("--frames-per-second", "1e-9"), ("--seconds", "0")):
        with pytest.raises(
            ConfigError, match=f"argument {option}: '{text}' is not a number from 0.000001 to below 1e9"
        ):
            parsed("feed", option, text)
    assert parsed("feed", "--speed", "0").speed == 0
