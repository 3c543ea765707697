"""Numbers as they are typed on the command line, each within its bounds."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable

_MOST, _BELOW = 9_999_999, 1e9
# What is divided by less is beyond any clock.
_LEAST_RATE = 1e-6
# What is longer is above any bound, and int() need not read it.
_MOST_DIGITS = 19
# A window of the spectrum is 25 ms.
_LEAST_SECONDS, _MOST_SECONDS = 0.1, 60.0


def whole(least: int, most: int = _MOST) -> Callable[[str], int]:
    """Reads a whole number within these bounds."""

    def read(text: str) -> int:
        if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and least <= int(text) <= most:
            return int(text)
        raise ArgumentTypeError(f"{text!r:.80} is not a whole number from {least} to {most}")

    return read


def _number(told: str, fits: Callable[[float], bool]) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if fits(number):
            return number
        raise ArgumentTypeError(f"{text!r:.80} is not a number {told}")

    return read


count = whole(1)
count_or_none = whole(0)
# torch, NumPy, Optuna and SUMO each take as much, and what is made of it for an epoch or a trial.
seed = whole(0, 2**31 - 1)
rate = _number("from 0.000001 to below 1e9", lambda number: _LEAST_RATE <= number < _BELOW)
speed = _number("from 0.000001 to below 1e9, nor 0", lambda number: number == 0 or _LEAST_RATE <= number < _BELOW)
learning_rate = _number("above 0 and below 1e9", lambda number: 0 < number < _BELOW)
weight = _number("from 0 to below 1e9", lambda number: 0 <= number < _BELOW)
share = _number("from 0 to below 1", lambda number: 0 <= number < 1)
share_or_all = _number("from 0 to 1", lambda number: 0 <= number <= 1)
level = _number("between 0 and 1", lambda number: 0 < number < 1)
seconds_of_sound = _number(
    f"of seconds from {_LEAST_SECONDS} to {_MOST_SECONDS:g}", lambda number: _LEAST_SECONDS <= number <= _MOST_SECONDS
)


def duration_us(text: str) -> int:
    """A duration as the configuration writes it, in microseconds."""
    from worker.durations import micros, parse_duration

    try:
        return micros(parse_duration(text))
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error
