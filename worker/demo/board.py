"""What the demo shows: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from worker.demo.tally import Shown, Tally

ROWS = 12
LINE_EVERY_SECONDS = 5.0
_OTHERS = 52  # Columns of a terminal that all but text and frame take.
_COLUMNS = ("key", "text", "frame", "distance", "label", "score", "missing")


class Board:
    """Lines, the table of the last results, and the summary."""

    def __init__(self, console: Console, live: Live | None, tally: Tally) -> None:
        """`live` is None where there is no terminal."""
        self._console, self._live, self._tally = console, live, tally
        self._told = time.monotonic()

    def say(self, line: str) -> None:
        """A step, in one line."""
        self._console.print(line, highlight=False)

    def show(self, workers: Mapping[int, str]) -> None:
        """The state of things now; called a few times a second."""
        texts, results, dead = self._tally.counts
        states = ", ".join(f"worker {number} {state}" for number, state in workers.items())
        line = (
            f"texts in {texts}, results {results}, dead letters {dead}, on their way {texts - results - dead}; {states}"
        )
        if self._live is not None:
            self._live.update(Group(_table(self._tally.latest(ROWS), self._console.width), Text(line)))
        elif time.monotonic() - self._told > LINE_EVERY_SECONDS:
            self._told = time.monotonic()
            self.say(line)

    def still(self) -> None:
        """What is live is shown no longer: from here on only lines are."""
        if self._live is not None:
            self._live.update(Text(""))
            self._live.stop()

    def tell(self, summary: Mapping[str, str]) -> None:
        """The last results and the summary, to stay."""
        self.still()
        self._console.print(_table(self._tally.latest(ROWS), self._console.width))
        for name, value in summary.items():
            self._console.print(f"{name:<22} {value}", highlight=False, soft_wrap=True)


WIDE = 150
_TEXT_WIDTH = 60  # What is longer is cut, so that nothing else is where all is shown.


def _table(results: list[Shown], width: int) -> Table:
    """Of so many columns of a terminal; below 150 without the frame's id, and with what room there is for the text."""
    names = [name for name in _COLUMNS if name != "frame" or width >= WIDE]
    table = Table(box=None, pad_edge=False)
    for name in names:
        right, most = name in ("distance", "score"), _TEXT_WIDTH if width >= WIDE else max(8, width - _OTHERS)
        table.add_column(
            name, justify="right" if right else "left", no_wrap=True, max_width=most if name == "text" else None
        )
    for one in results:
        distance = "" if one.distance_ms is None else f"{one.distance_ms:+.0f} ms"
        row = {
            "key": one.key, "text": one.text, "frame": one.frame, "distance": distance, "label": one.label,
            "score": f"{one.score:.2f}", "missing": one.missing,
        }  # fmt: skip
        table.add_row(*(row[name] for name in names))
    return table


@contextlib.contextmanager
def board(tally: Tally) -> Iterator[Board]:
    """A board on standard output."""
    console = Console()
    if not console.is_terminal:
        yield Board(Console(width=WIDE), None, tally)
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield Board(console, live, tally)
