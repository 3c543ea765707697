"""Another model is taken over while the worker runs: loaded and asked once beside the old one, then between batches.

Whatever goes wrong before that costs a line in the log and a count, and the old one goes on.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from worker.errors import ConfigError, Poison
from worker.model.drift import watch
from worker.model.models import Models, Servable
from worker.ports import Log, Observer

State = tuple[tuple[str, int, int], ...]


def state_of(folder: Callable[[], Path]) -> State | None:
    """Names, sizes and times of the files of a model's folder; None while it cannot be read."""
    try:
        found = [(path, path.stat()) for path in sorted(folder().resolve(strict=True).rglob("*")) if path.is_file()]
    except (OSError, ConfigError):
        return None
    return tuple((str(path), stat.st_size, stat.st_mtime_ns) for path, stat in found)


def _heads_of(model: Servable) -> list[str]:
    """What consumers of its further heads depend on."""
    told = ((one, "/".join(sorted(one.labels)) or one.unit) for one in model.heads)
    return sorted(f"{one.name} ({one.kind}{f' {more}' if more else ''})" for one, more in told)


class Reloader:
    """A thread that waits to be asked, or looks at the model's folder itself.

    Guarantees: what `models` answers with is changed only after the new model has answered an anchor that the old one
    had answered, alone and in a full batch.
    """

    def __init__(
        self,
        models: Models,
        load: Callable[[], Servable],
        folder: Callable[[], Path],
        observer: Observer,
        log: Log,
        labels: Callable[[Sequence[str]], None],
        fits: Callable[[Servable], None] = lambda _: None,
        *,
        max_batch: int,
        taken: State | None = None,
        every_seconds: float = 0.0,
        allow_labels: bool = False,
    ) -> None:
        """`folder`: where the model lies now; `taken`: its state before `models` was loaded from it; `labels` hears
        those of a model before it answers; `fits` raises ConfigError where something else needs what it does not
        say; `every_seconds`: how often the folder is looked at, 0: never."""
        self._models, self._load, self._folder, self._observer, self._log = models, load, folder, observer, log
        self._max_batch, self._every, self._allow_labels = max_batch, every_seconds, allow_labels
        self._labels, self._fits = labels, fits
        self._asked, self._stop = threading.Event(), False
        self._seen: State | None = None  # as last looked at
        self._taken = taken  # as last loaded, or refused
        self._thread = threading.Thread(target=self._run, name="model-reload", daemon=True)
        self._thread.start()

    def ask(self, *_: object) -> None:
        """Load it now; as the handler of a signal."""
        self._asked.set()

    def close(self, timeout_seconds: float = 1.0) -> None:
        """Ends the thread; a model that is being loaded is not waited for."""
        self._stop = True
        self._asked.set()
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while not self._stop:
            asked = self._asked.wait(self._every or None)
            self._asked.clear()
            if not self._stop and (asked or self._is_new()):
                self._reload()

    def _is_new(self) -> bool:
        """Whether the folder differs from what was loaded, and is as at the last look: it may be being written."""
        before, self._seen = self._seen, state_of(self._folder)
        return self._seen is not None and self._seen == before and self._seen != self._taken

    def _reload(self) -> None:
        self._taken = state_of(self._folder)
        old = self._models.now
        try:
            new = self._load()
            if new.info == old.info and new.sums == old.sums:
                self._log.info("model is the same", version=new.info["version"])
                self._observer.count("model_reloads_total", outcome="same")
                return
            self._check(old, new)
        except Exception as error:  # noqa: BLE001  whatever a model does while it loads, the old one goes on
            kind = "" if isinstance(error, ConfigError | Poison) else f"{type(error).__name__}: "
            self._log.warning("model not taken over", reason=f"{kind}{error}", action="the old one goes on")
            self._observer.count("model_reloads_total", outcome="refused")
            return
        self._take_over(old, new)

    def _check(self, old: Servable, new: Servable) -> None:
        """Raises ConfigError where it says other labels, whatever else where it cannot answer."""
        told = [("labels", sorted(old.labels), sorted(new.labels)), ("heads", _heads_of(old), _heads_of(new))]
        for what, were, are in told:
            if are != were and not self._allow_labels:
                raise ConfigError(
                    f"its {what} are {', '.join(are) or 'none'}, and were {', '.join(were) or 'none'}; "
                    "set model.allow_labels = true where that is meant"
                )
        self._fits(new)
        if (aligned := self._models.answered) is not None:
            item: Any = new.prepare(aligned, lambda *_: None)
            for size in sorted({1, self._max_batch}):
                new.infer([item] * size)

    def _take_over(self, old: Servable, new: Servable) -> None:
        if new.drift is not None:
            new.drift.forget()  # The anchor that it was asked about to see whether it answers.
        self._labels(new.labels)
        self._models.take_over(new)
        gone = set(old.drift.quantities) if old.drift is not None else set()
        for quantity in gone - set(new.drift.quantities if new.drift is not None else ()):
            self._observer.gauge("drift_psi", math.nan, quantity=quantity)
        watch(new.drift, self._observer, self._log)
        self._observer.gauge("model_info", math.nan, **old.info)
        self._observer.gauge("model_info", 1, **new.info)
        self._observer.count("model_reloads_total", outcome="taken_over")
        self._log.info("model taken over", before=old.info["version"], **new.info)
