"""The corners' storm: every part of it at once, or some, so that a failure can be pinned to one of them.

`python -m tests.chaos --corners [--parts clocks,poison] [--seed N]`, and in short in `test_corners`.
"""

from __future__ import annotations

import hashlib
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from tests.chaos.books import Books
from tests.chaos.checker import Findings
from tests.chaos.days import BEHIND_US, CODECS, NIGHTS, PARTITIONS, Story
from tests.chaos.ground import Ground
from tests.chaos.poison import MOST_FRAME_BYTES, MOST_TEXT_BYTES, SECOND_US
from tests.chaos.proxy import TRANSACTIONS
from tests.chaos.servers import Servers, open_servers
from tests.chaos.storm import Storm, settings
from tests.chaos.told import Must, Told, frame, pinned, text
from tests.town import Town, town

# Part -> its faults, one a day; a part without faults is of the story's records.
PARTS: dict[str, tuple[str, ...]] = {
    "clocks": ("live",),
    "poison": (),
    "codecs": (),
    "growth": ("grow",),
    "nights": ("quiet", "night"),
    "failover": ("fail_over",),
    "refusal": ("refuse",),
    "eviction": ("evict", "unlink"),
    "kills": ("kill", "freeze", "terminate"),
}
HORIZON_US = 20 * SECOND_US
NIGHT_MS = 6_000
# Outcomes that may be under way when a fault strikes.
UNDER_WAY = 60
# A day in real time, as far as the machine keeps pace.
LIVE_SECONDS, LIVE_SLICES = 5.0, 25
# Parts of entities that are taken: by an eviction, after which the worker itself makes room, and by hand.
LEAST_EVICTED, UNLINKED = 1, 12
DATA = "fw:*}:*"


def planned(seed: int, parts: Collection[str], rounds: int) -> list[str]:
    """The faults, one a day: dark nights first, since only the first workers let go of silent keys soon; the others in
    an order of the seed's; a calm day before
    them and at the end."""
    rng = random.Random(seed)
    nights = [fault for fault in NIGHTS if "nights" in parts]
    others = [fault for part in PARTS if part in parts and part != "nights" for fault in PARTS[part] * rounds]
    rng.shuffle(others)
    return [*nights, "calm", *others, "calm"]


