"""A sink in a process of its own: `python -m tests.sink_process [--kill N] [--paced MS] ARGUMENTS...`.

`--kill N`: SIGKILL instead of the N-th commit, that is after the destination has acknowledged. The rest is what
`fusion-worker` takes.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from worker.broker.intake import Intake
from worker.cli import main
from worker.sinks.frame import Frame


def _killed_at(number: int) -> None:
    commit, seen = Intake.commit, [0]

    def commit_or_die(intake: Intake) -> Any:
        seen[0] += 1
        if seen[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return commit(intake)

    Intake.commit = commit_or_die  # type: ignore[method-assign]


def _killed_after(number: int) -> None:
    commit, seen = Intake.commit, [0]

    def commit_and_die(intake: Intake) -> Any:
        done = commit(intake)
        seen[0] += 1
        if seen[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    Intake.commit = commit_and_die  # type: ignore[method-assign]


def _paced(milliseconds: int) -> None:
    deliver = Frame._deliver

    def slowly(frame: Frame) -> bool:
        time.sleep(milliseconds / 1000)
        return deliver(frame)

    Frame._deliver = slowly  # type: ignore[method-assign]


if __name__ == "__main__":
    given = sys.argv[1:]
    for name, spoil in (("--kill", _killed_at), ("--kill-after", _killed_after), ("--paced", _paced)):
        if name in given:
            at = given.index(name)
            spoil(int(given[at + 1]))
            del given[at : at + 2]
    sys.exit(main(given))
