"""What a live source is: something that runs in a thread and puts events into the outlet."""

from __future__ import annotations

import threading
from typing import Protocol


class LiveSource(Protocol):
    """A camera, a broker, a device."""

    name: str

    def run(self, stop: threading.Event) -> None:
        """Runs until `stop` is set, or the source has ended; a source that is lost is told, and asked again.

        Raises:
            Fatal: it can never work; the process ends.
        """