class Corners(Storm):
    """Days of a story, each with its fault. The town's Redis is its own, behind a proxy."""

    def __init__(
        self, ground: Ground, made: Town, seed: int, servers: Servers, refusal_seconds: float, patience_seconds: float
    ) -> None:  # fmt: skip
        super().__init__(ground, made, seed)
        self.books = Books(made)
        self._servers, self._refusal, self._patience = servers, refusal_seconds, patience_seconds
        self._grown = 0

    def live(
        self, days: Sequence[Sequence[Told]], faults: Sequence[str], parts: Collection[str], say: Callable[[str], None]
    ) -> None:
        """Feeds each day, and strikes it; at the end all that was fed has its outcome."""
        began = time.monotonic()
        for number, (day, fault) in enumerate(zip(days, faults, strict=True)):
            if "codecs" in parts:
                self._recompress(number)
            own: Callable[[Sequence[Told]], None] | None = getattr(self, f"_{fault}_day", None)
            if own is None:
                self._feed(day)
                self.strike(fault)
            else:
                own(day)
                self.struck[fault] = self.struck.get(fault, 0) + 1
            say(f"{time.monotonic() - began:5.0f} s, {fault}: {len(self.books.owed())} outcomes owed")
        self._settle(0)

    def _feed(self, day: Sequence[Told]) -> None:
        self.books.feed(day)
        self._settle(UNDER_WAY)

    def _settle(self, most_owed: int) -> None:
        try:
            self.made.read_until(
                lambda: self._servers.bound() and len(self.books.owed()) <= most_owed, self._patience
            )  # fmt: skip
        except AssertionError as error:
            owed = Counter(one.name.rpartition("-")[0] for one in self.books.owed()).most_common(12)
            told = f"struck: {self.struck}\nowed: {owed}\n{self._servers.told()}\n{self.made.states()}"
            raise AssertionError(f"{self.books.findings()}\n{told}\n{error}") from error

    def calm(self) -> None:
        """Nothing."""

    def _live_day(self, day: Sequence[Told]) -> None:
        """Sources send without a pause, those with a wrong clock too: the right ones' texts go on meanwhile. What is
        right is the day's time: a camera at today's would be minutes ahead of all others on its partition."""
        right_us = max(one.at_us for one in day)
        size = len(day) // LIVE_SLICES + 1
        for begin in range(0, len(day), size):
            self.books.feed(day[begin : begin + size])
            self.made.read(LIVE_SECONDS / LIVE_SLICES)
        deadline = time.monotonic() + self._patience
        while held := [one.name for one in self.books.owed() if one.name.startswith("junction")]:
            assert time.monotonic() < deadline, f"held up: {held[:5]} of {len(held)}\n{self.made.states()}"
            now_us = int(time.time() * SECOND_US)
            late = text(right_us, "text-behind", f"late-{now_us}", right_us + BEHIND_US).but(Must.OUTCOME)
            both = (late, frame(right_us, "text-behind", f"seen-{now_us}"))
            self.books.feed([pinned(one, PARTITIONS[one.stream]) for one in both])
            self.made.read(LIVE_SECONDS / LIVE_SLICES)

    def _admin(self, act: Callable[[Any], object]) -> None:
        client = KafkaAdminClient(bootstrap_servers=self._ground.bootstrap_servers)
        act(client)
        client.close()

    def _configure(self, topic: str, **values: str) -> None:
        changed = ConfigResource(ConfigResourceType.TOPIC, topic, {k.replace("_", "."): v for k, v in values.items()})
        self._admin(lambda client: client.alter_configs([changed]))

    def _recompress(self, number: int) -> None:
        """The broker packs anew what comes, with each codec in its turn; frames stay as their producers pack them."""
        codecs = [codec for codec in CODECS if codec]
        for shift, topic in enumerate(("texts", "fusions", "dead")):
            codec = codecs[(number + shift) % len(codecs)]
            self._configure(f"{self.made.name}.{topic}", compression_type=codec)

    def grow(self) -> None:
        """Both input topics gain a partition."""
        self._grown += 1
        wanted = {f"{self.made.name}.{topic}": size + self._grown for topic, size in PARTITIONS.items()}
        self._admin(lambda client: client.create_partitions(wanted))
        self.made.producers.renew()

    def _refuse_day(self, day: Sequence[Told]) -> None:
        """Kafka takes no transactions: a connection ends as soon as one is asked for; all else goes on."""
        road = self._ground.road
        road.refused = TRANSACTIONS
        try:
            self._pass(1.0)
            before, refusals = len(self.made.raw) + len(self.made.dead), road.refusals
            self.books.feed(day)
            self._pass(self._refusal)
            assert len(self.made.raw) + len(self.made.dead) == before, "Kafka took transactions all the same"
            assert road.refusals > refusals, "nobody asked for a transaction"
        finally:
            road.refused = frozenset()
        self._settle(UNDER_WAY)

    def _quiet_day(self, day: Sequence[Told]) -> None:
        """A night with the workers awake: one key alone goes on until Redis has let go of the others."""
        self._feed(day)
        self._settle(0)
        key, at_us = f"watch-{len(self.struck)}", max(one.at_us for one in day) + 2 * HORIZON_US
        for n in self._until_dark(hashlib.blake2b(key.encode(), digest_size=16).hexdigest()):
            now_us = at_us + n * SECOND_US // 5
            shown = [frame(now_us + shift, key, f"{key}-f{n}-{shift}") for shift in (10_000, 110_000)]
            self.books.feed([pinned(one, PARTITIONS[one.stream]) for one in (*shown, text(now_us, key, f"{key}-t{n}"))])

    def _night_day(self, day: Sequence[Told]) -> None:
        """All workers stop when the day's frames are in Redis; its texts come when these have gone there by age."""
        made = self.made
        self.books.feed([one for one in day if one.stream == "frames"])
        made.read_until(lambda: self._lag() == 0, self._patience)
        number = len(made.workers)
        assert set(made.stop()) == {0}, made.log()
        for _ in self._until_dark():
            pass
        made.lifetime_ms = None
        self.books.feed([one for one in day if one.stream != "frames"])
        made.start(number)
        self._settle(UNDER_WAY)

    def _until_dark(self, but: str = "-") -> Iterator[int]:
        """Counts turns until Redis holds nothing of any key, `but` of this one."""
        link, deadline = self._servers.link(), time.monotonic() + self._patience
        for n in count():
            held = [name for name in link.scan_iter(DATA, 1000) if but.encode() not in name]
            if not held:
                return
            assert time.monotonic() < deadline, f"Redis still holds {held[:3]} of {len(held)}"
            yield n
            self.made.read()

    def _lag(self) -> float:
        lines = [line for line in self.made.metrics().splitlines() if line.startswith("fusion_consumer_lag_records")]
        return sum(float(line.split()[-1]) for line in lines) if lines else 1.0

    def _fail_over_day(self, day: Sequence[Told]) -> None:
        """A replica takes over that lacks the last frames, with 60 % of the memory it may use."""
        made, servers, middle = self.made, self._servers, len(day) // 2
        self._feed(day[:middle])
        servers.promote(made)
        frames = [one for one in day[middle:] if one.stream == "frames"]
        self.books.feed(frames[: len(frames) // 2])
        made.read_until(lambda: self._lag() == 0, self._patience)
        servers.switch()
        fed = set(map(id, frames[: len(frames) // 2]))
        self.books.feed([one for one in day[middle:] if id(one) not in fed])
        self._settle(0)
        servers.unbound()

    def _evict_day(self, day: Sequence[Told]) -> None:
        """A policy that lets Redis take single keys, for as long as it takes it to take some."""
        link, middle = self._servers.link(), len(day) // 2
        self.books.feed(day[:middle])
        self._settle(UNDER_WAY)
        before = link.info("stats")["evicted_keys"]
        link.config_set("maxmemory-policy", "volatile-random")
        link.config_set("maxmemory", int(link.info("memory")["used_memory"] * 0.9))
        try:
            self.books.feed(day[middle:])
            self.made.read_until(lambda: link.info("stats")["evicted_keys"] >= before + LEAST_EVICTED)
        finally:
            link.config_set("maxmemory", 0)
            link.config_set("maxmemory-policy", "noeviction")
        self._settle(UNDER_WAY)

    def unlink(self) -> None:
        """Parts of keys are removed by hand, one by one."""
        link = self._servers.link()
        names = sorted(link.scan_iter(DATA, 1000))
        for name in self._rng.sample(names, min(UNLINKED, len(names))):
            link.unlink(name)


def corner_settings(ground: Ground, servers: Servers, parts: Collection[str], **more: Any) -> dict[str, Any]:
    """A town's settings for the parts of this storm."""
    streams = {"frames": {"max_wait": "2s", "horizon": f"{HORIZON_US // SECOND_US}s", "max_bytes_per_key": "4MiB"}}
    limits = {
        "max_frame_bytes": MOST_FRAME_BYTES, "max_text_bytes": MOST_TEXT_BYTES, "dead_letters_in_a_row": 0,
        "dead_letter_ratio": 0,
    }  # fmt: skip
    made = settings(
        ground, limits=limits, kafka={"bootstrap_servers": f"127.0.0.1:{ground.road.port}"},
        redis={"url": f"redis://127.0.0.1:{servers.proxy.port}/0", "timeout": "1s"},
        lifetime_ms=NIGHT_MS if "nights" in parts else None, decodes="poison" in parts, **more,
    )  # fmt: skip
    made["streams"] = streams
    return made


def corners(
    ground: Ground, folder: Path, seed: int, parts: Collection[str] = tuple(PARTS), *, rounds: int = 1, keys: int = 8,
    workers: int = 2, rate: float = 0.01, refusal_seconds: float = 5.0, patience_seconds: float = 60.0,
    mutant: str | None = None, cost_ms: float | None = 20.0, say: Callable[[str], None] = lambda line: None,
) -> Findings:  # fmt: skip
    """One storm of these parts; what is wrong after it."""
    faults = planned(seed, parts, rounds)
    story = Story(
        seed, faults, parts, int(time.time()) * SECOND_US - SECOND_US, keys=keys, rate=rate, horizon_us=HORIZON_US
    )
    began = time.monotonic()
    with open_servers(folder) as servers:
        values = corner_settings(ground, servers, parts, mutant=mutant, cost_ms=cost_ms)
        with town(ground, folder, PARTITIONS, **values) as made:
            made.start(workers)
            raging = Corners(ground, made, seed, servers, refusal_seconds, patience_seconds)
            raging.live(story.days(), faults, parts, say)
            made.read(1.0)
            for worker in made.workers:
                worker.send_signal(signal.SIGTERM)
            codes = [worker.wait(30) for worker in made.workers]
            made.workers.clear()
            made.read(0.5)
            found = raging.books.findings()
            say(f"{'+'.join(sorted(parts))} seed {seed}: struck {raging.struck}; {raging.books.tally()}")
            say(f"{found}; workers ended with {codes}; {time.monotonic() - began:.0f} s")
            assert not any(codes), f"{codes}: {made.log()}"
            return found
