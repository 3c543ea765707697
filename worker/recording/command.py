"""Arguments of `record`, and its way: gather, settle, read the bodies, write rows.

The running workers are not disturbed: no consumer group is joined and nothing is committed, and Redis is not touched.
What is matched is chosen by `stages.rule` among all that was read, since a complete log needs no waiting; the functions
in Redis would answer the same, but need a namespace, a flow control and a worker's clock for it.
"""

from __future__ import annotations

import contextlib
import signal
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.arguments import count, duration_us, rate
from worker.errors import ConfigError
from worker.records import MatchRule

if TYPE_CHECKING:
    from worker.broker.reader import CommittedReader
    from worker.config import Settings
    from worker.recording.gather import Anchor, Gathered
    from worker.recording.rows import Written

Say = Callable[[str], None]
Stopped = Callable[[], bool]

TELL_EVERY_SECONDS = 2.0
# How often it is looked whether `--limit` is reached: each look asks all anchors that are open.
SETTLE_EVERY_SECONDS = 0.3
# Context that was produced so much earlier than `--since` may still belong to the first anchors.
SLACK_MS = 60_000
DEFAULT_SPLIT = "train=0.8,dev=0.1,test=0.1"
UNLABELLED = "unlabelled"


def add_record_arguments(parser: ArgumentParser) -> None:
    """What `record` takes."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for rows and bodies; it is made")
    parser.add_argument("--seconds", type=rate, metavar="N", help="record for so long (default: what is there now)")
    parser.add_argument("--limit", type=count, metavar="N", help="record until so many rows are complete")
    parser.add_argument(
        "--since", type=duration_us, metavar="DURATION", help="begin so long ago (default: all of the log)"
    )
    labels = parser.add_mutually_exclusive_group()
    labels.add_argument("--label-from", choices=("results",), help="results: the label of the published result")
    labels.add_argument("--label-attribute", metavar="NAME", help="the string field NAME of a JSON anchor")
    parser.add_argument(
        "--split", type=_shares, default=DEFAULT_SPLIT, metavar="NAME=SHARE,...",
        help=f"a file each, divided by key (default {DEFAULT_SPLIT})",
    )  # fmt: skip


def _shares(text: str) -> dict[str, float]:
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.strip().partition("=")
        try:
            shares[name] = float(share)
        except ValueError:
            shares[name] = -1.0
        if not (name.isascii() and name.isalpha() and name != UNLABELLED and 0 <= shares[name] <= 1):
            raise ArgumentTypeError(f"{part.strip()!r} is not NAME=SHARE with a share from 0 to 1, such as dev=0.1")
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise ArgumentTypeError(f"the shares of {text!r} sum to {sum(shares.values()):g}; they must sum to 1")
    return shares


def record(settings: Settings, chosen: Namespace, say: Say) -> int:
    """Records; 0 when the rows are written, also after Ctrl-C.

    Raises:
        ConfigError: a topic is missing, or the folder holds rows already.
    """
    from worker.broker.admin import ensure_reachable, missing_topics
    from worker.broker.options import connection_options
    from worker.from_settings import rules_of, validator_of
    from worker.ops.clock import SystemClock
    from worker.recording.gather import Gathered

    _check_out(chosen.out, chosen.split)
    connection = connection_options(settings.kafka.model_dump())
    ensure_reachable(connection, settings.kafka.startup_timeout.total_seconds())
    output = settings.output.topic if chosen.label_from == "results" else None
    topics = [stream.topic for stream in settings.streams.values()] + ([output] if output else [])
    if missing := missing_topics(connection, topics):
        raise ConfigError(f"topics that do not exist: {', '.join(missing)}; `fusion-worker topics` creates them")
    gathered = Gathered(validator_of(settings, SystemClock()), rules_of(settings), settings.anchor, output)
    with _ctrl_c() as stopped:
        _gather(connection, topics, _since_ms(settings, chosen, gathered.rules), gathered, chosen, stopped, say)
    left = 0 if chosen.limit is not None and len(gathered.ready) >= chosen.limit else gathered.end()
    written = _write(settings, connection, gathered.ready[: chosen.limit], gathered, chosen, say)
    _tell(written, gathered, left, chosen, say)
    return 0


def _check_out(out: Path, shares: Mapping[str, float]) -> None:
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: is a file; name a folder")
    if there := [name for name in (*shares, UNLABELLED) if (out / f"{name}.jsonl").exists()]:
        raise ConfigError(f"--out {out}: holds {there[0]}.jsonl already; name another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be made: {error.strerror}") from error


def _since_ms(settings: Settings, chosen: Namespace, rules: Mapping[str, MatchRule]) -> dict[str, int]:
    """Per topic the record time from which on it is read; empty: from its beginning."""
    if chosen.since is None:
        return {}
    begin = time.time_ns() // 1_000_000 - chosen.since // 1000
    spans = {name: SLACK_MS + (rule.before_us + rule.lateness_us) // 1000 for name, rule in rules.items()}
    streams = {stream.topic: begin - spans.get(name, 0) for name, stream in settings.streams.items()}
    return {**streams, settings.output.topic: begin}


@contextlib.contextmanager
def _ctrl_c() -> Iterator[Stopped]:
    """While it lasts the first Ctrl-C or SIGTERM asks to stop; the second one ends the command."""
    asked: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, _: object) -> None:
        asked.append(number)
        for one, handler in before.items():
            signal.signal(one, handler)

    for number in before:
        signal.signal(number, ask)
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _gather(
    connection: Mapping[str, Any], topics: list[str], since_ms: Mapping[str, int], gathered: Gathered,
    chosen: Namespace, stopped: Stopped, say: Say,
) -> None:  # fmt: skip
    from worker.broker.reader import CommittedReader

    asked = {topic: at for topic, at in since_ms.items() if topic in topics}
    with contextlib.closing(CommittedReader(connection, topics, asked)) as reader:
        is_over = _is_over(reader, gathered, chosen)
        told_at = time.monotonic()
        while not stopped() and not is_over():
            gathered.add(reader.read(0.2))
            if time.monotonic() - told_at >= TELL_EVERY_SECONDS:
                told_at = time.monotonic()
                gathered.settle()
                read = ", ".join(f"{number} {stream}" for stream, number in sorted(gathered.read.items()))
                say(f"read {read or 'nothing yet'}; {len(gathered.ready)} rows complete")
    gathered.settle()
    if stopped():
        say("interrupted: what was read so far is written; once more ends without")


def _is_over(reader: CommittedReader, gathered: Gathered, chosen: Namespace) -> Callable[[], bool]:
    """When reading ends: after `--seconds`, or with `--limit` rows, or else where the log ends now."""
    deadline = None if chosen.seconds is None else time.monotonic() + chosen.seconds
    ends = reader.ends() if chosen.seconds is None and chosen.limit is None else None
    settled_at = [time.monotonic()]

    def is_over() -> bool:
        if ends is not None:
            return reader.reached(ends)
        now = time.monotonic()
        if chosen.limit is not None and now - settled_at[0] >= SETTLE_EVERY_SECONDS:
            settled_at[0] = now
            gathered.settle()
            if len(gathered.ready) >= chosen.limit:
                return True
        return deadline is not None and now >= deadline

    return is_over


def _write(
    settings: Settings, connection: Mapping[str, Any], ready: list[Anchor], gathered: Gathered, chosen: Namespace,
    say: Say,
) -> Written:  # fmt: skip
    from worker.broker.log import LogReader
    from worker.recording.rows import BODIES, Bodies, chosen_of, read_bodies, rows_of

    (chosen.out / BODIES).mkdir(parents=True, exist_ok=True)
    bodies, matched = Bodies(chosen.out), chosen_of(gathered, ready)
    modalities = {name: stream.modality for name, stream in settings.streams.items()}
    told_at = [time.monotonic()]

    def tick(done: int, wanted: int) -> None:
        if time.monotonic() - told_at[0] >= TELL_EVERY_SECONDS:
            told_at[0] = time.monotonic()
            say(f"read {done} of {wanted} bodies")

    with contextlib.closing(LogReader(connection)) as log:
        read_bodies(log, gathered.validator, matched, bodies, modalities, chosen.label_attribute, tick)
    return rows_of(matched, bodies, gathered.labels, modalities, settings.anchor, gathered.rules)


def _tell(written: Written, gathered: Gathered, left: int, chosen: Namespace, say: Say) -> None:
    """Writes the files and says what is in them."""
    from worker.recording.rows import write_rows
    from worker.recording.splits import FEWEST_KEYS, divide

    has_source = chosen.label_from is not None or chosen.label_attribute is not None
    kept = [row for row in written.rows if not has_source or row[1]["label"] is not None]
    others = [row for row in written.rows if has_source and row[1]["label"] is None]
    reach_us = max((rule.before_us + rule.after_us for rule in gathered.rules.values()), default=0)
    divided = divide([(anchor.key, anchor.time_us) for anchor, _ in kept], chosen.split, reach_us)
    if kept and not divided.by_key:
        keys = len({anchor.key for anchor, _ in kept})
        say(f"warning: {keys} keys are too few to divide by (needed {FEWEST_KEYS}, and one a split): rows are divided "
            "by key and minute; a key is in several splits, so what is measured tells little of a new one; left out at "
            f"the edges, since they share context with another split: {divided.splits.count(None)} rows")  # fmt: skip
    sizes = []
    for name in chosen.split:
        rows = [row for (_, row), split in zip(kept, divided.splits, strict=True) if split == name]
        write_rows(chosen.out / f"{name}.jsonl", rows)
        sizes.append(f"{name} {len(rows)}")
    if others:
        write_rows(chosen.out / f"{UNLABELLED}.jsonl", (row for _, row in others))
        sizes.append(f"{UNLABELLED} {len(others)}")
    labels = ", ".join(f"{name or 'none'} {number}" for name, number in sorted(written.labels.items()))
    missing = ", ".join(f"{name} {number}" for name, number in sorted(written.missing.items()))
    say(f"wrote {len(written.rows)} rows to {chosen.out} ({', '.join(sizes)}); labels: {labels or 'none'}; "
        f"missing: {missing or 'none'}; open at the end: {left}; without a required stream: {written.required}; "
        f"deleted meanwhile: {written.expired}; refused: {gathered.refused}")  # fmt: skip
